//! `infer-cli classify` on tar shards: plain and compressed, whole and damaged, from paths and from the standard input.

use std::{fs, io::Write};

use crate::common::{Folder, archive, paths, png};
use flate2::{Compression, write::GzEncoder};
use predicates::{prelude::PredicateBooleanExt as _, str::contains};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use tar::{Builder, EntryType, Header};

/// Pictures 1 to 3 with a label each, as WebDataset has them.
fn shard() -> Vec<u8> {
    archive([
        ("0001.png", png(1)),
        ("0001.cls", b"7".to_vec()),
        ("more/0002.png", png(2)),
        ("more/0002.cls", b"7".to_vec()),
        ("0003.jpg", png(3)),
        ("0003.cls", b"7".to_vec()),
    ])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstandard(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

/// Logits by the paths of records.
fn logits(records: &[serde_json::Value]) -> Vec<String> {
    records.iter().map(|record| record["logits"].to_string()).collect()
}

#[test]
fn members_are_classified_as_files_are_whatever_the_compression() {
    let folder = Folder::new();
    for seed in 1..=3 {
        folder.file(&format!("files/{seed}.png"), &png(seed));
    }
    let (expected, _) = folder.records(&["files", "--logits"]);
    let plain = shard();
    let (half, rest) = plain.split_at(1000);
    let skipped_frame = [&[0x5A, 0x2A, 0x4D, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    for (name, bytes) in [
        ("a.tar", plain.clone()),
        ("a.tar.gz", gzip(&plain)),
        ("a.TGZ", [gzip(half), gzip(rest)].concat()),
        ("a.tar.zst", zstandard(&plain)),
        ("a.tzst", [skipped_frame, zstandard(half), zstandard(rest)].concat()),
        // The content decides.
        ("b.tar", gzip(&plain)),
    ] {
        folder.file(name, &bytes);
        let (records, status) = folder.records(&[name, "--logits"]);
        assert_eq!(status, 0, "{name}: {records:?}");
        assert_eq!(paths(&records), ["0001.png", "more/0002.png", "0003.jpg"].map(|member| format!("{name}/{member}")));
        assert_eq!(logits(&records), logits(&expected), "{name}");
        let mut piped = folder.classify(&["-", "--logits", "-f", "jsonl"]);
        let output = piped.write_stdin(bytes).output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let records: Vec<_> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(paths(&records), ["0001.png", "more/0002.png", "0003.jpg"]);
        assert_eq!(logits(&records), logits(&expected), "{name}, piped");
    }
    let passed = contains("passed over 3 members of shards that are no images").and(contains("-v lists").not());
    folder.classify(&["a.tar"]).assert().success().stderr(passed);
    // Two archives, one behind the other.
    let both = folder.classify(&["-", "-f", "csv"]).write_stdin([&plain[..], &plain].concat()).output().unwrap();
    assert_eq!(String::from_utf8(both.stdout).unwrap().lines().count(), 7);
}

#[test]
fn patterns_stand_for_shards_and_folders_within_them_for_classes() {
    let folder = Folder::new();
    for number in 8..=11 {
        folder.file(&format!("s-{number:03}.tar"), &archive([("Bag/x.png", png(number)), ("Trouser/y.png", png(1))]));
    }
    let (records, status) = folder.records(&["s-{008..012}.tar", "--evaluate"]);
    assert_eq!((status, records.len()), (1, 9));
    assert_eq!(paths(&records)[..3], ["s-008.tar/Bag/x.png", "s-008.tar/Trouser/y.png", "s-009.tar/Bag/x.png"]);
    assert_eq!(records[8]["path"], "s-012.tar");
    assert!(records[8]["error"].as_str().unwrap().starts_with("No such file"), "{}", records[8]);
    let mut command = folder.classify(&["s-{008..011}.tar", "--evaluate"]);
    command.assert().success().stderr(contains(" of 8 images)"));
    folder.file("list", b"s-{008..009}.tar\ns-011.tar\n");
    let (records, _) = folder.records(&["--files-from", "list", "--partition", "slice:1/2"]);
    assert_eq!(paths(&records), ["s-009.tar/Bag/x.png", "s-009.tar/Trouser/y.png"]);
}

#[test]
fn members_that_are_no_ordinary_images_are_told_apart() {
    let folder = Folder::new();
    let mut builder = Builder::new(Vec::new());
    let mut member = |kind: EntryType, name: &str, bytes: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        if kind.is_symlink() {
            header.set_link_name("a.png").unwrap();
        }
        builder.append_data(&mut header, name, bytes).unwrap();
    };
    let long = format!("{}/c.png", "long/".repeat(60));
    member(EntryType::Directory, "folder.png", b"");
    member(EntryType::Regular, "a.png", &png(1));
    member(EntryType::Regular, "._a.png", b"of a Mac");
    member(EntryType::Regular, "b.heic", b"x");
    member(EntryType::Regular, "bad.png", b"bad");
    member(EntryType::Regular, "empty.png", b"");
    member(EntryType::Symlink, "link.png", b"");
    member(EntryType::Regular, &long, &png(2));
    member(EntryType::Regular, "notes", b"x");
    folder.file("a.tar", &builder.into_inner().unwrap());
    let (records, status) = folder.records(&["a.tar"]);
    assert_eq!(status, 1);
    let names =
        ["a.png", "bad.png", "empty.png", "link.png", &long].map(|name| format!("a.tar/{name}").replace("//", "/"));
    assert_eq!(paths(&records), names);
    assert!(records[1]["error"].as_str().unwrap().starts_with("not an image"), "{}", records[1]);
    assert_eq!(records[2]["error"], "the member is empty");
    assert_eq!(records[3]["error"], "this member is a link or a device, whose content is not in the archive");
    let skipped =
        "passed over 1 member of shards that are no images; skipped 1 file of formats that are not read: 1 of HEIC";
    folder.classify(&["a.tar", "-v"]).assert().stderr(contains("skipped a.tar/b.heic: HEIC").and(contains(skipped)));
    let (records, _) = folder.records(&["a.tar", "--hidden"]);
    assert_eq!(records.len(), 6);
}

#[test]
fn a_damaged_shard_is_a_record_behind_its_members() {
    let folder = Folder::new();
    folder.file("good.tar", &archive([("x.png", png(1))]));
    let whole = shard();
    let first = 512 + png(1).len().next_multiple_of(512);
    let last = |bytes: &[u8], name: &str| {
        folder.file(name, bytes);
        let (records, status) = folder.records(&[name, "good.tar"]);
        assert_eq!(status, 1, "{records:?}");
        assert_eq!(records.last().unwrap()["path"], "good.tar/x.png", "the others go on");
        let failed = &records[records.len() - 2];
        assert_eq!(failed["path"], name);
        let error = failed["error"].as_str().unwrap().to_string();
        (records.len() - 2, error.strip_prefix("the shard cannot be read").unwrap().to_string())
    };
    // Within the first member, at its end, within the next header, and without the two blocks at the end.
    let (members, error) = last(&whole[..700], "a.tar");
    assert_eq!(
        (members, &error[..]),
        (
            0,
            &format!(
                " further than 1 of its members: it ends within a member, of which 188 of {} bytes are there",
                png(1).len()
            )[..]
        )
    );
    for length in [first, whole.len() - 1024] {
        let (_, error) = last(&whole[..length], "a.tar");
        assert!(error.ends_with("it has no end mark, so that members may be missing"), "{error}");
    }
    let (members, error) = last(&whole[..first + 100], "a.tar");
    assert_eq!(members, 1, "{error}");
    let mut flipped = whole.clone();
    flipped[first + 3] ^= 1;
    assert!(last(&flipped, "a.tar").1.contains("it is no tar archive, or a damaged one"));
    let compressed = zstandard(&whole);
    let cut = compressed.len() / 2;
    last(&compressed[..cut], "a.tar.zst");
    last(&gzip(&whole)[..cut], "a.tar.gz");
    let mut flipped = gzip(&whole);
    let checksum = flipped.len() - 6;
    flipped[checksum] ^= 1;
    assert_eq!(last(&flipped, "a.tar.gz").0, 3);
    assert_eq!(last(b"", "a.tar").1, ": it has no end mark, so that members may be missing");
    assert!(
        last(b"just text, and more of it than a header of 512 bytes has".repeat(20).as_slice(), "a.tar")
            .1
            .contains("no tar archive")
    );
    for (magic, name) in [("BZh9", "bzip2"), ("\u{4}\"M\u{18}", "LZ4"), ("PK\u{3}\u{4}", "a ZIP archive")] {
        assert_eq!(
            last(magic.as_bytes(), "a.tar").1,
            format!(": it is {name}, which is not read: expected tar, or tar compressed by gzip or Zstandard")
        );
    }
}

#[test]
fn a_run_goes_on_within_a_shard() {
    let folder = Folder::new();
    folder.file("a.tar", &shard());
    folder.file("b.tar", &shard());
    folder.classify(&["a.tar", "b.tar", "-o", "whole.jsonl"]).assert().success();
    let whole = fs::read_to_string(folder.path("whole.jsonl")).unwrap();
    for records in 0..6 {
        let begun: String = whole.split_inclusive('\n').take(records).collect();
        folder.file("out.jsonl.partial", begun.as_bytes());
        folder.classify(&["a.tar", "b.tar", "-o", "out.jsonl", "--resume"]).assert().success();
        assert_eq!(fs::read_to_string(folder.path("out.jsonl")).unwrap(), whole);
    }
    folder.classify(&["-", "--files-from", "-"]).assert().code(2).stderr(contains("not both"));
}
