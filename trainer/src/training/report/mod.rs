//! `report.html`: a run on one page that needs nothing beside it, with curves, classes, calibration, confusions and the images behind
//! them, times and configuration, as far as it has come; and `comparison`, several runs on one page.

mod calibration;
mod chart;
mod comparison;
mod matrix;

use std::{fmt::Write as _, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use reporting::{
    evaluation::TOP,
    page::{self, cells, escape, table},
    words::{counted, duration, grouped, loss, percent, rate},
};

pub use self::comparison::{ReportedRun, compare};
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

/// Script of the pages.
const SCRIPT: &str = include_str!("report.js");

/// The page of a run on `dataset` that has made at least one epoch. `steps` are those of a single epoch.
///
/// # Errors
/// In words, where images cannot be drawn.
pub fn html(config: &RunConfig, state: &State, dataset: &Dataset, steps: &[StepMetrics]) -> Result<String, String> {
    let State { epochs, best, examination, .. } = state;
    let tally = &examination.tally;
    let accuracy = percent(tally.scores().accuracy);
    let title = format!("{} on {}: {accuracy}", title(&config.network), dataset.name());
    let [loss_curves, accuracy_curves] = curves::panels(epochs, steps).map(|panel| chart::figure(&panel));
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
    let body = format!(
        "<p>{summary}</p>\n<p><code>{command}</code></p>\n\
         <div class=\"curves\">{loss_curves}{accuracy_curves}</div>\n\
         <h2>Epochs</h2>\n{}<h2>Classes</h2>\n{}{}<h2>Confusions</h2>\n{}<h2>Worst mistakes</h2>\n<p>The right class, what it was \
         taken for, and the probability that the network gave to the right class.</p>\n<div>{mistakes}</div>\n\
         <h2>Configuration</h2>\n<pre>{}</pre>\n<script>\n{SCRIPT}</script>\n",
        epoch_table(epochs, *best),
        class_table(&dataset.classes, tally),
        calibration::section(&examination.calibration),
        matrix::section(dataset, examination)?,
        escape(&configuration)
    );
    Ok(page::html(&title, STYLE, &body))
}

const STYLE: &str = ".curves{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:0 20px}\
.chart{width:auto;margin:8px 0;display:block}.chart svg{width:100%;height:auto;display:block;touch-action:pan-y}\
.chart figcaption{font-size:13px}.chart figcaption span,.reading,.quiet{color:var(--quiet)}\
.chart text{font-size:13px;fill:var(--quiet)}.chart .grid{stroke:var(--line)}.chart .cursor{stroke:var(--quiet)}\
.chart polyline{fill:none;stroke:currentColor}.chart circle{fill:currentColor}.chart .ideal{stroke:var(--quiet);stroke-dasharray:4 4}\
.chart rect{fill:rgba(var(--shade),.55)}.reading{min-height:1.5em;margin:2px 0;font-size:13px}\
.reading span{border-left:10px solid;padding-left:4px;color:var(--text);white-space:nowrap}\
button{font:inherit;color:inherit;background:none;border:1px solid transparent;border-radius:4px;padding:1px 6px;cursor:pointer}\
button:hover{border-color:var(--line)}button:focus-visible,svg:focus-visible{outline:2px solid var(--accent)}\
.chart button[aria-pressed=false]{text-decoration:line-through;opacity:.6}.chart button i{display:inline-block;width:12px;height:12px;\
margin-right:5px;vertical-align:-1px}.matrix button{padding:0 3px}.matrix button[aria-pressed=true]{outline:2px solid var(--accent)}\
tr.best{font-weight:bold}.matrix td{min-width:2.2em;padding:3px 4px}.matrix thead th{vertical-align:bottom;padding:2px 0}\
.matrix thead span{writing-mode:vertical-rl;transform:rotate(180deg);font-weight:normal;display:inline-block;\
max-height:9em;overflow:hidden;text-overflow:ellipsis}.matrix .dark{color:#fff}figure img{image-rendering:pixelated}";

fn epoch_table(epochs: &[EpochMetrics], best: usize) -> String {
    let validation = epochs.iter().any(|epoch| epoch.validation.is_some());
    let skips = epochs.iter().any(|epoch| epoch.skipped > 0);
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
        row.extend(skips.then(|| grouped(epoch.skipped as u64)));
        let class = if index == best { " class=\"best\"" } else { "" };
        let _ = writeln!(rows, "<tr{class}>{}</tr>", cells("td", &row));
    }
    let mut head = vec!["epoch", "train loss", "train accuracy"];
    head.extend(validation.then_some(["validation loss", "validation accuracy"]).into_iter().flatten());
    head.extend(["test loss", "test accuracy", "images/s", "time"]);
    head.extend(skips.then_some("skipped images"));
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

fn mistakes(dataset: &Dataset, mistakes: &[Mistake]) -> Result<String, String> {
    let name = |class: usize| escape(dataset.classes.get(class).map_or("?", String::as_str));
    let mut figures = String::new();
    for Mistake { position, label, predicted, probability } in mistakes {
        let png = png(&dataset.test, *position)?;
        let image = escape(&name_of(dataset, *position));
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

/// Name of a test image.
fn name_of(dataset: &Dataset, position: usize) -> String {
    let path = dataset.test_paths.get(position);
    path.map_or(format!("image {position}"), |path| path.to_string_lossy().into_owned())
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
