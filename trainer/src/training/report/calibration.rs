//! The calibration curve: how often answers of a probability are right.

use std::fmt::Write as _;

use reporting::{
    page::{cells, table},
    words::{grouped, percent},
};

use crate::training::calibration::{BINS, Calibration};

/// Side of the square that the curve is drawn in, and the space on its left and below.
const SIDE: f64 = 240.0;
const LEFT: f64 = 52.0;
const BELOW: f64 = 44.0;
const ABOVE: f64 = 10.0;

/// The curve with its table; nothing of a run that was examined by an earlier version.
pub fn section(calibration: &Calibration) -> String {
    if calibration.images() == 0 {
        return String::new();
    }
    let (x, y) = (|share: f64| LEFT + SIDE * share, |share: f64| ABOVE + SIDE * (1.0 - share));
    let most = calibration.bins().iter().map(|bin| bin.images).max().unwrap_or(1).max(1) as f64;
    let (mut svg, mut line, mut rows) = (String::new(), Vec::new(), String::new());
    // Writing to a string cannot fail, here and below.
    for (number, bin) in calibration.bins().iter().enumerate() {
        let [from, to] = [number, number + 1].map(|edge| edge as f64 / BINS as f64);
        // Bars tell how many answers there are, the largest a third of the height.
        let height = bin.images as f64 / most / 3.0;
        let _ = write!(
            svg,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            x(from) + 1.0,
            y(height),
            SIDE / BINS as f64 - 2.0,
            SIDE * height
        );
        let Some((said, found)) = bin.means() else { continue };
        line.push((x(said), y(found)));
        let range = format!("{:.0} to {:.0} %", 100.0 * from, 100.0 * to);
        let row = [range, grouped(bin.images), percent(said), percent(found)];
        let _ = writeln!(rows, "<tr>{}</tr>", cells("td", &row));
    }
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let text = format!("{:.0} %", 100.0 * share);
        let (x, y) = (x(share), y(share));
        let _ = write!(svg, "<path class=\"grid\" d=\"M{LEFT} {y:.1}h{SIDE}\"/>");
        let _ = write!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>", LEFT - 6.0, y + 4.0);
        let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>", ABOVE + SIDE + 18.0);
    }
    let _ = write!(svg, "<path class=\"ideal\" d=\"M{} {}L{} {}\"/>", x(0.0), y(0.0), x(1.0), y(1.0));
    let points: Vec<_> = line.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ =
        write!(svg, "<g style=\"color:var(--accent)\"><polyline points=\"{}\" stroke-width=\"2\"/>", points.join(" "));
    for (x, y) in line {
        let _ = write!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>");
    }
    let (width, height) = (LEFT + SIDE + 22.0, ABOVE + SIDE + BELOW);
    let _ = write!(
        svg,
        "</g><text x=\"{}\" y=\"{}\" text-anchor=\"middle\">probability of the answer</text>",
        x(0.5),
        height - 8.0
    );
    let head = ["probability", "images", "mean", "right"].map(String::from);
    format!(
        "<h2>Calibration</h2>\n<p>How often the answers of a probability are right: on the dashed line they are as often right as they \
         say. Bars tell how many there are. Expected calibration error {}.</p>\n\
         <div class=\"curves\"><figure class=\"chart\" style=\"max-width:380px\"><svg viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"Share of right answers by their probability, as in the table\">{svg}</svg></figure>{}</div>\n",
        percent(calibration.expected_error()),
        table("", &cells("th", &head), &rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_and_the_table_hold_the_same() {
        assert_eq!(section(&Calibration::default()), "");
        let mut calibration = Calibration::default();
        for number in 0..100 {
            calibration.add(0.75, number < 50);
        }
        let html = section(&calibration);
        assert!(html.contains("<td>70 to 80 %</td><td>100</td><td>75.00 %</td><td>50.00 %</td>"), "{html}");
        assert!(html.contains("Expected calibration error 25.00 %."), "{html}");
        // At three quarters of the width, half of the height.
        let place = format!("<circle cx=\"{:.1}\" cy=\"{:.1}\"", LEFT + 0.75 * SIDE, ABOVE + 0.5 * SIDE);
        assert!(html.contains(&place), "{html}");
        assert_eq!(html.matches("<rect").count(), BINS);
    }
}
