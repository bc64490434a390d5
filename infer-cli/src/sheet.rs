//! Contact sheet: a page with the images by class, small, those first that the network is least sure of. It is bounded, so that a
//! million images have a page, too, and memory does not grow with them.

use std::{
    cmp::Ordering,
    collections::BinaryHeap,
    fmt::Write as _,
    io::{self, Cursor},
    path::{Path, PathBuf},
};

use anyhow::Context;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use image_files::{
    atomic,
    image::{DynamicImage, ImageError, ImageFormat, RgbImage, codecs::jpeg::JpegEncoder},
};
use reporting::{
    page::{self, cells, escape, table},
    words::{counted, grouped, percent},
};

use crate::{pipeline::Record, text::escaped};
use classifier::Answer;

/// Pictures on a page, shared by the classes.
const PICTURES: usize = 1000;

/// Errors on a page.
const ERRORS: usize = 100;

/// Longest side of a picture, in pixels.
const SIDE: u32 = 112;

/// Quality of pictures that are smaller than their images.
const QUALITY: u8 = 80;

const STYLE: &str = "nav table{width:100%;max-width:44em}nav td:last-child{width:40%;text-align:left}\
.bar{height:.7em;background:rgb(var(--shade));min-width:1px}\
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(104px,1fr));gap:8px}\
.sheet figure{width:auto;margin:0;padding:6px;background:var(--block);border-radius:6px;border:2px solid transparent}\
.sheet figure.wrong{border-color:var(--bad)}.sheet img{width:100%;height:auto;aspect-ratio:1;display:block}\
.sheet img.small{image-rendering:pixelated}.sheet .of{height:4px;margin:4px 0;background:var(--line)}\
.sheet .of i{display:block;height:100%;background:var(--accent)}.sheet b{font-size:13px}\
.sheet .path{color:var(--quiet);display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:2;overflow:hidden}\
.wrong em{color:var(--bad);font-style:normal}.quiet{color:var(--quiet)}";

/// A small picture of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Thumbnail {
    image: RgbImage,
    /// The image is larger.
    shrunk: bool,
}

impl Thumbnail {
    /// A picture of an image, which keeps its size if it is small.
    pub fn of(image: &DynamicImage) -> Self {
        let shrunk = image.width().max(image.height()) > SIDE;
        let image = if shrunk { image.thumbnail(SIDE, SIDE).to_rgb8() } else { image.to_rgb8() };
        Self { image, shrunk }
    }

    /// An element of HTML: JPEG, or PNG for the pixels of small images.
    fn html(&self) -> Result<String, ImageError> {
        let mut bytes = Cursor::new(Vec::new());
        let (kind, class) = if self.shrunk {
            JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(&self.image)?;
            ("jpeg", "")
        } else {
            self.image.write_to(&mut bytes, ImageFormat::Png)?;
            ("png", " class=\"small\"")
        };
        let bytes = STANDARD.encode(bytes.into_inner());
        Ok(format!("<img{class} alt=\"\" src=\"data:image/{kind};base64,{bytes}\">"))
    }
}

/// Images for a page.
#[derive(Debug)]
pub struct Sheet {
    path: PathBuf,
    labels: Vec<String>,
    shelves: Vec<Shelf>,
    errors: Vec<(String, String)>,
    failed: u64,
}

/// Images that were taken for a class.
#[derive(Debug, Default)]
struct Shelf {
    images: u64,
    /// Images of other classes.
    wrong: u64,
    /// Those that the network is least sure of, the surest of them at the top.
    unsure: BinaryHeap<Picture>,
}

/// An image on the page.
#[derive(Debug)]
struct Picture {
    probability: f32,
    /// Place among all, by which equals are ordered.
    place: u64,
    figure: String,
}

impl Ord for Picture {
    fn cmp(&self, other: &Self) -> Ordering {
        self.probability.total_cmp(&other.probability).then(self.place.cmp(&other.place))
    }
}

impl PartialOrd for Picture {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Picture {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Picture {}

impl Sheet {
    /// A page that is to be at `path`, of classes with these labels.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn new(path: &Path, labels: &[String]) -> anyhow::Result<Self> {
        atomic::check(path).with_context(|| format!("cannot write {}", path.display()))?;
        let shelves = labels.iter().map(|_| Shelf::default()).collect();
        Ok(Self { path: path.to_path_buf(), labels: labels.to_vec(), shelves, errors: Vec::new(), failed: 0 })
    }

    /// Pictures of each class.
    fn most(&self) -> usize {
        (PICTURES / self.labels.len().max(1)).max(1)
    }

    /// Takes an image, whose class may be known.
    ///
    /// # Errors
    /// Its picture cannot be encoded.
    pub fn record(&mut self, record: &Record, class: Option<usize>) -> Result<(), ImageError> {
        let path = escaped(&record.path).into_owned();
        let most = self.most();
        match &record.outcome {
            Err(error) => {
                self.failed += 1;
                if self.errors.len() < ERRORS {
                    self.errors.push((path, error.clone()));
                }
            }
            Ok(answer) => {
                let Some(best) = answer.ranking.first() else { return Ok(()) };
                let wrong = class.filter(|class| *class != best.class);
                let Some(shelf) = self.shelves.get_mut(best.class) else { return Ok(()) };
                shelf.images += 1;
                shelf.wrong += u64::from(wrong.is_some());
                let mut picture = Picture { probability: best.probability, place: shelf.images, figure: String::new() };
                if shelf.unsure.len() < most || shelf.unsure.peek().is_some_and(|surest| picture < *surest) {
                    picture.figure = figure(&path, answer, record.thumbnail.as_ref(), wrong, &self.labels)?;
                    shelf.unsure.push(picture);
                    if shelf.unsure.len() > most {
                        shelf.unsure.pop();
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes the page, for answers by these weights.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(self, weights: &str) -> anyhow::Result<()> {
        let page = self.html(weights);
        let written = atomic::write(&self.path, |file| io::Write::write_all(file, page.as_bytes()));
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn html(&self, weights: &str) -> String {
        let images: u64 = self.shelves.iter().map(|shelf| shelf.images).sum();
        let wrong: u64 = self.shelves.iter().map(|shelf| shelf.wrong).sum();
        let mut order: Vec<_> = self.shelves.iter().enumerate().filter(|(_, shelf)| shelf.images > 0).collect();
        // Of many classes, those with the most images are shown, and in the order of the classes.
        let left_out = order.len().saturating_sub(PICTURES);
        order.sort_by_key(|(_, shelf)| std::cmp::Reverse(shelf.images));
        order.truncate(PICTURES);
        order.sort_by_key(|(class, _)| *class);

        let mut body = format!("<p>By {}.", escape(weights));
        if wrong > 0 {
            let _ = write!(body, " {} in folders of another class, with a red border.", counted(wrong, "image"));
        }
        if self.failed > 0 {
            let _ = write!(body, " <a href=\"#errors\">{} could not be classified</a>.", counted(self.failed, "image"));
        }
        if left_out > 0 {
            let _ = write!(body, " {left_out} of the classes are left out, those with the fewest images.");
        }
        body += "</p>\n";
        let mut rows = String::new();
        for (class, shelf) in &order {
            let share = 100.0 * shelf.images as f64 / images.max(1) as f64;
            let bar = format!("<div class=\"bar\" style=\"width:{share:.1}%\"></div>");
            let name = format!("<th><a href=\"#class-{class}\">{}</a></th>", escape(&self.labels[*class]));
            let _ = writeln!(rows, "<tr>{name}{}</tr>", cells("td", &[grouped(shelf.images), bar]));
        }
        let head = cells("th", &["class".into(), "images".into(), String::new()]);
        let _ = writeln!(body, "<nav>{}</nav>", table("", &head, &rows));
        for (class, shelf) in order {
            let _ = writeln!(body, "<h2 id=\"class-{class}\">{}</h2>", escape(&self.labels[class]));
            body += &shelf.html();
        }
        if self.failed > 0 {
            body += "<h2 id=\"errors\">Errors</h2>\n";
            let more = self.failed - self.errors.len() as u64;
            if more > 0 {
                let _ =
                    writeln!(body, "<p class=\"quiet\">The first {ERRORS}; {} more are left out.</p>", grouped(more));
            }
            body += "<ul>\n";
            for (path, error) in &self.errors {
                let _ = writeln!(body, "<li><code>{}</code>: {}</li>", escape(path), escape(error));
            }
            body += "</ul>\n";
        }
        page::html(&counted(images, "image"), STYLE, &body)
    }
}

impl Shelf {
    fn html(&self) -> String {
        let mut pictures: Vec<_> = self.unsure.iter().collect();
        pictures.sort_unstable();
        let shown = pictures.len() as u64;
        let said = if shown == self.images {
            format!("{}, the least sure first.", counted(self.images, "image"))
        } else {
            format!(
                "The {shown} that the network is least sure of; {} more are left out.",
                grouped(self.images - shown)
            )
        };
        let figures: String = pictures.into_iter().map(|picture| picture.figure.as_str()).collect();
        format!("<p class=\"quiet\">{said}</p>\n<div class=\"sheet\">\n{figures}</div>\n")
    }
}

/// An image with what the network says of it.
fn figure(
    path: &str,
    answer: &Answer,
    thumbnail: Option<&Thumbnail>,
    wrong: Option<usize>,
    labels: &[String],
) -> Result<String, ImageError> {
    let name = |class: usize| escape(labels.get(class).map_or("?", String::as_str));
    let picture = thumbnail.map(Thumbnail::html).transpose()?.unwrap_or_default();
    let mut lines = String::new();
    let [best, ..] = &answer.ranking[..] else { return Ok(lines) };
    if let Some(class) = wrong {
        let _ = write!(lines, "<em>is {}</em><br>", name(class));
    }
    if let Some(second) = answer.ranking.get(1) {
        let _ = write!(lines, "or {} {}<br>", name(second.class), percent(second.probability.into()));
    }
    if let Some(doubt) = answer.doubt {
        let _ = write!(lines, "{doubt}<br>");
    }
    let class = if wrong.is_some() { " class=\"wrong\"" } else { "" };
    let file = path.rsplit('/').next().map(escape).unwrap_or_default();
    let (path, probability) = (escape(path), f64::from(best.probability));
    Ok(format!(
        "<figure{class} title=\"{path}\">{picture}<div class=\"of\"><i style=\"width:{:.1}%\"></i></div><figcaption><b>{}</b><br>{lines}\
         <span class=\"path\">{file}</span></figcaption></figure>\n",
        100.0 * probability,
        percent(probability)
    ))
}
