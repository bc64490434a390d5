//! `infer-cli` and the files of people: formats that are not read, damaged images, names, files that must not be overwritten.

use std::fs;

use crate::common::{self, Folder, LENET5, paths, tensors, write};
use predicates::{prelude::PredicateBooleanExt as _, str::contains};
use safetensors::serialize;

#[test]
fn formats_that_are_not_read_are_counted_in_folders_and_errors_when_named() {
    let folder = Folder::new();
    folder.picture("set/a.png", 1);
    folder.file("set/b.heic", b"\0\0\0\x18ftypheic\0\0\0\0");
    folder.file("set/c.HEIC", b"x");
    folder.file("set/d.cr2", b"II*\0\x10\0\0\0CR");
    let skipped = "skipped 3 files of formats that are not read: 2 of HEIC, 1 of a camera's raw format";
    let mut command = folder.classify(&["set", "-f", "jsonl"]);
    command.assert().success().stderr(contains(format!("{skipped}; -v lists them")).and(contains("b.heic").not()));
    let mut command = folder.classify(&["set", "-v"]);
    command.assert().success().stderr(contains("skipped set/b.heic: HEIC is not read").and(contains(skipped)));
    let (records, status) = folder.records(&["set/b.heic", "set/d.cr2"]);
    assert_eq!(status, 1);
    assert_eq!(records[0]["error"], "HEIC is not read: expected PNG, JPEG, BMP, GIF, WebP, PNM or TIFF");
    assert_eq!(
        records[1]["error"],
        "a camera's raw format is not read: expected PNG, JPEG, BMP, GIF, WebP, PNM or TIFF"
    );
    fs::remove_file(folder.path("set/a.png")).unwrap();
    folder.classify(&["set"]).assert().code(2).stderr(contains(format!("no images found ({skipped})")));
}

#[test]
fn damaged_jpeg_is_refused_or_read_as_far_as_it_goes() {
    let folder = Folder::new();
    folder.picture("whole.jpg", 1);
    let whole = fs::read(folder.path("whole.jpg")).unwrap();
    let cut = whole.len() - 40;
    folder.file("cut.jpg", &whole[..cut]);
    folder.file("ended.jpg", &[&whole[..cut], &[0xFF, 0xD9]].concat());
    let (records, status) = folder.records(&["cut.jpg", "ended.jpg"]);
    assert_eq!(status, 1);
    assert_eq!(records[0]["error"], "the JPEG file is truncated: it has no end marker");
    assert!(records[1]["error"].as_str().unwrap().starts_with("the JPEG data are damaged: "), "{records:?}");
    let (records, status) = folder.records(&["--accept-damaged", "cut.jpg", "ended.jpg"]);
    assert_eq!(status, 0, "{records:?}");
}

#[test]
fn no_input_is_overwritten() {
    let folder = Folder::new();
    folder.picture("a.png", 1);
    folder.file("labels", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n".as_bytes());
    folder.file("list", b"a.png\n");
    let before = |name: &str| fs::read(folder.path(name)).unwrap();
    let files = ["lenet5.safetensors", "labels", "list", "a.png"];
    let contents = files.map(before);
    for output in files {
        let arguments = ["a.png", "--labels", "labels", "--files-from", "list", "-o", output];
        folder.classify(&arguments).assert().code(2).stderr(contains("this is what is read"));
    }
    folder.picture("b.png", 1);
    folder
        .classify(&["a.png", "-o", "b.png"])
        .assert()
        .code(2)
        .stderr(contains("has an image's name, and is not replaced"));
    assert_eq!(files.map(before), contents);
    folder
        .program(&["pack", "-w", "list", "-o", "list", "--force"])
        .assert()
        .code(2)
        .stderr(contains("this is what is read"));
    folder
        .program(&["pack", "-w", "lenet5.safetensors", "-o", "list"])
        .assert()
        .code(2)
        .stderr(contains("list exists; --force replaces it"));
    // Nor does a file go where what was to replace it cannot be made.
    folder.program(&["pack", "-w", "labels", "-o", "list", "--force"]).assert().code(2).stderr(contains("labels"));
    assert_eq!(files.map(before), contents);
}

#[test]
fn a_list_may_begin_with_a_byte_order_mark() {
    let folder = Folder::new();
    folder.picture("a.png", 1);
    folder.file("list", "\u{feff}a.png\r\na.png\n".as_bytes());
    let (records, status) = folder.records(&["--files-from", "list"]);
    assert_eq!((paths(&records), status), (vec!["a.png", "a.png"], 0));
}

#[cfg(unix)]
#[test]
fn names_that_are_not_text_stay_two() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    let folder = Folder::new();
    folder.picture("a.png", 1);
    for name in [&b"set/x\xfe.png"[..], b"set/x\xff.png"] {
        let path = folder.path("").join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(folder.path("a.png"), path).unwrap();
    }
    let (records, status) = folder.records(&["set"]);
    assert_eq!((paths(&records), status), (vec!["set/x\\xFE.png", "set/x\\xFF.png"], 0));
    for format in ["csv", "table"] {
        let output = folder.classify(&["set", "-f", format, "--null-output"]).output().unwrap();
        let records: Vec<_> = output.stdout.split(|byte| *byte == 0).collect();
        assert_eq!(records.len(), 4, "{format}");
        for (record, name) in records[1..].iter().zip([&b"set/x\xfe.png"[..], b"set/x\xff.png"]) {
            assert!(record.windows(name.len()).any(|part| part == name), "{format}: {record:?}");
        }
    }
    folder
        .classify(&["set", "-f", "jsonl", "-Z"])
        .assert()
        .code(2)
        .stderr(contains("--null-output: JSON and Parquet have no place"));
}

#[test]
fn csv_cells_may_be_kept_from_being_formulas() {
    let folder = Folder::new();
    folder.picture("=1+1.png", 1);
    folder.classify(&["=1+1.png", "-f", "csv", "--csv-safe"]).assert().success().stdout(contains("\r\n'=1+1.png,"));
    folder.classify(&["=1+1.png", "-f", "csv"]).assert().success().stdout(contains("\r\n=1+1.png,"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_closed_standard_output_is_an_error() {
    let folder = Folder::new();
    folder.picture("a.png", 1);
    let program = env!("CARGO_BIN_EXE_infer-cli");
    for (arguments, expected) in [
        ("classify -w lenet5.safetensors a.png >&-", 2),
        ("inspect lenet5.safetensors >&-", 2),
        ("classify -w lenet5.safetensors -o out a.png >&-", 0),
        ("classify -w lenet5.safetensors a.png >/dev/null", 0),
    ] {
        let mut shell = std::process::Command::new("sh");
        let output =
            shell.current_dir(folder.path("")).args(["-c", &format!("{program} {arguments}")]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(expected), "{arguments}: {said}");
        assert_eq!(said.contains("cannot write the standard output: Bad file descriptor"), expected == 2, "{said}");
    }
}

#[test]
fn numbers_agree_in_words() {
    let folder = Folder::new();
    folder.picture("T-shirt_top/a.png", 1);
    folder.classify(&["T-shirt_top", "--evaluate"]).assert().success().stderr(contains("of 1 image)"));
    write(&folder.path("one.safetensors"), vec![("x", common::Tensor(vec![1], vec![1.0]))], &[]);
    folder.program(&["inspect", "one.safetensors"]).assert().success().stdout(contains("1 tensor "));
}

/// LeNet-5's weights with a header of its own.
fn with_header(change: impl Fn(String) -> String) -> Vec<u8> {
    let file = serialize(tensors(&LENET5), None).unwrap();
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header = change(String::from_utf8(file[8..8 + length].to_vec()).unwrap().trim_end().to_owned());
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &file[8 + length..]].concat()
}

#[test]
fn weights_are_read_however_their_header_is_filled_up() {
    let folder = Folder::new();
    folder.picture("a.png", 1);
    folder.file("w.safetensors", &with_header(|header| header));
    let logits = |name: &str| {
        let output = folder.program(&["classify", "-w", name, "-f", "jsonl", "--logits", "a.png"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let expected = logits("w.safetensors");
    for spaces in 0..9 {
        let padded = with_header(|header| header + &" ".repeat(spaces));
        folder.file("w.safetensors", &padded);
        assert_eq!(logits("w.safetensors"), expected, "{spaces} spaces");
        let null = with_header(|header| header.replacen('{', "{\"__metadata__\": null,", 1) + &" ".repeat(spaces));
        folder.file("w.safetensors", &null);
        assert_eq!(logits("w.safetensors"), expected, "null and {spaces} spaces");
        folder.program(&["inspect", "w.safetensors"]).assert().success().stdout(contains("LeNet5: fits"));
        assert_eq!(fs::read(folder.path("w.safetensors")).unwrap(), null, "the file has been changed");
    }
}

#[test]
fn what_is_no_weights_file_is_named_and_so_are_tensors() {
    let folder = Folder::new();
    folder.picture("a.png", 1);
    let refused = |bytes: &[u8], expected: &str| {
        folder.file("w.safetensors", bytes);
        for arguments in [&["classify", "-w", "w.safetensors", "a.png"][..], &["inspect", "w.safetensors"]] {
            folder.program(arguments).assert().code(2).stderr(contains(expected));
        }
    };
    refused(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "expected a safetensors file, found a Git LFS pointer",
    );
    refused(
        b"PK\x03\x04\0\0\x08\x08\0\0",
        "found a zip archive; unpack it, or where it is a model, save its tensors as safetensors",
    );
    refused(b"\x08\x08\x12\x07pytorch\x1a\x05", "found an ONNX model");
    refused(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9", "found a PyTorch checkpoint; make safetensors of it in Python");
    refused(b" <!DOCTYPE html>", "found a web page; download the file itself");
    refused(b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "found gzipped; unpack it first");
    refused(b"", "found an empty file; download or copy it again");
    let prefixed =
        with_header(|header| header.replace("\"conv", "\"module.conv").replace("\"linear", "\"module.linear"));
    folder.file("w.safetensors", &prefixed);
    folder.program(&["classify", "-w", "w.safetensors", "a.png"]).assert().code(2).stderr(contains(
        "tensor conv1.weight is missing, the file has module.conv1.weight; take module. off all names",
    ));
}
