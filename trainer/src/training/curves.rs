//! Losses and accuracies by epoch, side by side: `curves.svg` of one run, and several runs in one picture.

use std::ops::Range;

use plotters::{coord::Shift, prelude::*};

use super::{
    metrics::{EpochMetrics, Scores},
    steps::StepMetrics,
};

/// Columns and rows of one panel; two stand side by side.
const PANEL: (u32, u32) = (600, 440);
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

/// Points that the steps of an epoch are drawn by, at most: each is the mean of as many steps.
const STEP_POINTS: usize = 100;

/// Draws the curves of `epochs` under `title` as an SVG document that scales. Text stays text: no font is needed. Of a single
/// epoch, training is drawn by its `steps`.
///
/// # Errors
/// Where plotting fails, in words.
pub fn draw(title: &str, epochs: &[EpochMetrics], steps: &[StepMetrics]) -> Result<String, String> {
    document(Some(title), &panels(epochs, steps))
}

/// The same curves, loss and accuracy, for a page that draws them itself.
pub(super) fn panels(epochs: &[EpochMetrics], steps: &[StepMetrics]) -> [Panel; 2] {
    [Panel::loss(epochs, steps), Panel::accuracy(epochs, steps)]
}

/// A run beside others in a picture.
#[derive(Debug, Clone)]
pub struct ComparedRun {
    /// Its name in the picture.
    pub name: String,
    /// Its epochs.
    pub epochs: Vec<EpochMetrics>,
    /// Its steps, which are drawn where there is only one epoch.
    pub steps: Vec<StepMetrics>,
}

impl ComparedRun {
    /// The scores of the held-out images, or of the test images where none were held out, as the name of the curve says. A run
    /// of one epoch has one point of them only: a thin line of its training leads there.
    fn curves(&self, colour: RGBColor, value: fn(&Scores) -> f64) -> Vec<Curve> {
        let Self { name, epochs, steps } = self;
        let held_out = epochs.iter().any(|epoch| epoch.validation.is_some());
        let measured = format!("{name}, {}", if held_out { "validation" } else { "test" });
        let measured =
            Curve::new(&measured, colour, epochs, value, |epoch| Some(epoch.validation.unwrap_or(epoch.test)));
        let points = of_single_epoch(epochs, steps, value);
        let training = points.map(|points| Curve { name: format!("{name}, training"), colour, points, thin: true });
        training.into_iter().chain([measured]).collect()
    }
}

/// Draws what `runs` measured, a colour a run, as an SVG document. The loss's panel names the runs for both.
///
/// # Errors
/// Where plotting fails, in words.
pub fn compare(runs: &[ComparedRun]) -> Result<String, String> {
    let [losses, accuracies] = compared_panels(runs);
    document(Some("Runs"), &[losses, Panel { legend: None, ..accuracies }])
}

/// The same curves, loss and accuracy, for a page that draws them itself.
pub(super) fn compared_panels(runs: &[ComparedRun]) -> [Panel; 2] {
    let curves = |value: fn(&Scores) -> f64| {
        let coloured = runs.iter().zip(COLOURS.iter().cycle());
        coloured.flat_map(|(run, colour)| run.curves(*colour, value)).collect::<Vec<_>>()
    };
    [Panel::of_losses(curves(|scores| scores.loss)), Panel::of_accuracies(curves(|scores| 100.0 * scores.accuracy))]
}

/// An SVG document of panels side by side, as wide as where it is shown, and dark where that is.
fn document(title: Option<&str>, panels: &[Panel]) -> Result<String, String> {
    let mut svg = String::new();
    let size = (PANEL.0 * panels.len() as u32, PANEL.1 + if title.is_some() { 40 } else { 0 });
    plot(title, panels, size, &mut svg).map_err(|error| error.to_string())?;
    let fixed = format!("<svg width=\"{}\" height=\"{}\" ", size.0, size.1);
    let scaling = format!("<svg style=\"width:100%;max-width:{}px;height:auto\" ", size.0);
    let svg = svg.replacen(&fixed, &scaling, 1);
    Ok(match svg.find('>') {
        Some(end) => format!("{}{DARK}{}", &svg[..=end], &svg[end + 1..]),
        None => svg,
    })
}

/// Colours where the reader's other pages are dark.
const DARK: &str = "\n<style>@media (prefers-color-scheme: dark){text{fill:#ddd}rect[fill=\"#FFFFFF\"]{fill:#16181d}\
[stroke=\"#000000\"]{stroke:#999}[fill=\"#000000\"]:not(text){fill:#999}}</style>";

fn plot<'a>(title: Option<&str>, panels: &[Panel], size: (u32, u32), svg: &'a mut String) -> Result<(), PlotError<'a>> {
    let root = SVGBackend::with_string(svg, size).into_drawing_area();
    root.fill(&WHITE)?;
    let area = match title {
        Some(title) => root.titled(title, (FONT, 22))?,
        None => root.clone(),
    };
    for (panel, area) in panels.iter().zip(area.split_evenly((1, panels.len()))) {
        panel.draw(&area)?;
    }
    root.present()
}

/// One of the two pictures of a run.
pub(super) struct Panel {
    pub caption: &'static str,
    pub unit: &'static str,
    /// Words for a value of the vertical axis.
    pub format: fn(&f64) -> String,
    pub curves: Vec<Curve>,
    /// Values of the vertical axis.
    pub range: Range<f64>,
    /// Where the curves are named, if they are.
    pub legend: Option<SeriesLabelPosition>,
}

impl Panel {
    fn loss(epochs: &[EpochMetrics], steps: &[StepMetrics]) -> Self {
        Self::of_losses(curves(epochs, steps, |scores| scores.loss))
    }

    fn accuracy(epochs: &[EpochMetrics], steps: &[StepMetrics]) -> Self {
        Self::of_accuracies(curves(epochs, steps, |scores| 100.0 * scores.accuracy))
    }

    fn of_losses(curves: Vec<Curve>) -> Self {
        Self {
            caption: "Loss",
            unit: "cross-entropy (nats)",
            format: |loss| format!("{loss:.2}"),
            range: loss_range(&curves),
            curves,
            legend: Some(SeriesLabelPosition::UpperRight),
        }
    }

    fn of_accuracies(curves: Vec<Curve>) -> Self {
        Self {
            caption: "Accuracy",
            unit: "accuracy",
            format: |accuracy| format!("{accuracy:.0} %"),
            range: accuracy_range(&curves),
            curves,
            legend: Some(SeriesLabelPosition::LowerRight),
        }
    }
}

/// One line of a panel.
pub(super) struct Curve {
    pub name: String,
    pub colour: RGBColor,
    /// Epoch and value.
    pub points: Vec<(f64, f64)>,
    /// Whether it stands behind others, without marks.
    pub thin: bool,
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
        Self { name: name.to_owned(), colour, points, thin: false }
    }
}

fn curves(epochs: &[EpochMetrics], steps: &[StepMetrics], value: fn(&Scores) -> f64) -> Vec<Curve> {
    let mut training = Curve::new("training", TRAIN, epochs, value, |epoch| Some(epoch.train));
    if let Some(points) = of_single_epoch(epochs, steps, value) {
        training.points = points;
    }
    let mut curves = vec![
        training,
        Curve::new("validation", VALIDATION, epochs, value, |epoch| epoch.validation),
        Curve::new("test", TEST, epochs, value, |epoch| Some(epoch.test)),
    ];
    curves.retain(|curve| !curve.points.is_empty());
    curves
}

/// Training of a run with a single epoch, by its steps; none where there are more epochs, or no two steps.
fn of_single_epoch(
    epochs: &[EpochMetrics],
    steps: &[StepMetrics],
    value: fn(&Scores) -> f64,
) -> Option<Vec<(f64, f64)>> {
    let [epoch] = epochs else { return None };
    let steps: Vec<_> = steps.iter().filter(|step| step.epoch == epoch.epoch).collect();
    (steps.len() > 1).then(|| by_steps(&steps, epoch.epoch, value))
}

/// The steps of an epoch as points on the way to its end.
fn by_steps(steps: &[&StepMetrics], epoch: usize, value: fn(&Scores) -> f64) -> Vec<(f64, f64)> {
    let scores = |step: &StepMetrics| Scores { loss: step.loss, accuracy: step.accuracy };
    let last = steps.iter().map(|step| step.step).max().unwrap_or(1) as f64;
    let means = steps.chunks(steps.len().div_ceil(STEP_POINTS)).map(|steps| {
        let count = steps.len() as f64;
        let at = steps.iter().map(|step| step.step as f64).sum::<f64>() / count;
        let mean = steps.iter().map(|step| value(&scores(step))).sum::<f64>() / count;
        ((epoch - 1) as f64 + at / last, mean)
    });
    means.filter(|(_, value)| value.is_finite()).collect()
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

/// The horizontal axis: some air on both sides, half an epoch of it where a single epoch would else have no width.
pub(super) fn epoch_range(curves: &[Curve]) -> Range<f64> {
    let epochs = || curves.iter().flat_map(|curve| &curve.points).map(|point| point.0);
    let first = epochs().fold(f64::INFINITY, f64::min).min(1e9);
    let last = epochs().fold(first, f64::max);
    let air = if last - first < 1.0 && first.fract() == 0.0 { 0.5 } else { (0.02 * (last - first)).max(0.02) };
    first - air..last + air
}

impl Panel {
    fn draw<'a>(&self, area: &DrawingArea<SVGBackend<'a>, Shift>) -> Result<(), PlotError<'a>> {
        let Self { caption, unit, format, curves, range, legend } = self;
        let epochs = epoch_range(curves);
        let labels = ((epochs.end - epochs.start).round() as usize + 1).clamp(2, 11);
        let mut chart = ChartBuilder::on(area)
            .caption(caption, (FONT, 18))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(epochs, range.clone())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .x_desc("epoch")
            .y_desc(*unit)
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
            let radius = if curve.points.len() <= 30 && !curve.thin { 3 } else { 0 };
            let width = if curve.thin { 1 } else { 2 };
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(width).filled()).point_size(radius))?
                .label(curve.name.as_str())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(width)));
        }
        if let Some(legend) = legend.clone().filter(|_| !curves.is_empty()) {
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
                skipped: 0,
            })
            .collect()
    }

    /// Steps of the first epoch.
    fn steps(count: usize) -> Vec<StepMetrics> {
        let step = |step: usize| StepMetrics {
            epoch: 1,
            step,
            loss: 2.0 / step as f64,
            accuracy: 0.5,
            learning_rate: 0.1,
            gradient_norm: None,
            seconds: 1.0,
        };
        (1..=count).map(step).collect()
    }

    #[test]
    fn the_drawing_has_both_panels_axes_and_legend_for_one_epoch_and_for_many() {
        for count in [1, 2, 10, 100] {
            let svg = draw("alexnet", &epochs(count), &[]).unwrap();
            for text in ["alexnet", "Loss", "Accuracy", "epoch", "training", "validation", "test"] {
                assert!(svg.contains(text), "{text} is missing with {count} epochs");
            }
            assert!(svg.trim_end().ends_with("</svg>"));
        }
    }

    #[test]
    fn a_single_epoch_is_drawn_by_its_steps() {
        let steps = steps(250);
        let of = |epochs: usize| curves(&super::tests::epochs(epochs), &steps, |scores| scores.loss).remove(0).points;
        let points = of(1);
        // Three steps each, the last one alone; the last step is the epoch's end.
        assert_eq!((points.len(), of(2).len()), (84, 2));
        assert_eq!(points[0], (2.0 / 250.0, (2.0 + 1.0 + 2.0 / 3.0) / 3.0));
        assert_eq!(points[83], (1.0, 2.0 / 250.0));
        let svg = draw("alexnet", &super::tests::epochs(1), &steps).unwrap();
        assert!(svg.contains("viewBox=\"0 0 1200 480\"") && svg.starts_with("<svg style="), "{svg}");
        assert!(svg.contains("prefers-color-scheme: dark"));
    }

    #[test]
    fn runs_are_compared_by_name() {
        let mut plain = epochs(3);
        plain.iter_mut().for_each(|epoch| epoch.validation = None);
        let run = |name: &str, epochs| ComparedRun { name: name.to_owned(), epochs, steps: steps(250) };
        let svg = compare(&[run("plain", plain), run("<best>", epochs(12))]).unwrap();
        assert!(svg.contains("plain, test") && svg.contains("&lt;best&gt;, validation"), "{svg}");
        assert!(svg.contains("#0072B2"), "{svg}");
        assert!(!svg.contains("#009E73"));
        assert_eq!(svg.matches("plain, test").count(), 1, "the runs are named once");
        assert!(!svg.contains(", training"), "there are epochs to draw");
    }

    #[test]
    fn a_compared_run_of_one_epoch_has_a_line_of_its_training() {
        let run = ComparedRun { name: "short".to_owned(), epochs: epochs(1), steps: steps(250) };
        let curves = run.curves(TEST, |scores| scores.loss);
        let of = |curve: &Curve| (curve.name.clone(), curve.points.len(), curve.thin);
        assert_eq!(
            curves.iter().map(of).collect::<Vec<_>>(),
            [("short, training".to_owned(), 84, true), ("short, validation".to_owned(), 1, false)]
        );
        let longer = ComparedRun { name: "longer".to_owned(), epochs: epochs(3), steps: Vec::new() };
        let svg = compare(&[run.clone(), longer.clone()]).unwrap();
        assert!(svg.contains("short, training") && !svg.contains("longer, training"), "{svg}");
        // Without steps, a mark is all there is.
        let svg = compare(&[ComparedRun { steps: Vec::new(), ..run }, longer]).unwrap();
        assert!(svg.contains("short, validation") && !svg.contains("short, training"), "{svg}");
    }

    #[test]
    fn what_was_not_measured_has_no_curve() {
        let mut epochs = epochs(3);
        for epoch in &mut epochs {
            epoch.validation = None;
            epoch.train.loss = f64::NAN;
        }
        let svg = draw("alexnet", &epochs, &[]).unwrap();
        assert!(!svg.contains("validation"));
        assert!(!svg.contains("NaN"));
        assert!(draw("nothing yet", &[], &[]).is_ok());
    }
}
