//! `infer-cli classify` on good and bad images: what it prints, and in which order.

use std::fs;

use crate::common::{self, ALEXNET, Folder, LENET5, paths, picture, tensors, write};
use image::{
    DynamicImage, ExtendedColorType, GrayImage, ImageEncoder, ImageFormat, RgbImage, RgbaImage, codecs::png::PngEncoder,
};
use infer_core::{
    alexnet,
    alexnet::AlexNet,
    classify::softmax,
    lenet5,
    lenet5::LeNet5,
    packed::{Backend, Line, LinearWeights, Network, Serial},
    preprocess,
    weights::Weights,
};
use serde_json::Value;

fn logits(record: &Value) -> Vec<f32> {
    record["logits"].as_array().expect("logits").iter().map(|logit| logit.as_f64().unwrap() as f32).collect()
}

/// LeNet-5's logits of a picture, by infer-core alone.
fn expected(folder: &Folder, picture: &GrayImage) -> [f32; 10] {
    let file = fs::read(folder.path("lenet5.safetensors")).unwrap();
    let mut image = [[[0.0; 28]; 28]];
    for (x, y, pixel) in picture.enumerate_pixels() {
        image[0][y as usize][x as usize] = f32::from(pixel.0[0]) / 255.0;
    }
    packed_logits(&file, &image)
}

/// LeNet-5's logits by the packed network, close to those of the plain one.
fn packed_logits(file: &[u8], image: &lenet5::Image) -> [f32; 10] {
    let weights = Weights::from_safetensors(&lenet5::DESCRIPTION, file).unwrap();
    let mut lines = vec![Line::ZERO; lenet5::PLAN.packed_len(10, LinearWeights::F32)];
    Network::pack(&lenet5::PLAN, &weights, LinearWeights::F32, &mut lines).unwrap();
    let network = Network::from_packed(&lenet5::PLAN, &lines, Backend::best()).unwrap();
    let mut logits = [0.0; 10];
    let mut workspace = vec![Line::ZERO; network.workspace_len(1)];
    network.forward(image.as_flattened().as_flattened(), &mut logits, &mut workspace, &Serial).unwrap();
    let plain = LeNet5::<10>::from_safetensors(file).unwrap().forward(image, &mut lenet5::Workspace::new());
    let largest = plain.iter().fold(0.0, |largest: f32, logit| largest.max(logit.abs()));
    assert!(logits.iter().zip(plain).all(|(found, plain)| (found - plain).abs() <= 1e-5 * largest), "{logits:?}");
    logits
}

#[test]
fn a_record_says_what_the_network_says() {
    let folder = Folder::new();
    folder.picture("a.png", 1);
    let (records, status) = folder.records(&["a.png", "--logits", "-k", "3"]);
    assert_eq!((status, records.len()), (0, 1));
    let record = &records[0];
    let expected = expected(&folder, &picture(1));
    assert_eq!(logits(record), expected);
    let best = (0..10).max_by(|a, b| expected[*a].total_cmp(&expected[*b])).unwrap();
    assert_eq!(record["class"], best);
    let labels: Vec<String> = serde_json::from_str(common::CLASSES).unwrap();
    assert_eq!(record["label"], labels[best]);
    assert_eq!(record["probability"].as_f64().unwrap() as f32, softmax(&expected)[best]);
    assert_eq!(record["top"].as_array().unwrap().len(), 3);
    assert_eq!(record["top"][0]["label"], record["label"]);
    // The network tells pictures apart, or this would prove little.
    assert_ne!(expected, self::expected(&folder, &picture(2)));
    assert!(expected.iter().any(|logit| logit.abs() > 0.5), "{expected:?}");
}

#[test]
fn keys_stand_in_the_order_that_is_promised() {
    let folder = Folder::new();
    folder.picture("a.png", 1);
    let output = folder.classify(&["-f", "jsonl", "a.png", "--logits"]).output().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    let keys = ["\"path\":", "\"class\":", "\"label\":", "\"probability\":", "\"top\":", "\"logits\":"];
    let places: Vec<_> = keys.iter().map(|key| line.find(key).unwrap()).collect();
    assert!(places.is_sorted(), "{line}");
}

#[test]
fn every_format_of_images_gives_the_same_answer() {
    let folder = Folder::new();
    for extension in ["png", "bmp", "webp", "pgm", "TIFF", "jpg"] {
        folder.picture(&format!("all/x.{extension}"), 3);
    }
    // Found by what it is, though no folder would show it.
    fs::copy(folder.path("all/x.png"), folder.path("named")).unwrap();
    let deep = DynamicImage::from(picture(3)).to_luma16();
    deep.save(folder.path("all/deep.png")).unwrap();
    for name in ["all/rgba.png", "all/x.gif"] {
        DynamicImage::from(picture(3)).to_rgba8().save(folder.path(name)).unwrap();
    }
    let (records, status) = folder.records(&["all", "named", "--logits"]);
    assert_eq!((status, records.len()), (0, 10));
    let expected = expected(&folder, &picture(3));
    for record in &records {
        let tolerance = if record["path"] == "all/x.jpg" { 0.2 } else { 1e-5 };
        for (found, expected) in logits(record).iter().zip(expected) {
            assert!((found - expected).abs() < tolerance, "{record} is not {expected:?}");
        }
    }
}

#[test]
fn images_of_any_size_and_colour_are_prepared_as_for_training() {
    let folder = Folder::new();
    let photo = RgbImage::from_fn(90, 50, |x, y| image::Rgb([(x * 2) as u8, (y * 5) as u8, ((x + y) % 200) as u8]));
    photo.save(folder.path("photo.png")).unwrap();
    let (records, _) = folder.records(&["photo.png", "--logits"]);
    let file = fs::read(folder.path("lenet5.safetensors")).unwrap();
    let mut input = [[[0.0; 28]; 28]];
    let pixel = |x: usize, y: usize| preprocess::luma(photo.get_pixel(x as u32, y as u32).0);
    preprocess::resize_bilinear(90, 50, pixel, &mut input[0]).unwrap();
    let expected = packed_logits(&file, &input);
    assert_eq!(logits(&records[0]), expected);
}

#[test]
fn images_are_turned_cut_and_normalised_as_the_weights_say() {
    let folder = Folder::new();
    let description = r#"{"color":"grayscale-bt601","range":[0,1],"resize":"bilinear-antialias","shorter_side":33,"crop":"center","height":28,"width":28,"orientation":"exif","mean":0.25,"std":0.5}"#;
    write(&folder.path("lenet5.safetensors"), tensors(&LENET5), &[("preprocessing", description)]);
    let photo = RgbImage::from_fn(90, 51, |x, y| image::Rgb([(x * 2) as u8, (y * 5) as u8, ((x + y) % 200) as u8]));
    // Exif data of one field: orientation 6, to be turned to the right by a quarter.
    let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let mut encoder = PngEncoder::new(fs::File::create(folder.path("photo.png")).unwrap());
    encoder.set_exif_metadata(exif.to_vec()).unwrap();
    encoder.write_image(&photo, 90, 51, ExtendedColorType::Rgb8).unwrap();
    let file = fs::read(folder.path("lenet5.safetensors")).unwrap();
    let expected = |photo: &RgbImage| {
        let (width, height) = photo.dimensions();
        let mut input = [[[0.0; 28]; 28]];
        let pixel = |x: usize, y: usize| [preprocess::luma(photo.get_pixel(x as u32, y as u32).0)];
        let resize = preprocess::Resize::ShorterSide(33);
        preprocess::resize_channels(resize, width as usize, height as usize, pixel, &mut input).unwrap();
        preprocess::normalise(input[0].as_flattened_mut(), 0.25, 0.5);
        packed_logits(&file, &input)
    };
    let found = |option: &[&str]| {
        let (records, status) = folder.records(&[&["photo.png", "--logits"], option].concat());
        assert_eq!(status, 0);
        logits(&records[0])
    };
    let turned = expected(&image::imageops::rotate90(&photo));
    assert_eq!(found(&[]), turned);
    assert_eq!(found(&["--orient"]), turned);
    assert_eq!(found(&["--orient=false"]), expected(&photo));
}

#[test]
fn inverting_an_inverted_picture_changes_nothing() {
    let folder = Folder::new();
    let mut inverted = picture(4);
    image::imageops::invert(&mut inverted);
    inverted.save(folder.path("inverted.png")).unwrap();
    let (records, _) = folder.records(&["inverted.png", "--logits", "--invert"]);
    let expected = expected(&folder, &picture(4));
    assert!(logits(&records[0]).iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-4));
    let (plain, _) = folder.records(&["inverted.png", "--logits"]);
    assert_ne!(logits(&plain[0]), logits(&records[0]));
}

#[test]
fn bad_images_are_records_and_the_others_go_on() {
    let folder = Folder::new();
    folder.picture("set/a.png", 1);
    folder.picture("set/z.png", 2);
    let good = fs::read(folder.path("set/a.png")).unwrap();
    let mut corrupt = good.clone();
    let middle = corrupt.len() / 2;
    corrupt[middle] ^= 0x55;
    folder.file("set/corrupt.png", &corrupt);
    folder.file("set/cut.png", &good[..good.len() / 2]);
    folder.file("set/empty.jpg", b"");
    folder.file("set/huge.pgm", b"P5 65000 65000 255 x");
    folder.file("set/text.gif", b"not an image at all");
    let (records, status) = folder.records(&["set", "missing.png", "set/a.png"]);
    assert_eq!(status, 1);
    let names = ["a.png", "corrupt.png", "cut.png", "empty.jpg", "huge.pgm", "text.gif", "z.png"];
    let expected: Vec<_> = names.iter().map(|name| format!("set/{name}")).collect();
    assert_eq!(paths(&records)[..7], expected);
    assert_eq!(paths(&records)[7..], ["missing.png", "set/a.png"]);
    for (record, good) in records.iter().zip([true, false, false, false, false, false, true, false, true]) {
        assert_eq!(record.get("class").is_some(), good, "{record}");
        assert_eq!(record.get("error").is_none(), good, "{record}");
    }
    assert_eq!(records[3]["error"], "the file is empty");
    assert!(records[5]["error"].as_str().unwrap().starts_with("not an image: expected PNG"));
    let output = folder.classify(&["set", "-f", "csv"]).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.starts_with("error: 5 of 7 images could not be classified; the first: set/corrupt.png: "));
    assert_eq!(complaint.lines().count(), 1);
}

#[test]
fn strict_stops_at_the_first_bad_image() {
    let folder = Folder::new();
    for name in ["a.png", "c.png", "d.png"] {
        folder.picture(&format!("set/{name}"), 1);
    }
    folder.file("set/b.png", b"bad");
    let (records, status) = folder.records(&["set", "--strict"]);
    assert_eq!((paths(&records), status), (vec!["set/a.png", "set/b.png"], 1));
    let output = folder.classify(&["set", "--strict", "-o", "out.csv", "-f", "csv"]).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.starts_with("error: set/b.png: not an image"), "{complaint}");
    assert_eq!(folder.names(), ["lenet5.safetensors", "set"]);
}

#[test]
fn the_order_does_not_depend_on_the_threads() {
    let folder = Folder::new();
    for i in 0..150 {
        folder.picture(&format!("set/{}/{i:03}.png", i % 3), i);
    }
    folder.file("set/1/bad.png", b"bad");
    let one = folder.classify(&["set", "-f", "csv", "-j", "1"]).output().unwrap().stdout;
    let many = folder.classify(&["set", "-f", "csv", "-j", "7"]).output().unwrap().stdout;
    assert_eq!(one, many);
    let text = String::from_utf8(one).unwrap();
    let paths: Vec<_> = text.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(paths.len(), 151);
    assert!(paths.is_sorted(), "{paths:?}");
}

#[test]
fn folders_lists_and_switches_choose_the_images() {
    let folder = Folder::new();
    for name in ["set/a.png", "set/sub/b.PNG", "set/.hidden/c.png", "set/.d.png", "e.png"] {
        folder.picture(name, 1);
    }
    folder.file("set/notes.txt", b"no image");
    let found = |args: &[&str]| {
        let (records, status) = folder.records(args);
        assert_eq!(status, 0);
        paths(&records).join(" ")
    };
    assert_eq!(found(&["set"]), "set/a.png set/sub/b.PNG");
    assert_eq!(found(&["./set/", "--no-recursive"]), "./set/a.png");
    assert_eq!(found(&["set", "--no-recursive", "--recursive"]), "set/a.png set/sub/b.PNG");
    assert_eq!(found(&["set", "--hidden"]), "set/.d.png set/.hidden/c.png set/a.png set/sub/b.PNG");
    assert_eq!(found(&["set/.d.png"]), "set/.d.png");
    folder.file("list", b"e.png\r\n\nset/sub\n");
    assert_eq!(found(&["set/a.png", "--files-from", "list"]), "set/a.png e.png set/sub/b.PNG");
    folder.file("list0", b"e.png\0set/a.png");
    assert_eq!(found(&["--files-from", "list0", "-0"]), "e.png set/a.png");
    let piped = folder.classify(&["--files-from", "-", "-f", "csv"]).write_stdin("e.png\n").output().unwrap();
    assert!(String::from_utf8(piped.stdout).unwrap().contains("\r\ne.png,"));
}

#[cfg(unix)]
#[test]
fn an_image_may_come_through_a_pipe() {
    let folder = Folder::new();
    folder.picture("a.png", 1);
    let bytes = fs::read(folder.path("a.png")).unwrap();
    let output = folder.classify(&["/dev/stdin", "-f", "csv"]).write_stdin(bytes).output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains("/dev/stdin,"));
}

#[cfg(target_os = "linux")]
#[test]
fn names_of_any_bytes_are_printed_and_control_no_terminal() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    let folder = Folder::new();
    fs::create_dir(folder.path("set")).unwrap();
    let bytes = {
        folder.picture("a.png", 1);
        fs::read(folder.path("a.png")).unwrap()
    };
    for name in [&b"bad\xff.png"[..], b"esc\x1b[31m.png", b"line\nbreak.png"] {
        fs::write(folder.path("set").join(OsStr::from_bytes(name)), &bytes).unwrap();
    }
    let (records, status) = folder.records(&["set"]);
    assert_eq!(status, 0);
    assert_eq!(paths(&records), ["set/bad\\xFF.png", "set/esc\u{1b}[31m.png", "set/line\nbreak.png"]);
    let table = String::from_utf8(folder.classify(&["set"]).output().unwrap().stdout).unwrap();
    assert!(!table.contains('\u{1b}'), "{table}");
    assert_eq!(table.lines().count(), 4);
    let list = fs::read_dir(folder.path("set")).unwrap().flat_map(|entry| {
        let mut path = entry.unwrap().path().into_os_string().into_encoded_bytes();
        path.push(0);
        path
    });
    let listed = folder.classify(&["--files-from", "-", "-0"]).write_stdin(list.collect::<Vec<_>>()).output().unwrap();
    assert!(listed.status.success());
}

#[test]
fn colour_is_for_terminals_unless_asked_for() {
    let folder = Folder::new();
    folder.picture("a.png", 1);
    let table = |args: &[&str]| String::from_utf8(folder.classify(args).output().unwrap().stdout).unwrap();
    assert!(!table(&["a.png"]).contains('\u{1b}'));
    assert!(table(&["a.png", "--color", "always"]).contains('\u{1b}'));
    assert!(table(&["a.png"]).starts_with("LABEL "));
}

#[test]
fn labels_come_from_the_weights_a_file_or_are_numbers() {
    let folder = Folder::new();
    folder.picture("a.png", 1);
    let (records, _) = folder.records(&["a.png"]);
    let class = records[0]["class"].as_u64().unwrap() as usize;
    folder.file("labels.txt", b"l0\nl1\nl2\nl3\nl4\nl5\nl6\nl7\nl8\nl9\n");
    let (records, _) = folder.records(&["a.png", "--labels", "labels.txt"]);
    assert_eq!(records[0]["label"], format!("l{class}"));
    // Without metadata, as PyTorch saves it, both the network and the labels are found.
    write(&folder.path("lenet5.safetensors"), tensors(&common::LENET5), &[]);
    let (records, _) = folder.records(&["a.png"]);
    assert_eq!(records[0]["label"], class.to_string());
}

#[test]
fn evaluation_compares_with_the_folders() {
    let folder = Folder::new();
    for i in 0..12 {
        folder.picture(&format!("all/{i}.png"), i);
    }
    // Each picture into the folder of the class that the network gives it, but for two.
    let (records, _) = folder.records(&["all"]);
    for (i, record) in records.iter().enumerate() {
        let label = record["label"].as_str().unwrap();
        let name = match i {
            0 => (if label == "Bag" { "Dress" } else { "Bag" }).to_string(),
            1 => "unknown".into(),
            _ => label.replace(['/', ' '], "_"),
        };
        let target = folder.path(&format!("sorted/{name}"));
        fs::create_dir_all(&target).unwrap();
        fs::copy(folder.path(record["path"].as_str().unwrap()), target.join(format!("{i}.png"))).unwrap();
    }
    let output = folder.classify(&["sorted", "--evaluate", "-f", "csv"]).output().unwrap();
    let report = String::from_utf8(output.stderr).unwrap();
    assert!(report.starts_with("accuracy         90.91 %  (10 of 11 images)\n"), "{report}");
    assert!(report.contains("Not counted: 1 image in folders without the name of a class"), "{report}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 13);
    assert!(output.status.success());
}

#[test]
fn where_there_are_fewer_classes_than_outputs_the_others_count_for_nothing() {
    let folder = Folder::new();
    let mut weights = tensors(&common::LENET5);
    // Whatever the picture, the last output would win.
    weights.last_mut().unwrap().1.1[9] = 100.0;
    write(
        &folder.path("lenet5.safetensors"),
        weights,
        &[("architecture", "lenet5"), ("classes", r#"["cat","dog","pet rock"]"#)],
    );
    for (number, class) in ["cat", "dog/more", "pet_rock"].iter().enumerate() {
        folder.picture(&format!("set/{class}/1.png"), number as u32);
    }
    let expected = expected(&folder, &picture(0));
    let (records, _) = folder.records(&["set/cat/1.png", "--logits", "-k", "10"]);
    assert_eq!(logits(&records[0]), expected[..3]);
    let probabilities = softmax(&[expected[0], expected[1], expected[2]]);
    let top = records[0]["top"].as_array().unwrap();
    assert_eq!(top.len(), 3);
    for class in top {
        let index = class["class"].as_u64().unwrap() as usize;
        assert_eq!(class["label"], ["cat", "dog", "pet rock"][index]);
        assert!((class["probability"].as_f64().unwrap() as f32 - probabilities[index]).abs() < 1e-6);
    }
    let output = folder.classify(&["set", "--evaluate", "-f", "csv", "--logits", "-k", "10"]).output().unwrap();
    let (table, evaluation) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(
        table.starts_with("path,class,label,probability,class_2,label_2,probability_2,class_3,label_3,probability_3,")
    );
    assert!(table.lines().next().unwrap().ends_with(",logit_0,logit_1,logit_2,error"), "{table}");
    assert!(evaluation.contains("of 3 images)") && evaluation.contains("2 pet rock"), "{evaluation}");
    assert!(!evaluation.contains("Not counted") && !evaluation.contains("\n3 "), "{evaluation}");
    // Other names, as many.
    folder.file("three", "Katze\nHund\nStein".as_bytes());
    folder.file("ten", "0\n1\n2\n3\n4\n5\n6\n7\n8\n9".as_bytes());
    assert!(folder.records(&["set", "--labels", "three"]).0[0]["label"].as_str().unwrap().len() >= 4);
    folder.classify(&["set", "--labels", "ten"]).assert().code(2).stderr(predicates::str::contains("expected 3 names"));
}

#[test]
fn alexnet_is_found_and_runs() {
    let folder = Folder::new();
    write(&folder.path("alexnet.safetensors"), tensors(&ALEXNET), &[("architecture", "alexnet")]);
    let photo = RgbaImage::from_fn(300, 200, |x, y| image::Rgba([(x % 256) as u8, (y % 256) as u8, 90, 255]));
    photo.save_with_format(folder.path("photo"), ImageFormat::WebP).unwrap();
    let output = folder.program(&["classify", "photo", "-f", "jsonl", "--logits"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let found = logits(&serde_json::from_slice(&output.stdout).unwrap());

    let mut input: Box<alexnet::Image> = Box::new([[[0.0; 224]; 224]]);
    let pixel = |x: usize, y: usize| {
        let image::Rgba([red, green, blue, _]) = *photo.get_pixel(x as u32, y as u32);
        preprocess::luma([red, green, blue])
    };
    preprocess::resize_bilinear(300, 200, pixel, &mut input[0]).unwrap();
    let file = fs::read(folder.path("alexnet.safetensors")).unwrap();
    let expected = std::thread::Builder::new()
        .stack_size(16 << 20)
        .spawn(move || AlexNet::<10>::from_safetensors(&file).unwrap().forward(&input, &mut alexnet::Workspace::new()))
        .unwrap()
        .join()
        .unwrap();
    let largest = expected.iter().fold(0.0, |largest: f32, logit| largest.max(logit.abs()));
    assert!(largest > 0.1, "{expected:?}");
    for (found, expected) in found.into_iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-4 * largest, "{found} is not {expected}");
    }
}
