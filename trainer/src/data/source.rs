//! Finds the four files of Fashion-MNIST: in a named folder, in the usual folders, or on the web.
//!
//! Downloads are checked against the SHA-256 of the published files' *uncompressed* content, which stays the
//! same when a mirror or a distribution compresses them anew, and only then appear under their names.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};

use super::idx;
use crate::atomic;

/// Where Fashion-MNIST's authors publish it.
pub const OFFICIAL_URL: &str = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/";

/// Where Debian's and Ubuntu's package `dataset-fashion-mnist` puts it.
pub const SYSTEM_FOLDER: &str = "/usr/share/datasets/fashion-mnist";

/// Where it is kept in a workspace.
pub const WORKSPACE_FOLDER: &str = "data/fashion-mnist";

/// The largest download accepted for one file (64 MiB; the largest published one is 26 MB).
const MAX_DOWNLOAD: u64 = 64 << 20;

/// The published files: name and SHA-256 of the uncompressed content.
const PUBLISHED: [(&str, &str); 4] = [
    ("train-images-idx3-ubyte", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    ("train-labels-idx1-ubyte", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    ("t10k-images-idx3-ubyte", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    ("t10k-labels-idx1-ubyte", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
];

/// The four files of a data set published as MNIST is, each gzipped or plain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Images to train on.
    pub train_images: PathBuf,
    /// Their labels.
    pub train_labels: PathBuf,
    /// Images to test on.
    pub test_images: PathBuf,
    /// Their labels.
    pub test_labels: PathBuf,
}

/// Where to look, in order, and whether to download what no folder has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Folders to look in.
    pub folders: Vec<PathBuf>,
    /// What to do where none of them has all files.
    pub download: Option<Download>,
}

/// A download to fall back on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// The folder on the web that holds the four `.gz` files.
    pub url: String,
    /// The folder to keep them in; files that it already has are not fetched again.
    pub into: PathBuf,
}

/// Why the files could not be had: every place tried with its reason, then what to do.
#[derive(Debug, thiserror::Error)]
#[error("Fashion-MNIST was not found. Tried:\n{}{HELP}", listed(.tried))]
pub struct NotFound {
    /// Places and reasons.
    pub tried: Vec<(String, String)>,
}

const HELP: &str = "Install it with `apt install dataset-fashion-mnist` (Debian, Ubuntu), or put the four files \
train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (each with or \
without .gz) into one folder and name it with --data, or name another mirror with --data-url. For images of your own, \
name a folder with --data that has a folder of images for each class.";

fn listed(tried: &[(String, String)]) -> String {
    tried.iter().fold(String::new(), |mut list, (place, reason)| {
        // Writing to a String cannot fail.
        let _ = writeln!(list, "  {place}: {reason}");
        list
    })
}

impl Lookup {
    /// The search that the command line describes.
    ///
    /// With `data`, only that folder counts (`url` then says where to fetch what it lacks). Otherwise:
    /// `data/fashion-mnist` in the current folder and in the Cargo workspace around it, the system's folder,
    /// and a download into the workspace's (or the current folder's) `data/fashion-mnist`.
    pub fn new(data: Option<&Path>, url: Option<&str>, current: &Path) -> Self {
        if let Some(data) = data {
            return Self {
                folders: vec![data.to_path_buf()],
                download: url.map(|url| Download { url: url.to_string(), into: data.to_path_buf() }),
            };
        }
        // `Cargo.lock` lies only at the root of a workspace, `Cargo.toml` in each member too.
        let root = current.ancestors().find(|folder| folder.join("Cargo.lock").is_file()).unwrap_or(current);
        let mut folders = vec![current.join(WORKSPACE_FOLDER)];
        if root != current {
            folders.push(root.join(WORKSPACE_FOLDER));
        }
        folders.push(SYSTEM_FOLDER.into());
        Self {
            folders,
            download: Some(Download {
                url: url.unwrap_or(OFFICIAL_URL).to_string(),
                into: root.join(WORKSPACE_FOLDER),
            }),
        }
    }

    /// Finds or fetches the files. `announce` is told of a download before it starts.
    ///
    /// # Errors
    /// [`NotFound`] with every place tried.
    pub fn locate(&self, announce: &dyn Fn(&str)) -> Result<Files, NotFound> {
        let mut tried = Vec::new();
        for folder in &self.folders {
            match in_folder(folder) {
                Ok(files) => return Ok(files),
                Err(reason) => tried.push((folder.display().to_string(), reason)),
            }
        }
        if let Some(download) = &self.download {
            announce(&format!(
                "Downloading Fashion-MNIST (30 MB) from {} to {}",
                download.url,
                download.into.display()
            ));
            match download.run().and_then(|()| in_folder(&download.into)) {
                Ok(files) => return Ok(files),
                Err(reason) => tried.push((download.url.clone(), reason)),
            }
        }
        Err(NotFound { tried })
    }
}

/// Whether a folder has any of the four files.
pub fn has_any(folder: &Path) -> bool {
    PUBLISHED.iter().any(|(name, _)| present(folder, name).is_some())
}

/// The four files in a folder, or what is wrong with it.
fn in_folder(folder: &Path) -> Result<Files, String> {
    if !folder.is_dir() {
        return Err(if folder.exists() { "not a folder" } else { "no such folder" }.into());
    }
    let find =
        |(name, _): (&str, &str)| present(folder, name).ok_or_else(|| format!("it has neither {name} nor {name}.gz"));
    let [train_images, train_labels, test_images, test_labels] = PUBLISHED.map(find);
    Ok(Files {
        train_images: train_images?,
        train_labels: train_labels?,
        test_images: test_images?,
        test_labels: test_labels?,
    })
}

fn present(folder: &Path, name: &str) -> Option<PathBuf> {
    [folder.join(name), folder.join(format!("{name}.gz"))].into_iter().find(|path| path.is_file())
}

impl Download {
    fn run(&self) -> Result<(), String> {
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

    use super::*;

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

    #[test]
    fn a_named_folder_is_the_only_place() {
        let lookup = Lookup::new(Some(Path::new("/somewhere")), None, Path::new("/"));
        assert_eq!(lookup.folders, [Path::new("/somewhere")]);
        assert_eq!(lookup.download, None);
        let lookup = Lookup::new(Some(Path::new("/somewhere")), Some("http://mirror"), Path::new("/"));
        assert_eq!(lookup.download.unwrap().into, Path::new("/somewhere"));
    }

    #[test]
    fn the_usual_places_come_in_order() {
        let workspace = tempfile::tempdir().unwrap();
        let member = workspace.path().join("member");
        fs::create_dir(&member).unwrap();
        fs::write(workspace.path().join("Cargo.lock"), "").unwrap();
        let lookup = Lookup::new(None, None, &member);
        let expected = [member.join(WORKSPACE_FOLDER), workspace.path().join(WORKSPACE_FOLDER), SYSTEM_FOLDER.into()];
        assert_eq!(lookup.folders, expected);
        let download = lookup.download.unwrap();
        assert_eq!(download.url, OFFICIAL_URL);
        assert_eq!(download.into, workspace.path().join(WORKSPACE_FOLDER));
    }

    #[test]
    fn plain_and_gzipped_files_mix() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(
            in_folder(folder.path()).unwrap_err(),
            "it has neither t10k-labels-idx1-ubyte nor t10k-labels-idx1-ubyte.gz"
        );
        fs::write(folder.path().join("t10k-labels-idx1-ubyte.gz"), "").unwrap();
        let files = in_folder(folder.path()).unwrap();
        assert_eq!(files.train_labels, folder.path().join("train-labels-idx1-ubyte"));
        assert_eq!(files.test_labels, folder.path().join("t10k-labels-idx1-ubyte.gz"));
    }
}
