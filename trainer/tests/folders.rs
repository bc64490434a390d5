//! Folders of images as data: what is found in them, what is refused and how it is said, and that a run on them can be made
//! again, goes on, and is measured by the images that were kept for it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use dfdx::tensor::Cpu;
use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage};
use infer_core::{lenet5::DESCRIPTION, preprocess::Resize};
use serde_json::Value;
use trainer::{
    data::{
        Dataset, Frame, LabelledImages, Origin,
        folder::{KEPT_SIDE, Reading, TestShare, Unreadable},
    },
    export,
    model::{Initialisation, LeNet5, Network},
};

const CLASSES: [&str; 3] = ["bars", "disc", "other things"];

/// A light figure on black, of a place and a size that depend on `seed`: upright bars, a disc, or level bars.
fn picture(class: usize, width: u32, height: u32, seed: u32) -> GrayImage {
    GrayImage::from_fn(width, height, |x, y| {
        let noise = (x * 31 + y * 17 + seed).wrapping_mul(2_654_435_761) >> 27;
        let shift = seed % 5;
        let (from_left, from_top) = (i64::from(2 * x + shift) - i64::from(width), i64::from(2 * y) - i64::from(height));
        let light = match class {
            0 => (8 * x / width + shift).is_multiple_of(2),
            1 => 6 * (from_left.pow(2) + from_top.pow(2)) < i64::from(width.min(height)).pow(2) * 4,
            _ => (8 * y / height + shift).is_multiple_of(2),
        };
        Luma([if light { 200 + noise as u8 } else { noise as u8 }])
    })
}

fn save(path: &Path, image: impl Into<DynamicImage>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.into().save(path).unwrap();
}

/// A folder with `count` images of each class: PNG and JPEG of several sizes, some of them nested.
fn pictures(folder: &Path, count: u32) {
    for (class, name) in CLASSES.iter().enumerate() {
        for number in 0..count {
            let nested = if number % 4 == 3 { "more/deeper/" } else { "" };
            let (width, height) = [(28, 28), (20, 24), (40, 31), (28, 60)][number as usize % 4];
            let extension = if number % 3 == 2 { "jpg" } else { "png" };
            let path = folder.join(name).join(format!("{nested}{number:03}.{extension}"));
            save(&path, picture(class, width, height, number));
        }
    }
}

fn read(folder: &Path, share: TestShare) -> Result<Dataset, String> {
    read_with(folder, share, Unreadable::Refused)
}

fn read_with(folder: &Path, share: TestShare, unreadable: Unreadable) -> Result<Dataset, String> {
    let reading = Reading::of(DESCRIPTION.input(), Resize::Exact, KEPT_SIDE, false);
    Dataset::read_folder(folder, share, reading, unreadable, None, &|_| {}).map_err(|error| error.to_string())
}

fn share(share: f64, seed: u64) -> TestShare {
    TestShare { share, seed }
}

fn counts(images: &LabelledImages) -> Vec<usize> {
    (0..images.classes())
        .map(|class| images.labels().iter().filter(|label| usize::from(**label) == class).count())
        .collect()
}

#[test]
fn a_share_of_each_class_is_kept_for_the_test() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), 20);
    save(&folder.path().join("disc/.hidden.png"), GrayImage::new(1, 1));
    save(&folder.path().join(".cache/x.png"), GrayImage::new(1, 1));
    fs::write(folder.path().join("disc/notes.txt"), "no image").unwrap();
    fs::write(folder.path().join("README"), "no image").unwrap();
    fs::remove_file(folder.path().join("bars/000.png")).unwrap();

    let data = read(folder.path(), TestShare::default()).unwrap();
    assert_eq!(data.classes, CLASSES);
    assert_eq!(data.origin, Origin::Folder { kept: Some(share(0.2, 0)) });
    assert_eq!((counts(&data.train), counts(&data.test)), (vec![15, 16, 16], vec![4, 4, 4]));
    assert_eq!(data.name(), folder.path().file_name().unwrap().to_str().unwrap());
    // Each beginning has as many of each class.
    assert_eq!(data.test.labels()[..6], [0, 1, 2, 0, 1, 2]);
    // Pixels are the files', and paths are theirs.
    for (position, path) in data.test_paths.iter().enumerate() {
        let (image, _) = image_files::decode::open(&folder.path().join(path), Default::default()).unwrap();
        let image = image.into_luma8();
        let (width, height) = (image.width() as usize, image.height() as usize);
        assert!(path.starts_with(CLASSES[usize::from(data.test.labels()[position])]));
        assert_eq!(data.test.size(position), (width.min(28), height.min(28)), "{}", path.display());
        if width <= 28 && height <= 28 {
            assert_eq!(data.test.image(position), image.as_raw());
        }
    }

    let kept = |share| read(folder.path(), share).unwrap().test_paths.into_iter().collect::<BTreeSet<PathBuf>>();
    assert_eq!(kept(share(0.2, 0)), kept(share(0.2, 0)));
    assert_ne!(kept(share(0.2, 0)), kept(share(0.2, 1)));
    assert!(kept(share(0.1, 0)).is_subset(&kept(share(0.5, 0))));
    // One of each class at least, on both sides.
    assert_eq!((kept(share(0.001, 0)).len(), kept(share(0.999, 0)).len()), (3, 56));
    // With two images more, all but a few that were kept are kept again.
    let before = kept(share(0.5, 0));
    save(&folder.path().join("bars/1000.png"), picture(0, 28, 28, 7));
    save(&folder.path().join("bars/1001.png"), picture(0, 28, 28, 8));
    assert!(kept(share(0.5, 0)).intersection(&before).count() >= before.len() - 2);
}

#[test]
fn test_images_may_be_given() {
    let folder = tempfile::tempdir().unwrap();
    pictures(&folder.path().join("train"), 6);
    pictures(&folder.path().join("test"), 3);
    let data = read(folder.path(), TestShare::default()).unwrap();
    assert_eq!((counts(&data.train), counts(&data.test)), (vec![6; 3], vec![3; 3]));
    assert_eq!((data.classes, data.origin), (CLASSES.map(String::from).to_vec(), Origin::Folder { kept: None }));
    assert_eq!(data.test_paths[0], Path::new("test/bars/000.png"));

    // A class may be called "train", too.
    let vehicles = tempfile::tempdir().unwrap();
    for name in ["train", "bus"] {
        for number in 0..2 {
            save(&vehicles.path().join(name).join(format!("{number}.png")), picture(0, 9, 9, number));
        }
    }
    assert_eq!(read(vehicles.path(), TestShare::default()).unwrap().classes, ["bus", "train"]);
}

#[test]
fn validation_images_may_be_given_too() {
    for name in ["val", "valid", "validation"] {
        let folder = tempfile::tempdir().unwrap();
        for (name, count) in [("train", 6), (name, 2), ("test", 3)] {
            pictures(&folder.path().join(name), count);
        }
        let data = read(folder.path(), TestShare::default()).unwrap();
        assert_eq!((counts(&data.train), data.validation, counts(&data.test)), (vec![8; 3], Some(6), vec![3; 3]));
        // The last ones are those of the folder.
        let first = image::open(folder.path().join(name).join("bars/000.png")).unwrap().into_luma8();
        assert_eq!(data.train.image(18), first.as_raw());
    }
    // With two folders, one is to learn from and one to test by.
    let folder = tempfile::tempdir().unwrap();
    pictures(&folder.path().join("train"), 6);
    pictures(&folder.path().join("val"), 2);
    let data = read(folder.path(), TestShare::default()).unwrap();
    assert_eq!((counts(&data.train), data.validation, counts(&data.test)), (vec![6; 3], None, vec![2; 3]));
    fs::remove_dir_all(folder.path().join("val/disc")).unwrap();
    let error = read(folder.path(), TestShare::default()).unwrap_err();
    assert!(
        error.ends_with("the same classes in train and val, found only in train: disc; only in val: none"),
        "{error}"
    );
}

#[test]
fn a_run_is_chosen_by_the_validation_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("shapes"), folder.path().join("run"));
    for (name, count) in [("train", 6), ("val", 2), ("test", 3)] {
        pictures(&data.join(name), count);
    }
    let (data, out) = (data.to_str().unwrap(), out.to_str().unwrap());
    let recipe = ["--network=lenet5", "--epochs=1", "--data", data, "--out", out];
    let (_, said) = trainer(0, &recipe);
    assert!(
        said.contains("33 images of 3 classes (bars, disc, other things), 6 to choose the best epoch by, 9 of them"),
        "{said}"
    );
    assert!(said.contains("Images: 18 training, 6 validation, 9 test\n"), "{said}");
    let metrics = fs::read_to_string(format!("{out}/metrics.csv")).unwrap();
    let cells: Vec<_> = metrics.lines().map(|line| line.split(',').collect::<Vec<_>>()).collect();
    let column = cells[0].iter().position(|name| *name == "validation_accuracy").unwrap();
    let sixths = 6.0 * cells[1][column].parse::<f64>().unwrap();
    assert!((sixths - sixths.round()).abs() < 1e-3, "{metrics}");
    let (_, said) = trainer(2, &[&recipe[..], &["--validation=3", "--overwrite"]].concat());
    assert!(said.contains("--validation: these data have validation images of their own"), "{said}");
}

#[test]
fn folders_without_data_are_said_to_be_that() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    pictures(&root.join("Photos"), 2);
    fs::create_dir(root.join("empty")).unwrap();
    fs::create_dir(root.join("texts")).unwrap();
    fs::write(root.join("texts/a.txt"), "text").unwrap();
    save(&root.join("flat/1.png"), GrayImage::new(3, 3));
    for (name, expected) in [
        ("photo", ": there is no such folder; did you mean Photos?"),
        ("elsewhere", ": there is no such folder"),
        ("texts/a.txt", ": expected a folder, found a file"),
        ("empty", "or Fashion-MNIST's four files, found an empty folder"),
        ("texts", "or Fashion-MNIST's four files, found neither folders nor images"),
        ("flat", "to be put into folders named after their classes:\n  "),
    ] {
        let path = root.join(name);
        let (_, said) = trainer(2, &["--data", path.to_str().unwrap(), "--out", root.join("run").to_str().unwrap()]);
        assert!(said.contains(expected) && said.contains(path.to_str().unwrap()), "{name}: {said}");
        assert!(!said.contains("was not found"), "{said}");
    }
    assert!(!root.join("run").exists());
}

#[test]
fn nothing_is_downloaded_into_a_folder_of_photos() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    pictures(&photos, 2);
    let files = || fs::read_dir(&photos).unwrap().count();
    let before = files();
    let url = ["--data", photos.to_str().unwrap(), "--data-url", "http://127.0.0.1:1/", "--network=lenet5"];
    let (_, said) = trainer(2, &url);
    assert!(said.contains("photos holds other files, among which nothing is downloaded"), "{said}");
    assert_eq!(files(), before);
    // A new folder is asked for, and tried.
    let new = folder.path().join("new");
    let (_, said) = trainer(2, &[&["--data", new.to_str().unwrap()], &url[2..]].concat());
    assert!(said.contains("Fashion-MNIST was not found. Tried:"), "{said}");
}

#[test]
fn images_that_cannot_be_read_are_listed_and_may_be_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    pictures(&root.join("shapes"), 20);
    for number in 0..15 {
        fs::write(root.join(format!("shapes/bars/{number}.jpg")), "").unwrap();
    }
    fs::write(root.join("shapes/disc/photo.heic"), "x").unwrap();
    let run = |status: i32, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        command.current_dir(root).args(["--network=lenet5", "--epochs=1", "--data=shapes", "--out=run"]).args(more);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{said}");
        (said, fs::read_to_string(root.join("unreadable-images.txt")).unwrap())
    };
    let (said, list) = run(2, &[]);
    assert!(
        said.contains("15 of 75 images cannot be used; repair or remove them, or go on without them by --skip"),
        "{said}"
    );
    assert!(said.contains("and 5 more") && list.lines().count() == 15, "{list}");
    assert!(list.starts_with("shapes/bars/0.jpg\tthe file is empty\n"), "{list}");
    let (said, list) = run(0, &["--skip-unreadable"]);
    assert!(said.contains("shapes: 60 images of 3 classes"), "{said}");
    assert!(said.contains("16 files left out that cannot be read, listed in unreadable-images.txt"), "{said}");
    assert!(list.contains("shapes/disc/photo.heic\tHEIC is not read\n") && list.lines().count() == 16, "{list}");

    // A class of which nothing is left is none.
    for number in 0..20 {
        let _ = fs::remove_file(root.join(format!("shapes/bars/{number:03}.png")));
        let _ = fs::remove_file(root.join(format!("shapes/bars/{number:03}.jpg")));
    }
    fs::remove_dir_all(root.join("shapes/bars/more")).unwrap();
    let error = read_with(&root.join("shapes"), TestShare::default(), Unreadable::Skipped).unwrap_err();
    assert!(error.contains("found none in:\n") && error.ends_with("shapes/bars"), "{error}");
}

#[test]
fn a_run_does_not_replace_the_weights_that_it_starts_from() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("shapes"), folder.path().join("run"));
    pictures(&data, 6);
    let (data, out) = (data.to_str().unwrap(), out.to_str().unwrap());
    let weights = format!("{out}/lenet5.safetensors");
    trainer(0, &["--network=lenet5", "--epochs=1", "--data", data, "--out", out]);
    let before = fs::read(&weights).unwrap();
    let again = ["--network=lenet5", "--epochs=1", "--data", data, "--out", out, "--init", &weights, "--overwrite"];
    let (_, said) = trainer(2, &again);
    assert!(said.contains("the run would replace this file; name another folder with --out"), "{said}");
    assert_eq!(fs::read(&weights).unwrap(), before);
}

#[test]
fn what_an_image_is_decides_and_large_ones_are_shrunk_once() {
    let folder = tempfile::tempdir().unwrap();
    let red = RgbImage::from_pixel(5, 4, Rgb([255, 0, 0]));
    let large = picture(1, 300, 200, 3);
    for (class, number) in [("a", 0), ("a", 1), ("b", 0), ("b", 1)] {
        let path = folder.path().join(class).join(format!("{number}.png"));
        if class == "a" { save(&path, red.clone()) } else { save(&path, large.clone()) }
    }
    let data = read(folder.path(), TestShare::default()).unwrap();
    let [a, b] = [0, 1].map(|class| data.train.labels().iter().position(|label| *label == class).unwrap());
    assert_eq!((data.train.size(a), data.train.image(a)), ((5, 4), &[76; 20][..]));
    assert_eq!(data.train.size(b), (28, 28));
    let input = |width: usize, height: usize, pixels: &[u8]| {
        let mut input = vec![0.0; 28 * 28];
        let frame = Frame::new(1, width, height, pixels);
        <LeNet5<Cpu> as Network<Cpu>>::preprocess(&frame, Resize::Exact, &mut input).unwrap();
        input
    };
    let (whole, shrunk) = (input(300, 200, large.as_raw()), input(28, 28, data.train.image(b)));
    assert!(whole.iter().zip(shrunk).all(|(whole, shrunk)| (whole - shrunk).abs() < 0.501 / 255.0));
}

#[test]
fn the_digest_tells_whether_anything_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), 4);
    let digest = || read(folder.path(), TestShare::default()).unwrap().files.remove(0).sha256;
    let first = digest();
    assert_eq!(first.len(), 64);
    let moved = tempfile::tempdir().unwrap();
    pictures(moved.path(), 4);
    assert_eq!(read(moved.path(), share(0.5, 3)).unwrap().files[0].sha256, first);
    let path = folder.path().join("bars/000.png");
    fs::rename(&path, folder.path().join("bars/00.png")).unwrap();
    let renamed = digest();
    fs::rename(folder.path().join("bars/00.png"), &path).unwrap();
    assert!(renamed != first && digest() == first);
    save(&path, picture(0, 28, 28, 99));
    assert_ne!(digest(), first);
}

#[test]
fn folders_that_cannot_be_data_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let image = |path: &str| save(&root.join(path), GrayImage::new(3, 3));
    let refused = |expected: &str| {
        let error = read(&root, TestShare::default()).unwrap_err().replace(root.to_str().unwrap(), "DIR");
        assert!(error.contains(expected), "{error}\nexpected {expected}");
    };
    refused("DIR: there is no such folder");
    image("a/1.png");
    refused("DIR: expected a folder for each of 2 to 10000 classes, found one, a");
    fs::create_dir(root.join("b")).unwrap();
    fs::create_dir(root.join("c")).unwrap();
    refused("found none in:\n  DIR/b\n  DIR/c");
    image("b/x/1.png");
    image("c/1.png");
    refused("DIR/a: expected at least 2 images, one of them to test by, found 1");
    image("stray.png");
    refused(
        "DIR: expected a folder for each class, found images that lie in none, to be put into folders named after their classes:\n  DIR/stray.png",
    );
    fs::remove_file(root.join("stray.png")).unwrap();
    for number in 0..9_998 {
        fs::create_dir(root.join(format!("more {number}"))).unwrap();
    }
    refused("DIR: expected 2 to 10000 classes, found 10001");

    fs::remove_dir_all(&root).unwrap();
    image("train/a/1.png");
    image("train/b/1.png");
    refused("DIR: expected a folder test (or val) with test images beside the folder train");
    image("test/b/1.png");
    image("test/c/1.png");
    refused("DIR: expected the same classes in train and test, found only in train: a; only in test: c");
    image("more/a/1.png");
    refused("DIR: expected the folders train, test and one of val, valid, validation alone, found more too");
}

#[test]
fn every_image_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    pictures(root, 3);
    fs::write(root.join("bars/empty.png"), "").unwrap();
    fs::write(root.join("bars/text.jpg"), "text").unwrap();
    let whole = fs::read(root.join("disc/000.png")).unwrap();
    fs::write(root.join("disc/cut.png"), &whole[..whole.len() / 2]).unwrap();
    let error = read(root, TestShare::default()).unwrap_err();
    let lines: Vec<&str> = error.lines().collect();
    let path = |name: &str| root.join(name).display().to_string();
    assert_eq!(
        lines[0],
        format!(
            "{}: 3 of 12 images cannot be used; repair or remove them, or go on without them by --skip-unreadable:",
            root.display()
        )
    );
    assert_eq!(lines[1], format!("  {}: the file is empty", path("bars/empty.png")));
    assert!(lines[2].starts_with(&format!("  {}: not an image: expected PNG", path("bars/text.jpg"))), "{error}");
    assert!(lines[3].starts_with(&format!("  {}: ", path("disc/cut.png"))), "{error}");
    for number in 0..20 {
        fs::write(root.join(format!("bars/{number}.png")), "").unwrap();
    }
    let error = read(root, TestShare::default()).unwrap_err();
    assert!(error.lines().count() == 12 && error.ends_with("\n  and 13 more"), "{error}");
}

/// Runs the program and demands an exit status. Returns stdout and stderr.
fn trainer(status: i32, arguments: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    // Where a list of unreadable images disturbs nobody.
    command.current_dir(std::env::temp_dir());
    let output = command.args(arguments).args(["--threads", "2"]).stdin(Stdio::null()).output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(output.status.code(), Some(status), "{arguments:?}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_run_on_a_folder_says_what_it_learnt_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("shapes"), folder.path().join("run"));
    let (data, out) = (data.to_str().unwrap(), out.to_str().unwrap());
    pictures(Path::new(data), 40);
    let recipe = ["--network=lenet5", "--epochs=8", "--batch-size=8", "--learning-rate=0.003", "--normalise"];
    let keep = ["--checkpoint-minutes=0", "--keep-checkpoints=1000", "--flip", "--shift=2", "--label-smoothing=0.1"];
    let (_, said) = trainer(
        0,
        &[&recipe[..], &keep, &["--data", data, "--out", out, "--test-share=0.25", "--test-seed=3"]].concat(),
    );
    assert!(
        said.contains("shapes: 120 images of 3 classes (bars, disc, other things), 30 of them to test by"),
        "{said}"
    );
    assert!(said.contains("Images: 81 training, 9 validation, 30 test\n"), "{said}");
    let config = json(&fs::read_to_string(format!("{out}/config.json")).unwrap());
    assert_eq!(config["test_share"], serde_json::json!({"share": 0.25, "seed": 3}));
    assert_eq!((config["data"].as_array().unwrap().len(), &config["data"][0]["path"]), (1, &data.into()));
    assert!(fs::read_to_string(format!("{out}/curves.svg")).unwrap().contains("LeNet-5 on shapes"));

    // It is evaluated by the images that were kept for it.
    let weights = format!("{out}/lenet5.safetensors");
    let evaluated = json(&trainer(0, &["evaluate", "--json", "--weights", &weights, "--data", data]).0);
    assert_eq!((&evaluated["images"], evaluated["confusion"].as_array().unwrap().len()), (&30.into(), 3));
    let labels: Vec<_> =
        evaluated["classes"].as_array().unwrap().iter().map(|class| class["label"].as_str().unwrap()).collect();
    assert_eq!(labels, CLASSES);
    let accuracy = evaluated["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.6, "{accuracy}");
    let page = fs::read_to_string(format!("{out}/report.html")).unwrap();
    assert!(page.contains(&format!("{:.2} % of 30 test images", 100.0 * accuracy)));
    assert!(
        page.contains("<th>other things</th>") && page.matches("<th><span title=").count() == 3,
        "only three classes"
    );

    // From a checkpoint in the middle of an epoch, to the same weights.
    let whole = fs::read(&weights).unwrap();
    let checkpoints = || {
        let entries = fs::read_dir(format!("{out}/checkpoints")).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let stop = |after: usize| checkpoints().iter().skip(after).for_each(|path| fs::remove_file(path).unwrap());
    // Within the first epoch, so that the best one is still to come.
    stop(5);
    fs::remove_file(&weights).unwrap();
    trainer(0, &["--resume", out]);
    assert!(fs::read(&weights).unwrap() == whole, "the run that went on gave other weights");

    // Not with other images, not with none, but with the same ones elsewhere.
    stop(15);
    let moved = folder.path().join("moved");
    fs::rename(data, &moved).unwrap();
    let (_, said) = trainer(2, &["--resume", out]);
    assert!(
        said.contains("shapes: the images that this run began with are gone; name their folder with --data"),
        "{said}"
    );
    let changed = moved.join("bars/000.png");
    let original = fs::read(&changed).unwrap();
    save(&changed, picture(1, 28, 28, 0));
    let (_, said) = trainer(2, &["--resume", out, "--data", moved.to_str().unwrap()]);
    assert!(said.contains("the data have changed"), "{said}");
    fs::write(&changed, original).unwrap();
    trainer(0, &["--resume", out, "--data", moved.to_str().unwrap()]);
    assert!(fs::read(&weights).unwrap() == whole);
    let (_, said) = trainer(2, &["--resume", out, "--test-share", "0.5"]);
    assert!(said.contains("cannot be used with"), "{said}");
}

#[test]
fn weights_of_other_classes_are_not_taken_for_these() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (shapes, pets, run, more) = (path("shapes"), path("pets"), path("run"), path("more"));
    pictures(Path::new(&shapes), 8);
    for (class, name) in ["cat", "dog"].iter().enumerate() {
        for number in 0..8 {
            save(&Path::new(&pets).join(name).join(format!("{number}.png")), picture(2 * class, 30, 30, number));
        }
    }
    let recipe = ["--network=lenet5", "--epochs=1", "--batch-size=8"];
    trainer(0, &[&recipe[..], &["--data", &shapes, "--out", &run]].concat());
    let weights = format!("{run}/lenet5.safetensors");
    let (_, said) = trainer(2, &["evaluate", "--weights", &weights, "--data", &pets]);
    assert!(
        said.contains("these weights tell apart bars, disc, other things; the data have the classes cat, dog"),
        "{said}"
    );
    let (_, said) = trainer(2, &["evaluate", "--weights", &weights]);
    assert!(
        said.contains("these weights were trained on the images in ") && said.contains("name that folder with --data"),
        "{said}"
    );

    // They may be learnt on from: all but the layer that tells the classes apart.
    let (_, said) = trainer(0, &[&recipe[..], &["--data", &pets, "--out", &more, "--init", &weights]].concat());
    let expected = format!(
        "{weights}: these weights tell apart other classes (bars, disc, other things): the last layer, linear3, begins anew"
    );
    assert!(said.contains(&expected), "{said}");
    let (_, said) =
        trainer(0, &[&recipe[..], &["--data", &shapes, "--out", &more, "--init", &weights, "--overwrite"]].concat());
    assert!(!said.contains("anew"), "{said}");
}

#[test]
fn a_network_has_as_many_outputs_as_there_are_classes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let shape = |weights: &str| {
        let bytes = fs::read(weights).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        header.info("linear3.weight").unwrap().shape.clone()
    };
    let recipe = ["--network=lenet5", "--epochs=1", "--batch-size=50"];
    let mut before = None;
    for classes in [2, 37, 300] {
        let (data, run) = (path(&format!("data-{classes}")), path(&format!("run-{classes}")));
        for class in 0..classes {
            let file = Path::new(&data).join(format!("kind {class:04}"));
            (0..2).for_each(|number| {
                save(&file.join(format!("{number}.png")), picture(class % 3, 12, 9, (class + number) as u32))
            });
        }
        trainer(0, &[&recipe[..], &["--data", &data, "--out", &run]].concat());
        let weights = format!("{run}/lenet5.safetensors");
        assert_eq!(shape(&weights), [classes, 84]);
        let (evaluated, _) = trainer(0, &["evaluate", "--json", "--weights", &weights, "--data", &data]);
        let evaluated: serde_json::Value = serde_json::from_str(&evaluated).unwrap();
        assert_eq!(evaluated["classes"].as_array().unwrap().len(), classes);
        assert_eq!(evaluated["confusion"].as_array().map(Vec::len), (classes <= 100).then_some(classes));
        let taken =
            |kind: &str| evaluated[kind].as_array().unwrap().iter().map(|pair| pair[2].as_u64().unwrap()).sum::<u64>();
        let correct = evaluated["classes"].as_array().unwrap().iter().map(|class| class["correct"].as_u64().unwrap());
        assert_eq!(taken("confusions") + correct.sum::<u64>(), evaluated["images"].as_u64().unwrap());
        let (table, _) = trainer(0, &["evaluate", "--weights", &weights, "--data", &data]);
        assert!(table.lines().all(|line| line.chars().count() < 300), "{table}");
        assert!(fs::read_to_string(format!("{run}/report.html")).unwrap().len() < 300_000);

        // What was learnt goes on to other classes, of whatever number.
        if let Some(init) = before.replace(weights) {
            let other = path(&format!("other-{classes}"));
            let (_, said) = trainer(0, &[&recipe[..], &["--data", &data, "--out", &other, "--init", &init]].concat());
            assert!(said.contains("the last layer, linear3, begins anew"), "{said}");
            assert_eq!(shape(&format!("{other}/lenet5.safetensors")), [classes, 84]);
        }
    }
}

#[test]
fn weights_with_more_outputs_than_classes_still_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (shapes, run) = (path("shapes"), path("run"));
    pictures(Path::new(&shapes), 8);
    // Earlier versions had ten outputs for any classes, of which the first ones meant something.
    let weights = folder.path().join("earlier.safetensors");
    let network = LeNet5::init(&Cpu::default(), 10, Initialisation::He, 3).unwrap();
    let metadata = [("architecture", "lenet5"), ("classes", r#"["bars","disc","other things"]"#)];
    let metadata = metadata.map(|(key, value)| (key.to_string(), value.to_string())).into();
    export::save(&weights, &network, &metadata).unwrap();
    let weights = weights.to_str().unwrap();

    let (evaluated, _) = trainer(0, &["evaluate", "--json", "--weights", weights, "--data", &shapes]);
    let evaluated: serde_json::Value = serde_json::from_str(&evaluated).unwrap();
    assert_eq!(evaluated["confusion"].as_array().unwrap().len(), 3);
    let recipe = ["--network=lenet5", "--epochs=1", "--batch-size=8"];
    let (_, said) = trainer(0, &[&recipe[..], &["--data", &shapes, "--out", &run, "--init", weights]].concat());
    assert!(!said.contains("anew"), "{said}");
    assert_eq!(export::classes(Path::new(&format!("{run}/lenet5.safetensors")), &DESCRIPTION).unwrap(), 10);
}

#[test]
fn samples_lie_in_folders_named_after_their_classes() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    pictures(&data, 5);
    trainer_without_threads(&[
        "samples",
        "--data",
        data.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
        "--count",
        "3",
    ]);
    let mut names: Vec<_> =
        fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["bars", "disc", "other_things"]);
}

fn trainer_without_threads(arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_trainer")).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_is_no_data_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    let refused = |status: i32, more: &[&str], expected: &str| {
        let arguments = ["--network=lenet5", "--data", data.to_str().unwrap(), "--out", out.to_str().unwrap()];
        let (_, said) = trainer(status, &[&arguments[..], more].concat());
        assert!(said.contains(expected), "{said}\nexpected {expected}");
        assert!(!out.exists());
    };
    fs::write(&data, "a file").unwrap();
    refused(2, &[], "data: expected a folder, found a file");
    fs::remove_file(&data).unwrap();
    save(&data.join("1.png"), GrayImage::new(3, 3));
    refused(2, &[], "expected a folder for each class, found images that lie in none");
    fs::remove_file(data.join("1.png")).unwrap();
    pictures(&data, 3);
    fs::write(data.join("disc/bad.png"), "").unwrap();
    refused(2, &[], "disc/bad.png: the file is empty");
    fs::remove_file(data.join("disc/bad.png")).unwrap();
    fs::rename(&data, folder.path().join("train")).unwrap();
    pictures(&data.join("test"), 2);
    fs::rename(folder.path().join("train"), data.join("train")).unwrap();
    refused(2, &["--test-share", "0.5"], "--test-share, --test-seed: these data have test images of their own");
    for share in ["0", "1", "-1", "half"] {
        refused(2, &["--test-share", share], "expected a number greater than 0 and less than 1");
    }
}
