//! Losses and accuracies by epoch, side by side: `curves.svg` of one run, and several runs in one picture.

use std::ops::Range;

use plotters::{coord::Shift, prelude::*};

use super::metrics::{EpochMetrics, Scores};

const SIZE: (u32, u32) = (1200, 480);
const FONT: &str = "sans-serif";

/// The colours of Okabe and Ito, told apart with every kind of colour vision.
const TRAIN: RGBColor = RGBColor(0, 114, 178);
const VALIDATION: RGBColor = RGBColor(230, 159, 0);
const TEST: RGBColor = RGBColor(0, 158, 115);

/// All of them, for runs side by side; more runs take them in turn.
const COLOURS: [RGBColor; 8] = [
    TRAIN,
    VALIDATION,
    TEST,
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(240, 228, 66),
    RGBColor(0, 0, 0),
];

type PlotError<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

/// Draws the curves of `epochs` under `title` as an SVG document. Text stays text: no font is needed.
///
/// # Errors
/// Where plotting fails, in words.
pub fn draw(title: &str, epochs: &[EpochMetrics]) -> Result<String, String> {
    let mut svg = String::new();
    plot(title, epochs, &mut svg).map_err(|error| error.to_string())?;
    Ok(svg)
}

/// Draws what `runs` measured by their held-out images (by the test images where none were held out, as the legend says), a
/// colour a run, as an SVG document.
///
/// # Errors
/// Where plotting fails, in words.
pub fn compare(runs: &[(String, Vec<EpochMetrics>)]) -> Result<String, String> {
    let curves = |value: fn(&Scores) -> f64| {
        let coloured = runs.iter().zip(COLOURS.iter().cycle());
        let curve = |((name, epochs), colour): (&(String, Vec<EpochMetrics>), &RGBColor)| {
            let held_out = epochs.iter().any(|epoch| epoch.validation.is_some());
            let name = format!("{name}, {}", if held_out { "validation" } else { "test" });
            Curve::new(&name, *colour, epochs, value, |epoch| Some(epoch.validation.unwrap_or(epoch.test)))
        };
        coloured.map(curve).collect::<Vec<_>>()
    };
    let mut svg = String::new();
    let (losses, accuracies) = (curves(|scores| scores.loss), curves(|scores| 100.0 * scores.accuracy));
    plot_curves("Runs", &losses, &accuracies, &mut svg).map_err(|error| error.to_string())?;
    Ok(svg)
}

fn plot<'a>(title: &str, epochs: &[EpochMetrics], svg: &'a mut String) -> Result<(), PlotError<'a>> {
    let losses = curves(epochs, |scores| scores.loss);
    let accuracies = curves(epochs, |scores| 100.0 * scores.accuracy);
    plot_curves(title, &losses, &accuracies, svg)
}

fn plot_curves<'a>(
    title: &str,
    losses: &[Curve],
    accuracies: &[Curve],
    svg: &'a mut String,
) -> Result<(), PlotError<'a>> {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.titled(title, (FONT, 22))?.split_horizontally(SIZE.0 / 2);
    panel(
        &left,
        "Loss",
        "cross-entropy (nats)",
        |loss| format!("{loss:.2}"),
        losses,
        loss_range(losses),
        SeriesLabelPosition::UpperRight,
    )?;
    panel(
        &right,
        "Accuracy",
        "accuracy (%)",
        |accuracy| format!("{accuracy:.0}"),
        accuracies,
        accuracy_range(accuracies),
        SeriesLabelPosition::LowerRight,
    )?;
    root.present()
}

/// One line of a panel.
struct Curve {
    name: String,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

impl Curve {
    /// One value of an epoch's scores, wherever there are such scores and it is a number.
    fn new(
        name: &str,
        colour: RGBColor,
        epochs: &[EpochMetrics],
        value: fn(&Scores) -> f64,
        scores: fn(&EpochMetrics) -> Option<Scores>,
    ) -> Self {
        let points = epochs
            .iter()
            .filter_map(|epoch| Some((epoch.epoch as f64, value(&scores(epoch)?))))
            .filter(|point| point.1.is_finite())
            .collect();
        Self { name: name.to_owned(), colour, points }
    }
}

fn curves(epochs: &[EpochMetrics], value: fn(&Scores) -> f64) -> Vec<Curve> {
    let mut curves = vec![
        Curve::new("training", TRAIN, epochs, value, |epoch| Some(epoch.train)),
        Curve::new("validation", VALIDATION, epochs, value, |epoch| epoch.validation),
        Curve::new("test", TEST, epochs, value, |epoch| Some(epoch.test)),
    ];
    curves.retain(|curve| !curve.points.is_empty());
    curves
}

fn values(curves: &[Curve]) -> impl Iterator<Item = f64> {
    curves.iter().flat_map(|curve| &curve.points).map(|point| point.1)
}

/// From zero to a little above the largest loss.
fn loss_range(curves: &[Curve]) -> Range<f64> {
    let largest = values(curves).fold(0.0, f64::max);
    0.0..if largest > 0.0 { 1.08 * largest } else { 1.0 }
}

/// From a round number below the smallest accuracy, at least ten points lower than the top, to 100 %.
fn accuracy_range(curves: &[Curve]) -> Range<f64> {
    let smallest = values(curves).fold(90.0, f64::min);
    (10.0 * ((smallest - 1.0) / 10.0).floor()).max(0.0)..100.0
}

/// The horizontal axis: half an epoch of air on both sides, so that a single epoch is a point in the middle.
fn epoch_range(curves: &[Curve]) -> Range<f64> {
    let epochs = || curves.iter().flat_map(|curve| &curve.points).map(|point| point.0);
    let first = epochs().fold(f64::INFINITY, f64::min).min(1e9);
    let last = epochs().fold(first, f64::max);
    let air = (0.02 * (last - first)).max(0.5);
    first - air..last + air
}

fn panel<'a>(
    area: &DrawingArea<SVGBackend<'a>, Shift>,
    caption: &str,
    unit: &str,
    format: fn(&f64) -> String,
    curves: &[Curve],
    range: Range<f64>,
    legend: SeriesLabelPosition,
) -> Result<(), PlotError<'a>> {
    let epochs = epoch_range(curves);
    let labels = ((epochs.end - epochs.start).floor() as usize).clamp(1, 11);
    let mut chart = ChartBuilder::on(area)
        .caption(caption, (FONT, 18))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(epochs, range)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.12))
        .x_desc("epoch")
        .y_desc(unit)
        .x_labels(labels)
        // Between whole epochs there is nothing to name.
        .x_label_formatter(&|epoch| if epoch.fract() == 0.0 { format!("{epoch:.0}") } else { String::new() })
        .y_label_formatter(&format)
        .label_style((FONT, 13))
        .axis_desc_style((FONT, 15))
        .draw()?;
    for curve in curves {
        let colour = curve.colour;
        let points = curve.points.iter().copied();
        // Marks make a single epoch visible and would clutter many.
        let radius = if curve.points.len() <= 30 { 3 } else { 0 };
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2).filled()).point_size(radius))?
            .label(curve.name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
    }
    if !curves.is_empty() {
        chart
            .configure_series_labels()
            .position(legend)
            .label_font((FONT, 14))
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .draw()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(count: usize) -> Vec<EpochMetrics> {
        let scores = |loss: f64| Scores { loss, accuracy: (-loss).exp() };
        (1..=count)
            .map(|epoch| EpochMetrics {
                epoch,
                train: scores(1.5 / epoch as f64),
                validation: Some(scores(0.2 + 1.3 / epoch as f64)),
                test: scores(0.25 + 1.3 / epoch as f64),
                images_per_second: 40.0,
                seconds: 10.0,
            })
            .collect()
    }

    #[test]
    fn the_drawing_has_both_panels_axes_and_legend_for_one_epoch_and_for_many() {
        for count in [1, 2, 10, 100] {
            let svg = draw("alexnet", &epochs(count)).unwrap();
            for text in ["alexnet", "Loss", "Accuracy", "epoch", "training", "validation", "test"] {
                assert!(svg.contains(text), "{text} is missing with {count} epochs");
            }
            assert!(svg.trim_end().ends_with("</svg>"));
        }
    }

    #[test]
    fn runs_are_compared_by_name() {
        let mut plain = epochs(3);
        plain.iter_mut().for_each(|epoch| epoch.validation = None);
        let svg = compare(&[("plain".to_owned(), plain), ("<best>".to_owned(), epochs(12))]).unwrap();
        assert!(svg.contains("plain, test") && svg.contains("&lt;best&gt;, validation"), "{svg}");
        assert!(svg.contains("#0072B2"), "{svg}");
        assert!(!svg.contains("#009E73"));
    }

    #[test]
    fn what_was_not_measured_has_no_curve() {
        let mut epochs = epochs(3);
        for epoch in &mut epochs {
            epoch.validation = None;
            epoch.train.loss = f64::NAN;
        }
        let svg = draw("alexnet", &epochs).unwrap();
        assert!(!svg.contains("validation"));
        assert!(!svg.contains("NaN"));
        assert!(draw("nothing yet", &[]).is_ok());
    }
}
