//! `report.html`: a run on one page that needs nothing beside it, with curves, confusions, the worst mistakes, times and
//! configuration, as far as it has come.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

use reporting::confusion::Confusion;

use super::{config::RunConfig, curves, evaluate::Mistake, metrics::EpochMetrics, state::State};
use crate::data::{Dataset, LabelledImages};

/// The page of a run on `dataset` that has made at least one epoch.
///
/// # Errors
/// In words, where curves or images cannot be drawn.
pub fn html(config: &RunConfig, state: &State, dataset: &Dataset) -> Result<String, String> {
    let State { epochs, best, examination, .. } = state;
    let title = escape(&format!("{}: {}", config.network, super::config::shell_line(&config.command)));
    let svg = curves::draw(&config.network, epochs)?;
    let configuration = serde_json::to_string_pretty(config).map_err(|error| error.to_string())?;
    let scores = examination.tally.scores();
    let seconds: f64 = epochs.iter().map(|epoch| epoch.seconds).sum();
    let summary = format!(
        "Epoch {} is the best of {} so far, of {} at most: {:.2} % of {} test images, loss {:.4}. {:.0} s in all, by {} with {} threads.",
        epochs.get(*best).map_or(0, |epoch| epoch.epoch),
        epochs.len(),
        config.options.epochs,
        100.0 * scores.accuracy,
        examination.tally.images(),
        scores.loss,
        seconds,
        escape(&config.device),
        config.threads
    );
    let mistakes = mistakes(dataset, &examination.mistakes)?;
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <h1>{title}</h1>\n<p>{summary}</p>\n{svg}\n\
         <h2>Epochs</h2>\n{}<h2>Confusions</h2>\n{}<h2>Worst mistakes</h2>\n<p>The right class, what it was taken for, and the probability \
         that the network gave to the right class.</p>\n<div>{mistakes}</div>\n\
         <h2>Configuration</h2>\n<pre>{}</pre>\n</html>\n",
        epoch_table(epochs, *best),
        confusions(&dataset.classes, examination.tally.confusion()),
        escape(&configuration)
    ))
}

const STYLE: &str = "body{font:15px sans-serif;max-width:1200px;margin:2em auto;padding:0 1em}h1{font-size:20px}\
svg{max-width:100%;height:auto}table{border-collapse:collapse}td,th{padding:2px 8px;text-align:right}\
th:first-child{text-align:left}tr.best{font-weight:bold}figure{display:inline-block;margin:4px;width:110px;\
font-size:12px;vertical-align:top;overflow-wrap:anywhere}figure img{width:84px;height:84px;image-rendering:pixelated;object-fit:contain}\
pre{background:#f4f4f4;padding:1em;overflow:auto}";

fn epoch_table(epochs: &[EpochMetrics], best: usize) -> String {
    let mut table = String::from("<table>\n");
    for (index, epoch) in epochs.iter().enumerate() {
        let columns = epoch.columns();
        let row = |tag: &str, cells: [&str; 9]| -> String {
            cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", cell.replace('_', " "))).collect()
        };
        if index == 0 {
            let _ = writeln!(table, "<tr>{}</tr>", row("th", columns.each_ref().map(|(name, _)| *name)));
        }
        let class = if index == best { " class=\"best\"" } else { "" };
        let _ = writeln!(table, "<tr{class}>{}</tr>", row("td", columns.each_ref().map(|(_, value)| value.as_str())));
    }
    table + "</table>\n"
}

fn confusions(classes: &[String], confusion: &Confusion) -> String {
    if classes.len() <= Confusion::READABLE {
        return confusion_table(classes, &confusion.matrix());
    }
    let mut table = String::from(
        "<p>The classes that the best epoch most often takes for another, by test images.</p>\n\
         <table>\n<tr><th>class</th><th>taken for</th><th>images</th></tr>\n",
    );
    let name = |class: usize| escape(classes.get(class).map_or("?", String::as_str));
    for (label, predicted, images) in confusion.mistakes().into_iter().take(Confusion::READABLE) {
        let (label, predicted) = (name(label), name(predicted));
        let _ = writeln!(table, "<tr><th>{label}</th><td>{predicted}</td><td>{images}</td></tr>");
    }
    table + "</table>\n"
}

fn confusion_table(classes: &[String], confusion: &[Vec<u64>]) -> String {
    let mut table = String::from(
        "<p>Test images of each class (rows) taken for each class (columns), by the best epoch.</p>\n\
         <table>\n<tr><th></th>",
    );
    for class in 0..classes.len() {
        let _ = write!(table, "<th>{class}</th>");
    }
    table.push_str("<th>right</th></tr>\n");
    for (class, (name, row)) in classes.iter().zip(confusion).enumerate() {
        let _ = write!(table, "<tr><th>{class} {}</th>", escape(name));
        let images = row.iter().sum::<u64>().max(1) as f64;
        for count in row {
            let shade = *count as f64 / images;
            let _ = write!(table, "<td style=\"background:rgba(0,114,178,{shade:.3})\">{count}</td>");
        }
        let _ = writeln!(table, "<td>{:.1} %</td></tr>", 100.0 * row[class] as f64 / images);
    }
    table + "</table>\n"
}

fn mistakes(dataset: &Dataset, mistakes: &[Mistake]) -> Result<String, String> {
    let name = |class: usize| escape(dataset.classes.get(class).map_or("?", String::as_str));
    let mut figures = String::new();
    for Mistake { position, label, predicted, probability } in mistakes {
        let png = png(&dataset.test, *position)?;
        let path = dataset.test_paths.get(*position);
        let image = path.map_or(format!("image {position}"), |path| escape(&path.to_string_lossy()));
        let _ = write!(
            figures,
            "<figure><img alt=\"{image}\" src=\"data:image/png;base64,{}\"><figcaption>{} → {}<br>\
             {probability:.1e}, {image}</figcaption></figure>",
            STANDARD.encode(png),
            name(*label),
            name(*predicted)
        );
    }
    Ok(figures)
}

fn png(images: &LabelledImages, position: usize) -> Result<Vec<u8>, String> {
    let side = |side: usize| u32::try_from(side).map_err(|error| error.to_string());
    let (width, height) = images.size(position);
    let (width, height) = (side(width)?, side(height)?);
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(images.image(position), width, height, ExtendedColorType::L8)
        .map_err(|error| error.to_string())?;
    Ok(png)
}

/// Text as HTML shows it.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
