//! Shards: whatever the bytes are, members and perhaps a problem behind them, and compressed the same as plain.

use std::{
    io::{Cursor, Write},
    path::PathBuf,
    sync::LazyLock,
};

use flate2::{Compression, write::GzEncoder};
use infer_cli::{images::Content, shard};

use crate::{Input, edited, planted_fault};

/// An archive of two images and another file, with a name too long for a header.
static VALID: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut archive = tar::Builder::new(Vec::new());
    let long = format!("{}/c.jpg", "long".repeat(40));
    for (name, content) in [("a.png", "first"), ("b.cls", "7"), (&long, "second")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content.as_bytes()).expect("memory can be written");
    }
    archive.into_inner().expect("memory can be written")
});

/// Runs the target: the first byte says whether the shard is read in one piece or also compressed, the rest are edits of a valid one or
/// the file itself.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let compress = input.byte() % 4 == 0;
    let file = edited(&mut input, &VALID);
    let plain = images(file.clone());
    assert_eq!(plain, images(file.clone()), "two readings differ");
    let members: Vec<&[u8]> = plain.iter().filter_map(|(_, content)| content.as_deref().ok()).collect();
    planted_fault(|| members.iter().any(|member| member.len() == 5 && *member != b"first"));
    // What is decompressed is decompressed once, not twice.
    if shard::is_compressed(&file) {
        return;
    }
    assert!(members.len() <= file.len() / 512, "more members than headers");
    assert!(members.concat().len() <= file.len(), "more bytes than the file has");
    if compress && !members.is_empty() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&file).expect("memory can be written");
        assert_eq!(plain, images(gzip.finish().expect("memory can be written")), "compressed it is another");
    }
}

/// Image of a shard: its path, and bytes or what is said of it.
type Found = (PathBuf, Result<Vec<u8>, String>);

fn images(file: Vec<u8>) -> Vec<Found> {
    let images = shard::images_of("shard".into(), false, move || Ok(Cursor::new(file)));
    let content = |content| match content {
        Content::Member(bytes) => Ok(bytes.to_vec()),
        Content::Problem(problem) => {
            assert!(!problem.is_empty() && !problem.contains("internal error"), "{problem}");
            Err(problem)
        }
        Content::Skipped(format) => Err(format.to_string()),
        Content::NoImage => Err("no image".to_string()),
        Content::File => unreachable!("a shard has members only"),
    };
    images.map(|image| (image.path, content(image.content))).collect()
}
