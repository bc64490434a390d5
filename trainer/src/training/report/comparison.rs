//! Several runs on one page: curves, scores, classes, and the options that differ.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use reporting::{
    page::{self, cells, escape, table},
    words::{counted, duration, grouped, loss, percent},
};
use serde_json::Value;

use super::{SCRIPT, STYLE, chart};
use crate::training::{
    config::RunConfig,
    curves::{self, ComparedRun},
    introduction::title,
    metrics::{EpochMetrics, Tally},
};

/// A run as the page shows it.
#[derive(Debug, Clone)]
pub struct ReportedRun {
    /// Its curves.
    pub run: ComparedRun,
    /// Its configuration, where it could be read.
    pub config: Option<RunConfig>,
    /// The best epoch's answers to the test images, with the classes' names, where a checkpoint has them.
    pub answers: Option<(Vec<String>, Tally)>,
}

impl ReportedRun {
    /// The epoch whose weights were kept.
    fn best(&self) -> Option<&EpochMetrics> {
        let mut epochs = self.run.epochs.iter();
        let first = epochs.next()?;
        Some(epochs.fold(first, |best, epoch| if epoch.better_than(best) { epoch } else { best }))
    }
}

/// The page of some runs, the first of which the others are compared with.
pub fn compare(runs: &[ReportedRun]) -> String {
    let drawn: Vec<_> = runs.iter().map(|run| run.run.clone()).collect();
    let [losses, accuracies] = curves::compared_panels(&drawn).map(|panel| chart::figure(&panel));
    let mut body = format!("<div class=\"curves\">{losses}{accuracies}</div>\n<h2>Scores</h2>\n{}", scores(runs));
    for (heading, section) in [("Classes", classes(runs)), ("Options that differ", options(runs))] {
        if let Some(section) = section {
            // Writing to a string cannot fail, here and below.
            let _ = write!(body, "<h2>{heading}</h2>\n{section}");
        }
    }
    let _ = write!(body, "<script>\n{SCRIPT}</script>\n");
    page::html(&counted(runs.len() as u64, "run"), STYLE, &body)
}

/// A value, and how far it is from that of the first run.
fn beside(value: f64, first: Option<f64>, words: impl Fn(f64) -> String) -> String {
    match first {
        Some(first) if value != first => {
            let sign = if value > first { "+" } else { "−" };
            format!("{} <span class=\"quiet\">{sign}{}</span>", words(value), words((value - first).abs()))
        }
        _ => words(value),
    }
}

fn scores(runs: &[ReportedRun]) -> String {
    let first = runs.first().and_then(ReportedRun::best);
    let mut rows = String::new();
    for (number, run) in runs.iter().enumerate() {
        let Some(best) = run.best() else { continue };
        let first = first.filter(|_| number > 0);
        let seconds: f64 = run.run.epochs.iter().map(|epoch| epoch.seconds).sum();
        let network = run.config.as_ref().map_or("-".to_string(), |config| escape(title(&config.network)));
        let validation = best.validation.map_or("-".to_string(), |scores| percent(scores.accuracy));
        let row = [
            network,
            format!("{} of {}", best.epoch, run.run.epochs.len()),
            validation,
            beside(best.test.accuracy, first.map(|first| first.test.accuracy), percent),
            beside(best.test.loss, first.map(|first| first.test.loss), loss),
            duration(Duration::try_from_secs_f64(seconds).unwrap_or_default()),
        ];
        let _ = writeln!(rows, "<tr><th>{}</th>{}</tr>", escape(&run.run.name), cells("td", &row));
    }
    let head =
        ["run", "network", "best epoch", "validation accuracy", "test accuracy", "test loss", "time"].map(String::from);
    table("", &cells("th", &head), &rows)
}

/// Precision and recall of each class in each run that tells, if there are several of the same classes.
fn classes(runs: &[ReportedRun]) -> Option<String> {
    let answers: Vec<_> = runs.iter().filter_map(|run| Some((&run.run.name, run.answers.as_ref()?))).collect();
    let [(_, (classes, _)), ..] = answers[..] else { return None };
    if answers.len() < 2 || answers.iter().any(|(_, (others, _))| others != classes) {
        return None;
    }
    let totals: Vec<_> = answers.iter().map(|(_, (classes, tally))| tally.evaluation(classes).totals()).collect();
    let mut rows = String::new();
    for (class, name) in classes.iter().enumerate() {
        let of = |number: usize| {
            totals.get(number).and_then(|totals: &Vec<_>| totals.get(class)).copied().unwrap_or_default()
        };
        let mut row = vec![grouped(of(0).images)];
        for number in 0..totals.len() {
            for value in [
                |total: reporting::confusion::ClassTotal| total.precision(),
                |total: reporting::confusion::ClassTotal| total.recall(),
            ] {
                let first = value(of(0)).filter(|_| number > 0);
                row.push(value(of(number)).map_or("-".to_string(), |value| beside(value, first, percent)));
            }
        }
        let _ = writeln!(rows, "<tr><th>{}</th>{}</tr>", escape(name), cells("td", &row));
    }
    let mut head = vec!["class".to_string(), "images".to_string()];
    for (name, _) in &answers {
        head.extend(["precision", "recall"].map(|score| format!("{score}, {}", escape(name))));
    }
    Some(table("", &cells("th", &head), &rows))
}

/// Options of the configurations that are not the same in all runs that have one.
fn options(runs: &[ReportedRun]) -> Option<String> {
    let known: Vec<_> = runs.iter().filter_map(|run| Some((&run.run.name, run.config.as_ref()?))).collect();
    let flat: Vec<BTreeMap<String, String>> = known
        .iter()
        .map(|(_, config)| {
            let mut flat = BTreeMap::new();
            flatten("", &serde_json::to_value(config).unwrap_or_default(), &mut flat);
            flat
        })
        .collect();
    let mut keys: Vec<_> = flat.iter().flat_map(BTreeMap::keys).collect();
    keys.sort();
    keys.dedup();
    let mut rows = String::new();
    for key in keys {
        let values: Vec<_> = flat.iter().map(|flat| flat.get(key).map_or("-", String::as_str)).collect();
        if values.windows(2).any(|pair| pair[0] != pair[1]) {
            let values: Vec<_> = values.into_iter().map(escape).collect();
            let _ = writeln!(rows, "<tr><th><code>{}</code></th>{}</tr>", escape(key), cells("td", &values));
        }
    }
    let mut head = vec!["option".to_string()];
    head.extend(known.iter().map(|(name, _)| escape(name)));
    (!rows.is_empty()).then(|| table("", &cells("th", &head), &rows))
}

/// The values of an object by the way to them: `options.seed`.
fn flatten(way: &str, value: &Value, flat: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                flatten(&if way.is_empty() { key.clone() } else { format!("{way}.{key}") }, value, flat);
            }
        }
        Value::Null => {}
        Value::String(text) => _ = flat.insert(way.to_string(), text.clone()),
        // The command says the same as the options do.
        Value::Array(_) if way == "command" => {}
        other => _ = flat.insert(way.to_string(), other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::metrics::Scores;

    fn run(name: &str, accuracies: &[f64], right: u64) -> ReportedRun {
        let epochs = accuracies.iter().enumerate().map(|(number, accuracy)| {
            let scores = Scores { loss: 1.0 - accuracy, accuracy: *accuracy };
            EpochMetrics {
                epoch: number + 1,
                train: scores,
                validation: Some(scores),
                test: scores,
                images_per_second: 1.0,
                seconds: 60.0,
                skipped: 0,
            }
        });
        let mut tally = Tally::default();
        for number in 0..10 {
            tally.add(&if number < right { [1.0, 0.0] } else { [0.0, 1.0] }, &[0], 2);
        }
        let run = ComparedRun { name: name.into(), epochs: epochs.collect(), steps: Vec::new() };
        ReportedRun { run, config: None, answers: Some((vec!["cat".into(), "dog".into()], tally)) }
    }

    #[test]
    fn runs_are_compared_with_the_first() {
        let page = compare(&[run("a", &[0.5, 0.8, 0.75], 9), run("b<", &[0.9], 4)]);
        assert!(page.contains("<td>2 of 3</td><td>80.00 %</td><td>80.00 %</td>"), "{page}");
        assert!(
            page.contains("<td>1 of 1</td><td>90.00 %</td><td>90.00 % <span class=\"quiet\">+10.00 %</span></td>"),
            "{page}"
        );
        let recall = "<td>90.00 %</td><td>100.00 %</td><td>40.00 % <span class=\"quiet\">−50.00 %</span></td>";
        assert!(page.contains(recall) && page.contains("<th>recall, b&lt;</th>"), "{page}");
        assert!(!page.contains("Options that differ") && !page.contains("b<"));
    }

    #[test]
    fn values_are_named_by_the_way_to_them() {
        let mut flat = BTreeMap::new();
        flatten("", &serde_json::json!({"a": {"b": 1, "c": null}, "d": "x", "e": [1, 2], "command": ["t"]}), &mut flat);
        let flat: Vec<_> = flat.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(flat, ["a.b=1", "d=x", "e=[1,2]"]);
    }
}
