//! `report.html`: a run on one page that needs nothing beside it, with curves, confusions, the worst mistakes, times and
//! configuration, as far as it has come.

use std::{fmt::Write as _, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

use reporting::{
    confusion::Confusion,
    evaluation::TOP,
    words::{counted, duration, grouped, loss, percent, rate},
};

use super::{
    config::RunConfig,
    curves,
    evaluate::Mistake,
    introduction::{device_title, title},
    metrics::{EpochMetrics, Scores, Tally},
    state::State,
    steps::StepMetrics,
};
use crate::data::{Dataset, LabelledImages};

/// The page of a run on `dataset` that has made at least one epoch. `steps` are those of a single epoch.
///
/// # Errors
/// In words, where curves or images cannot be drawn.
pub fn html(config: &RunConfig, state: &State, dataset: &Dataset, steps: &[StepMetrics]) -> Result<String, String> {
    let State { epochs, best, examination, .. } = state;
    let tally = &examination.tally;
    let accuracy = percent(tally.scores().accuracy);
    let title = escape(&format!("{} on {}: {accuracy}", title(&config.network), dataset.name()));
    let [loss_curves, accuracy_curves] = curves::draw_apart(epochs, steps)?;
    let configuration = serde_json::to_string_pretty(config).map_err(|error| error.to_string())?;
    let seconds: f64 = epochs.iter().map(|epoch| epoch.seconds).sum();
    let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let summary = format!(
        "{accuracy} of {} by epoch {}, the best of {} so far, of {} at most; loss {}. {} in all, on {} with {}.",
        counted(tally.images(), "test image"),
        epochs.get(*best).map_or(0, |epoch| epoch.epoch),
        epochs.len(),
        config.options.epochs,
        loss(tally.scores().loss),
        duration(time),
        escape(device_title(&config.device)),
        counted(config.threads as u64, "thread")
    );
    let command = escape(&super::config::shell_line(&config.command));
    let mistakes = mistakes(dataset, &examination.mistakes)?;
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <h1>{title}</h1>\n<p>{summary}</p>\n<p><code>{command}</code></p>\n\
         <div class=\"curves\">{loss_curves}{accuracy_curves}</div>\n\
         <h2>Epochs</h2>\n{}<h2>Classes</h2>\n{}<h2>Confusions</h2>\n{}<h2>Worst mistakes</h2>\n<p>The right class, what it was \
         taken for, and the probability that the network gave to the right class.</p>\n<div>{mistakes}</div>\n\
         <h2>Configuration</h2>\n<pre>{}</pre>\n</html>\n",
        epoch_table(epochs, *best),
        class_table(&dataset.classes, tally),
        confusions(&dataset.classes, tally.confusion()),
        escape(&configuration)
    ))
}

const STYLE: &str = ":root{--text:#1a1a1a;--page:#fff;--line:#ddd;--block:#f4f4f4;--shade:0,82,130}\
@media (prefers-color-scheme:dark){:root{--text:#ddd;--page:#16181d;--line:#3a3d44;--block:#22252b;--shade:40,110,175}}\
body{font:15px/1.45 sans-serif;max-width:1200px;margin:1.5em auto;padding:0 1em;color:var(--text);background:var(--page)}\
h1{font-size:22px}h2{font-size:18px;margin-top:1.6em}code{overflow-wrap:anywhere;font-size:13px}\
.curves{display:flex;flex-wrap:wrap}.curves svg{flex:1 1 340px;min-width:0}.wide{overflow-x:auto}\
table{border-collapse:collapse}td,th{padding:2px 8px;text-align:right;white-space:nowrap}td{border-top:1px solid var(--line)}\
th:first-child{text-align:left}tbody th{white-space:normal;overflow-wrap:break-word;max-width:11em;line-height:1.2}\
@media (min-width:700px){tbody th{max-width:24em}}tr.best{font-weight:bold}\
.matrix td{min-width:2.2em;padding:3px 4px}.matrix thead th{vertical-align:bottom;padding:2px 0}\
.matrix thead span{writing-mode:vertical-rl;transform:rotate(180deg);font-weight:normal;display:inline-block;\
max-height:9em;overflow:hidden;text-overflow:ellipsis}.matrix .dark{color:#fff}\
figure{display:inline-block;margin:4px;width:110px;font-size:12px;vertical-align:top;overflow-wrap:anywhere}\
figure img{width:84px;height:84px;image-rendering:pixelated;object-fit:contain}pre{background:var(--block);padding:1em;overflow:auto}";

/// Rows of a table that may be wider than the page, which then scrolls.
fn table(class: &str, head: &str, rows: &str) -> String {
    format!(
        "<div class=\"wide\"><table class=\"{class}\">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    )
}

fn cells(tag: &str, cells: &[String]) -> String {
    cells.iter().map(|cell| format!("<{tag}>{cell}</{tag}>")).collect()
}

fn epoch_table(epochs: &[EpochMetrics], best: usize) -> String {
    let validation = epochs.iter().any(|epoch| epoch.validation.is_some());
    let scores = |scores: Option<Scores>| match scores {
        Some(scores) => [loss(scores.loss), percent(scores.accuracy)],
        None => ["-", "-"].map(String::from),
    };
    let mut rows = String::new();
    for (index, epoch) in epochs.iter().enumerate() {
        let mut row = vec![epoch.epoch.to_string()];
        row.extend(scores(Some(epoch.train)));
        row.extend(validation.then(|| scores(epoch.validation)).into_iter().flatten());
        row.extend(scores(Some(epoch.test)));
        let time = Duration::try_from_secs_f64(epoch.seconds).unwrap_or_default();
        row.extend([rate(epoch.images_per_second), duration(time)]);
        let class = if index == best { " class=\"best\"" } else { "" };
        let _ = writeln!(rows, "<tr{class}>{}</tr>", cells("td", &row));
    }
    let mut head = vec!["epoch", "train loss", "train accuracy"];
    head.extend(validation.then_some(["validation loss", "validation accuracy"]).into_iter().flatten());
    head.extend(["test loss", "test accuracy", "images/s", "time"]);
    table("", &cells("th", &head.into_iter().map(String::from).collect::<Vec<_>>()), &rows)
}

/// Precision, recall and F1 of each class.
fn class_table(classes: &[String], tally: &Tally) -> String {
    let evaluation = tally.evaluation(classes);
    let mut rows = String::new();
    for (name, total) in classes.iter().zip(evaluation.totals()) {
        let scores = [total.precision(), total.recall(), total.f1()];
        let scores = scores.map(|score| score.map_or("-".to_string(), percent));
        let row = [vec![grouped(total.images)], scores.to_vec()].concat();
        let _ = writeln!(rows, "<tr><th>{}</th>{}</tr>", escape(name), cells("td", &row));
    }
    let means = evaluation.macro_mean();
    let means = [means.precision, means.recall, means.f1].map(percent);
    let _ = writeln!(rows, "<tr class=\"best\"><th>macro mean</th><td></td>{}</tr>", cells("td", &means));
    let head = ["class", "images", "precision", "recall", "F1"].map(String::from);
    let top =
        evaluation.top_accuracy().map_or(String::new(), |top| format!("<p>Top-{TOP} accuracy {}.</p>\n", percent(top)));
    top + &table("", &cells("th", &head), &rows)
}

fn confusions(classes: &[String], confusion: &Confusion) -> String {
    if classes.len() <= Confusion::READABLE {
        return confusion_table(classes, &confusion.matrix());
    }
    let mut rows = String::new();
    let name = |class: usize| escape(classes.get(class).map_or("?", String::as_str));
    for (label, predicted, images) in confusion.mistakes().into_iter().take(Confusion::READABLE) {
        let (label, predicted) = (name(label), name(predicted));
        let _ = writeln!(rows, "<tr><th>{label}</th><td>{predicted}</td><td>{images}</td></tr>");
    }
    let head = ["class", "taken for", "images"].map(String::from);
    "<p>The classes that the best epoch most often takes for another, by test images.</p>\n".to_string()
        + &table("", &cells("th", &head), &rows)
}

/// Share of the images of a class from which on a cell of the matrix is so dark on a light page that its text is white.
const DARK: f64 = 0.72;

fn confusion_table(classes: &[String], confusion: &[Vec<u64>]) -> String {
    let mut head = String::from("<th></th>");
    for (class, name) in classes.iter().enumerate() {
        // The number tells apart names that begin alike, where the head is cut.
        let name = format!("{class} {}", escape(name));
        let _ = write!(head, "<th><span title=\"{name}\">{name}</span></th>");
    }
    head.push_str("<th>right</th>");
    let mut rows = String::new();
    for (class, (name, row)) in classes.iter().zip(confusion).enumerate() {
        let _ = write!(rows, "<tr><th>{class} {}</th>", escape(name));
        let images = row.iter().sum::<u64>().max(1) as f64;
        for count in row {
            // From the page's colour to blue. On a dark page all text is light.
            let share = *count as f64 / images;
            let class = if share > DARK { " class=\"dark\"" } else { "" };
            let _ = write!(rows, "<td{class} style=\"background:rgba(var(--shade),{share:.3})\">{count}</td>");
        }
        let _ = writeln!(rows, "<td>{}</td></tr>", percent(row[class] as f64 / images));
    }
    "<p>Test images of each class (rows) taken for each class (columns), by the best epoch.</p>\n".to_string()
        + &table("matrix", &head, &rows)
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
             {}, {image}</figcaption></figure>",
            STANDARD.encode(png),
            name(*label),
            name(*predicted),
            percent(*probability)
        );
    }
    Ok(figures)
}

/// Kind of the images' pixels in a PNG file.
fn png_colours(images: &LabelledImages) -> ExtendedColorType {
    if images.channels() == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 }
}

fn png(images: &LabelledImages, position: usize) -> Result<Vec<u8>, String> {
    let side = |side: usize| u32::try_from(side).map_err(|error| error.to_string());
    let (width, height) = images.size(position);
    let (width, height) = (side(width)?, side(height)?);
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(images.image(position), width, height, png_colours(images))
        .map_err(|error| error.to_string())?;
    Ok(png)
}

/// Text as HTML shows it.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance by the Web Content Accessibility Guidelines 2.2, of values of 0 to 255.
    fn luminance(colour: [f64; 3]) -> f64 {
        let linear = |value: f64| match value / 255.0 {
            value if value <= 0.04045 => value / 12.92,
            value => ((value + 0.055) / 1.055).powf(2.4),
        };
        let [red, green, blue] = colour.map(linear);
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
        let [one, other] = [one, other].map(|colour| luminance(colour) + 0.05);
        f64::max(one / other, other / one)
    }

    #[test]
    fn every_cell_of_the_matrix_is_readable_on_a_light_page_and_on_a_dark_one() {
        // (the page, its text, the shade), as in the style.
        let light = ([255.0; 3], [26.0; 3], [0.0, 82.0, 130.0]);
        let dark = ([22.0, 24.0, 29.0], [221.0; 3], [40.0, 110.0, 175.0]);
        assert!(STYLE.contains("--text:#1a1a1a;--page:#fff;") && STYLE.contains("--shade:0,82,130}"));
        assert!(STYLE.contains("--text:#ddd;--page:#16181d;") && STYLE.contains("--shade:40,110,175}"));
        for (page, text, shade) in [light, dark] {
            for percent in 0..=100 {
                let share = f64::from(percent) / 100.0;
                let cell = [0, 1, 2].map(|i| page[i] + (shade[i] - page[i]) * share);
                let text = if share > DARK { [255.0; 3] } else { text };
                assert!(contrast(text, cell) >= 4.0, "{percent} %: {}", contrast(text, cell));
            }
        }
    }

    #[test]
    fn cells_have_class_names_and_light_text_where_they_are_dark() {
        let classes = ["a<b".to_string(), "c".to_string()];
        let table = confusion_table(&classes, &[vec![9, 1], vec![0, 0]]);
        assert!(table.contains("<th><span title=\"0 a&lt;b\">0 a&lt;b</span></th>"), "{table}");
        assert!(table.contains("<td class=\"dark\" style=\"background:rgba(var(--shade),0.900)\">9</td>"), "{table}");
        assert!(table.contains("<td style=\"background:rgba(var(--shade),0.100)\">1</td><td>90.00 %</td>"), "{table}");
        assert!(table.contains("<th>1 c</th><td style=\"background:rgba(var(--shade),0.000)\">0</td>"), "{table}");
    }
}
