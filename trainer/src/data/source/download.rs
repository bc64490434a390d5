//! Downloads, checked against the SHA-256 of the published files' *uncompressed* content, which stays the same when a mirror or
//! a distribution compresses them anew. A file appears under its name only when it is whole and right.

use std::{
    fs,
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};

use super::{PUBLISHED, present};
use crate::data::idx;
use image_files::atomic;

/// The largest download accepted for one file (64 MiB; the largest published one is 26 MB).
const MAX_DOWNLOAD: u64 = 64 << 20;

/// A download to fall back on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// The folder on the web that holds the four `.gz` files.
    pub url: String,
    /// The folder to keep them in; files that it already has are not fetched again.
    pub into: PathBuf,
}

impl Download {
    /// Fetches the files that are not there yet.
    pub(super) fn run(&self) -> Result<(), String> {
        fs::create_dir_all(&self.into).map_err(|error| format!("{}: {error}", self.into.display()))?;
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(Duration::from_secs(30)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .user_agent(concat!("trainer/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        for (name, sha256) in PUBLISHED {
            if present(&self.into, name).is_none() {
                let file = format!("{name}.gz");
                let url = format!("{}/{file}", self.url.trim_end_matches('/'));
                fetch(&agent, &url, &self.into.join(&file), sha256).map_err(|error| format!("{file}: {error}"))?;
            }
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Http(#[from] ureq::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the download is larger than {MAX_DOWNLOAD} bytes")]
    TooLarge,
    #[error("the download ended early: expected {expected} bytes, got {found}")]
    Short { expected: u64, found: u64 },
    #[error("wrong checksum: expected SHA-256 {expected} of the uncompressed content, found {found}")]
    Checksum { expected: String, found: String },
}

/// Downloads one file to `path`, which appears only when its content is the expected one.
fn fetch(agent: &ureq::Agent, url: &str, path: &Path, sha256: &str) -> Result<(), FetchError> {
    let mut response = agent.get(url).call()?;
    let length = response.body().content_length();
    let bar = progress_bar(length, path);
    atomic::write(path, |file| {
        let body = response.body_mut().as_reader().take(MAX_DOWNLOAD + 1);
        let found = io::copy(&mut bar.wrap_read(body), file)?;
        if found > MAX_DOWNLOAD {
            return Err(FetchError::TooLarge);
        }
        if let Some(expected) = length.filter(|&expected| expected != found) {
            return Err(FetchError::Short { expected, found });
        }
        file.flush()?;
        file.rewind()?;
        let content = content_sha256(&*file)?;
        if content != sha256 {
            return Err(FetchError::Checksum { expected: sha256.to_string(), found: content });
        }
        bar.finish_and_clear();
        Ok(())
    })
}

/// A bar on a terminal; indicatif draws nothing elsewhere.
fn progress_bar(length: Option<u64>, path: &Path) -> ProgressBar {
    let bar = ProgressBar::new(length.unwrap_or(0));
    // The template is a constant that the download tests run through.
    if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
    bar
}

/// SHA-256 of a file's content once decompressed. Reads at most one byte more than an IDX file may hold.
fn content_sha256(reader: impl Read) -> io::Result<String> {
    let mut content = idx::decompressed(reader)?.take(idx::MAX_ELEMENTS as u64);
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match content.read(&mut buffer) {
            Ok(0) => return Ok(idx::hexadecimal(&digest.finalize())),
            Ok(read) => digest.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        sync::{Arc, Mutex},
        thread,
    };

    use tiny_http::{Response, Server};

    use super::{
        super::{Files, HELP, Lookup, NotFound},
        *,
    };

    /// The files that every machine which runs these tests must have.
    fn published(name: &str) -> Vec<u8> {
        let lookup = Lookup::new(None, None, &std::env::current_dir().unwrap());
        let path = lookup.folders.iter().find_map(|folder| present(folder, name));
        let path = path.unwrap_or_else(|| panic!("{HELP}"));
        fs::read(path).unwrap()
    }

    /// A server on loopback that answers each request path through `answer`; `None` is a 404.
    fn serve(answer: impl Fn(&str) -> Option<Vec<u8>> + Send + 'static) -> (String, Arc<Mutex<Vec<String>>>) {
        let server = Server::http("127.0.0.1:0").unwrap();
        let url = format!("http://{}/mirror/", server.server_addr());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        thread::spawn(move || {
            for request in server.incoming_requests() {
                let path = request.url().to_string();
                seen.lock().unwrap().push(path.clone());
                let sent = match answer(&path) {
                    Some(body) => request.respond(Response::from_data(body)),
                    None => request.respond(Response::empty(404)),
                };
                // A client that hangs up is the client's affair.
                drop(sent);
            }
        });
        (url, requests)
    }

    fn download(url: &str, into: &Path) -> Result<Files, NotFound> {
        let lookup = Lookup {
            folders: vec![into.to_path_buf()],
            download: Some(Download { url: url.into(), into: into.into() }),
        };
        lookup.locate(&|_| {})
    }

    fn entries(folder: &Path) -> Vec<PathBuf> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn files_are_downloaded_verified_and_kept() {
        let (url, requests) = serve(|path| {
            let name = path.strip_prefix("/mirror/")?.strip_suffix(".gz")?;
            Some(published(name))
        });
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("a/b");
        let files = download(&url, &into).unwrap();
        assert_eq!(files.test_labels, into.join("t10k-labels-idx1-ubyte.gz"));
        assert_eq!(entries(&into).len(), 4);
        assert_eq!(requests.lock().unwrap().len(), 4);
        // What is there is not fetched again; what is missing is.
        fs::remove_file(&files.train_labels).unwrap();
        assert_eq!(download(&url, &into).unwrap(), files);
        assert_eq!(requests.lock().unwrap().len(), 5);
    }

    #[test]
    fn a_missing_file_on_the_server_is_reported_with_every_place_tried() {
        let (url, _) = serve(|_| None);
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("data");
        let message = download(&url, &into).unwrap_err().to_string();
        assert!(message.contains(&format!("{}: no such folder", into.display())), "{message}");
        assert!(message.contains(&format!("{url}: train-images-idx3-ubyte.gz: http status: 404")), "{message}");
        assert!(message.contains("apt install dataset-fashion-mnist"), "{message}");
        assert_eq!(entries(&into), [] as [PathBuf; 0]);
    }

    #[test]
    fn a_file_with_the_wrong_content_is_not_kept() {
        let (url, _) = serve(|_| Some(published("t10k-labels-idx1-ubyte")));
        let folder = tempfile::tempdir().unwrap();
        let message = download(&url, folder.path()).unwrap_err().to_string();
        assert!(message.contains("train-images-idx3-ubyte.gz: wrong checksum: expected SHA-256 c59f"), "{message}");
        assert!(message.contains("found 0402a96d"), "{message}");
        assert_eq!(entries(folder.path()), [] as [PathBuf; 0]);
    }

    #[test]
    fn a_connection_lost_midway_leaves_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n\x1f\x8bhalf").unwrap();
        });
        let folder = tempfile::tempdir().unwrap();
        let message = download(&url, folder.path()).unwrap_err().to_string();
        assert!(message.contains("train-images-idx3-ubyte.gz"), "{message}");
        assert_eq!(entries(folder.path()), [] as [PathBuf; 0]);
    }

    #[test]
    fn nobody_listening_is_reported() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let folder = tempfile::tempdir().unwrap();
        let message = download(&url, folder.path()).unwrap_err().to_string();
        assert!(message.contains(&url), "{message}");
    }
}
