//! `infer-cli classify --report`: a page with the images by class.

use std::fs;

use crate::common::{self, Folder};
use predicates::str::contains;
use serde_json::Value;

/// The text between two others, wherever they are.
fn between<'t>(text: &'t str, before: &str, after: &str) -> Vec<&'t str> {
    text.split(before).skip(1).filter_map(|rest| rest.split_once(after)).map(|(inside, _)| inside).collect()
}

/// The page's paths of a class, in order.
fn shown(page: &str, label: &str) -> Vec<String> {
    let heading = format!(">{label}</h2>");
    let Some((_, section)) = page.split_once(&heading) else { return Vec::new() };
    let section = section.split("<h2").next().unwrap();
    between(section, " title=\"", "\">").into_iter().map(String::from).collect()
}

/// The paths of a class by rising probability, in the order of the records among equals.
fn expected(records: &[Value], label: &str) -> Vec<String> {
    let mut records: Vec<_> = records.iter().filter(|record| record["label"] == label).collect();
    records.sort_by(|a, b| a["probability"].as_f64().unwrap().total_cmp(&b["probability"].as_f64().unwrap()));
    records.iter().map(|record| record["path"].as_str().unwrap().to_string()).collect()
}

#[test]
fn each_class_has_its_least_sure_images_and_says_how_many_there_are_beside_them() {
    let folder = Folder::new();
    for seed in 0..60 {
        folder.picture(&format!("set/Coat/{seed}.png"), seed);
    }
    folder.file("set/bad<1>.png", b"bad");
    let list: String =
        (0..240).map(|number| format!("set/Coat/{}.png\n", number % 60)).chain(["set/bad<1>.png\n".into()]).collect();
    folder.file("list", list.as_bytes());
    let (records, _) = folder.records(&["--files-from", "list"]);
    let mut command = folder.classify(&["--files-from", "list", "--evaluate", "--report", "page.html", "-j", "2"]);
    command.assert().code(1);
    let page = fs::read_to_string(folder.path("page.html")).unwrap();
    assert!(page.contains("<title>240 images</title>") && page.contains("By lenet5.safetensors."));
    let labels: Vec<String> = serde_json::from_str(common::CLASSES).unwrap();
    let (mut pictures, mut wrong, mut left_out) = (0, 0, 0);
    for label in &labels {
        let (found, expected) = (shown(&page, label), expected(&records, label));
        assert_eq!(found, expected[..expected.len().min(100)], "{label}");
        pictures += found.len();
        wrong += if label == "Coat" { 0 } else { expected.len() };
        if expected.len() > 100 {
            left_out += 1;
            let said =
                format!("The 100 that the network is least sure of; {} more are left out.", expected.len() - 100);
            assert!(page.contains(&said), "{said}");
        }
    }
    assert!(left_out > 0 && wrong > 0, "the pictures prove nothing");
    assert_eq!(page.matches("<img class=\"small\" alt=\"\" src=\"data:image/png;base64,").count(), pictures);
    let heading = format!("{wrong} image{} in folders of another class", if wrong == 1 { "" } else { "s" });
    assert!(page.contains(&heading), "{heading}");
    assert_eq!(page.matches("<em>is Coat</em>").count(), page.matches("<figure class=\"wrong\"").count());
    assert!(
        page.contains("1 image could not be classified</a>")
            && page.contains("<code>set/bad&lt;1&gt;.png</code>: not an image")
    );
    // Nothing is fetched: the page needs no network.
    assert!(!page.contains("http") && !page.contains("<script") && !page.contains("url("));
}

#[test]
fn large_images_are_shrunk_and_labels_are_no_markup() {
    let folder = Folder::new();
    let photo = image::RgbImage::from_fn(900, 500, |x, y| image::Rgb([(x % 256) as u8, (y % 256) as u8, 0]));
    photo.save(folder.path("photo.jpg")).unwrap();
    folder.file("labels", "<b>\n1\n2\n3\n4\n5\n6\n7\n8\n9\n".as_bytes());
    folder.classify(&["photo.jpg", "--report", "page.html", "--labels", "labels"]).assert().success();
    let page = fs::read_to_string(folder.path("page.html")).unwrap();
    assert!(!page.contains("<b>\n") && !page.contains("><b></"));
    let jpeg = between(&page, "src=\"data:image/jpeg;base64,", "\"");
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, jpeg[0]).unwrap();
    let picture = image::load_from_memory(&bytes).unwrap();
    assert_eq!((picture.width(), picture.height()), (112, 62));
}

#[test]
fn a_page_is_written_whole_or_not_at_all() {
    let folder = Folder::new();
    folder.picture("a.png", 1);
    folder.file("bad.png", b"bad");
    let refused = |arguments: &[&str], expected: &str| {
        folder.classify(arguments).assert().code(2).stderr(contains(expected));
    };
    refused(
        &["a.png", "--report", "none/page.html"],
        "cannot write none/page.html: there is no folder none; create it first",
    );
    refused(&["a.png", "--report", "lenet5.safetensors"], "--report lenet5.safetensors: this is what is read");
    refused(&["a.png", "--report", "x", "-o", "x"], "--report and --output are the same file");
    refused(&["a.png", "--report", "x", "-o", "y.csv", "--resume"], "cannot be used with");
    folder.classify(&["bad.png", "a.png", "--report", "page.html", "--strict"]).assert().code(1);
    assert_eq!(folder.names(), ["a.png", "bad.png", "lenet5.safetensors"]);
}
