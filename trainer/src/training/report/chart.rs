//! Curves on a page: an SVG that shows all without a script, and the values that the page's script shows where one points.

use std::{fmt::Write as _, ops::Range};

use reporting::page::escape;
use serde::Serialize;

use crate::training::curves::{Curve, Panel, epoch_range};

/// Size of a chart, which scales to where it stands.
const SIZE: (f64, f64) = (600.0, 340.0);

/// The part of it that curves are drawn in: from left, to right, from top, to bottom.
const FIELD: (f64, f64, f64, f64) = (58.0, 590.0, 12.0, 300.0);

/// Lines of the grid along an axis, at most.
const LINES: f64 = 8.0;

/// Values of a chart for the script, with the places of the field in the picture.
#[derive(Serialize)]
struct Values<'a> {
    x: (f64, f64),
    y: (f64, f64),
    field: (f64, f64, f64, f64),
    unit: &'a str,
    series: Vec<Series<'a>>,
}

#[derive(Serialize)]
struct Series<'a> {
    name: &'a str,
    colour: String,
    /// Place along the horizontal axis, value, and the value in words.
    points: Vec<(f64, f64, String)>,
}

/// A panel as a figure.
pub fn figure(panel: &Panel) -> String {
    let Panel { caption, unit, format, curves, range, .. } = panel;
    let epochs = epoch_range(curves);
    let (left, right, top, bottom) = FIELD;
    let x = |epoch: f64| left + (epoch - epochs.start) / (epochs.end - epochs.start) * (right - left);
    let y = |value: f64| bottom - (value - range.start) / (range.end - range.start) * (bottom - top);
    let mut svg = String::new();
    // Writing to a string cannot fail, here and below.
    for value in ticks(range, 0.0) {
        let (at, text) = (y(value), format(&value));
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{left} {at:.1}H{right}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
            left - 6.0,
            at + 4.0
        );
    }
    for epoch in ticks(&epochs, 1.0) {
        let _ =
            write!(svg, "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{epoch}</text>", x(epoch), bottom + 18.0);
    }
    let middle = (left + right) / 2.0;
    let _ = write!(svg, "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">epoch</text>", bottom + 34.0);
    let mut legend = String::new();
    for (number, curve) in curves.iter().enumerate() {
        let Curve { name, points, thin, .. } = curve;
        let (colour, width) = (colour(curve), if *thin { 1 } else { 2 });
        let place = |&(epoch, value): &(f64, f64)| (x(epoch), y(value.clamp(range.start, range.end)));
        let line: Vec<_> = points
            .iter()
            .map(|point| {
                let (x, y) = place(point);
                format!("{x:.1},{y:.1}")
            })
            .collect();
        let _ = write!(
            svg,
            "<g data-series=\"{number}\" style=\"color:{colour}\"><polyline points=\"{}\" stroke-width=\"{width}\"/>",
            line.join(" ")
        );
        // Marks make a single epoch visible and would clutter many.
        for (x, y) in points.iter().map(place).filter(|_| points.len() <= 30 && !thin) {
            let _ = write!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>");
        }
        svg.push_str("</g>");
        let _ = write!(
            legend,
            "<button type=\"button\" data-series=\"{number}\" aria-pressed=\"true\"><i style=\"background:{colour}\"></i>{}</button>",
            escape(name)
        );
    }
    let series = curves.iter().map(|curve| Series {
        name: &curve.name,
        colour: colour(curve),
        points: curve
            .points
            .iter()
            .map(|&(epoch, value)| (epoch, value, exact(value, format(&value).ends_with('%'))))
            .collect(),
    });
    let values = Values {
        x: (epochs.start, epochs.end),
        y: (range.start, range.end),
        field: FIELD,
        unit: "epoch",
        series: series.collect(),
    };
    // Not said twice.
    let unit = if unit.eq_ignore_ascii_case(caption) { "" } else { unit };
    // Of numbers and names, which can be written.
    let values = serde_json::to_string(&values).unwrap_or_default();
    let (width, height) = SIZE;
    format!(
        "<figure class=\"chart\" data-chart=\"{}\"><figcaption><b>{caption}</b> <span>{unit}</span><div>{legend}</div></figcaption>\
         <svg viewBox=\"0 0 {width} {height}\" role=\"img\" tabindex=\"0\" aria-label=\"{caption} by epoch; arrow keys read the values\">{svg}</svg>\
         <p class=\"reading\" aria-live=\"polite\"></p></figure>",
        escape(&values)
    )
}

/// A curve's colour; black is that of the page's text.
fn colour(curve: &Curve) -> String {
    let plotters::style::RGBColor(red, green, blue) = curve.colour;
    if (red, green, blue) == (0, 0, 0) { "var(--text)".into() } else { format!("rgb({red},{green},{blue})") }
}

/// A value with the digits that tell epochs apart.
fn exact(value: f64, percent: bool) -> String {
    if percent { format!("{value:.2} %") } else { format!("{value:.4}") }
}

/// Round numbers within a range, a few, at least `least` apart.
fn ticks(range: &Range<f64>, least: f64) -> Vec<f64> {
    let rough = ((range.end - range.start) / LINES).max(1e-12);
    let unit = 10.0_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * unit).into_iter().find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(rough).max(least);
    let first = (range.start / step).ceil() as i64;
    (first..first + 2 * LINES as i64)
        .map(|number| number as f64 * step)
        .take_while(|value| *value <= range.end)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_within_the_range() {
        assert_eq!(
            ticks(&(0.0..1.0), 0.0),
            [0.0, 0.2, 0.4, 0.6, 0.8, 1.0].map(|value: f64| (value / 0.2_f64).round() * 0.2)
        );
        assert_eq!(ticks(&(80.0..100.0), 0.0), [80.0, 85.0, 90.0, 95.0, 100.0]);
        assert_eq!(ticks(&(0.98..3.02), 1.0), [1.0, 2.0, 3.0]);
        assert_eq!(ticks(&(0.5..20.5), 1.0).len(), 4);
        assert!(ticks(&(0.0..1e-300), 0.0).len() < 20);
    }

    #[test]
    fn a_figure_holds_its_values_and_draws_them_without_a_script() {
        let curve = |name: &str, points: &[(f64, f64)]| Curve {
            name: name.into(),
            colour: plotters::style::RGBColor(1, 2, 3),
            points: points.to_vec(),
            thin: false,
        };
        let panel = Panel {
            caption: "Accuracy",
            unit: "accuracy",
            format: |value| format!("{value:.0} %"),
            curves: vec![curve("a<b", &[(1.0, 50.0), (2.0, 100.0)]), curve("test", &[(2.0, 75.125)])],
            range: 0.0..100.0,
            legend: None,
        };
        let figure = figure(&panel);
        assert!(figure.contains("a&lt;b</button>") && !figure.contains("a<b"), "{figure}");
        let (_, values) = figure.split_once("data-chart=\"").unwrap();
        let values = values.split('"').next().unwrap().replace("&quot;", "\"").replace("&lt;", "<");
        let values: serde_json::Value = serde_json::from_str(&values).unwrap();
        assert_eq!(values["series"][1]["points"], serde_json::json!([[2.0, 75.125, "75.12 %"]]));
        // Half of the height is 50 %, and the top 100 %.
        let (_, line) = figure.split_once("<polyline points=\"").unwrap();
        let places: Vec<f64> =
            line.split('"').next().unwrap().split([',', ' ']).map(|text| text.parse().unwrap()).collect();
        let (left, right, top, bottom) = FIELD;
        assert!((places[1] - (top + bottom) / 2.0).abs() < 0.1 && (places[3] - top).abs() < 0.1);
        assert!(left < places[0] && places[0] < places[2] && places[2] < right);
        assert_eq!(figure.matches("<circle").count(), 3);
    }
}
