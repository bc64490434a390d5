//! The matrix of confusions, and the images behind its cells.

use std::{collections::BTreeMap, fmt::Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reporting::{
    confusion::Confusion,
    page::{cells, escape, table},
    words::percent,
};
use serde::Serialize;

use super::{name_of, png};
use crate::{
    data::Dataset,
    training::evaluate::{Examination, Mistake},
};

/// Most bytes of the images behind the cells, in base64.
const MOST_BYTES: usize = 4_000_000;

/// Position, name and probability of the images of each cell that has some.
type Cells = BTreeMap<String, Vec<(usize, String, String)>>;

/// Images behind the cells, for the page's script.
#[derive(Serialize)]
struct Behind<'a> {
    names: &'a [String],
    cells: &'a Cells,
    pictures: &'a BTreeMap<usize, String>,
}

/// The matrix, or where it would be too large to read, the pairs of classes that are confused most often.
///
/// # Errors
/// In words, where an image cannot be encoded.
pub fn section(dataset: &Dataset, examination: &Examination) -> Result<String, String> {
    let (classes, confusion) = (&dataset.classes, examination.tally.confusion());
    if classes.len() > Confusion::READABLE {
        return Ok(pairs(classes, confusion));
    }
    let (shown, pictures) = pictures(dataset, &examination.examples)?;
    let table = confusion_table(classes, &confusion.matrix(), &shown);
    let said = "<p>Test images of each class (rows) taken for each class (columns), by the best epoch.";
    if shown.is_empty() {
        return Ok(format!("{said}</p>\n{table}"));
    }
    let behind = Behind { names: classes, cells: &shown, pictures: &pictures };
    // Within a script, a name must not end it.
    let behind = serde_json::to_string(&behind).map_err(|error| error.to_string())?.replace('<', "\\u003c");
    Ok(format!(
        "{said} A number shows its images, as far as there is room for them.</p>\n{table}<div id=\"behind\" aria-live=\"polite\"></div>\n\
         <script type=\"application/json\" id=\"cells\">{behind}</script>\n"
    ))
}

/// The images of the cells: first one of each, then the second ones, as long as there is room.
fn pictures(dataset: &Dataset, examples: &[Mistake]) -> Result<(Cells, BTreeMap<usize, String>), String> {
    let pair = |example: &Mistake| (example.label, example.predicted);
    let mut ranked: Vec<_> =
        examples.chunk_by(|one, other| pair(one) == pair(other)).flat_map(|cell| cell.iter().enumerate()).collect();
    // Mistakes come before what is right, and stay in order otherwise.
    ranked.sort_by_key(|(rank, example)| (*rank, example.label == example.predicted));
    let (mut cells, mut pictures, mut bytes) = (Cells::new(), BTreeMap::new(), 0);
    for (_, example) in ranked {
        let Mistake { position, label, predicted, probability } = example;
        if !pictures.contains_key(position) {
            let picture = STANDARD.encode(png(&dataset.test, *position)?);
            bytes += picture.len();
            if bytes > MOST_BYTES {
                break;
            }
            pictures.insert(*position, picture);
        }
        let image = (*position, name_of(dataset, *position), percent(*probability));
        cells.entry(format!("{label},{predicted}")).or_default().push(image);
    }
    Ok((cells, pictures))
}

fn pairs(classes: &[String], confusion: &Confusion) -> String {
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

fn confusion_table(classes: &[String], confusion: &[Vec<u64>], shown: &Cells) -> String {
    let mut head = String::from("<th></th>");
    for (class, name) in classes.iter().enumerate() {
        // The number tells apart names that begin alike, where the head is cut.
        let name = format!("{class} {}", escape(name));
        let _ = write!(head, "<th><span title=\"{name}\">{name}</span></th>");
    }
    head.push_str("<th>right</th>");
    let mut rows = String::new();
    for (label, (name, row)) in classes.iter().zip(confusion).enumerate() {
        let _ = write!(rows, "<tr><th>{label} {}</th>", escape(name));
        let images = row.iter().sum::<u64>().max(1) as f64;
        for (predicted, count) in row.iter().enumerate() {
            // From the page's colour to blue. On a dark page all text is light.
            let share = *count as f64 / images;
            let class = if share > DARK { " class=\"dark\"" } else { "" };
            let cell = format!("{label},{predicted}");
            let text = if shown.contains_key(&cell) {
                format!("<button type=\"button\" data-cell=\"{cell}\">{count}</button>")
            } else {
                count.to_string()
            };
            let _ = write!(rows, "<td{class} style=\"background:rgba(var(--shade),{share:.3})\">{text}</td>");
        }
        let _ = writeln!(rows, "<td>{}</td></tr>", percent(row[label] as f64 / images));
    }
    table("matrix", &head, &rows)
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
        let style = reporting::page::STYLE;
        assert!(style.contains("--text:#1a1a1a;--page:#fff;") && style.contains("--shade:0,82,130}"));
        assert!(style.contains("--text:#ddd;--page:#16181d;") && style.contains("--shade:40,110,175}"));
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
        let shown = Cells::from([("0,1".to_string(), Vec::new())]);
        let table = confusion_table(&classes, &[vec![9, 1], vec![0, 0]], &shown);
        assert!(table.contains("<th><span title=\"0 a&lt;b\">0 a&lt;b</span></th>"), "{table}");
        assert!(table.contains("<td class=\"dark\" style=\"background:rgba(var(--shade),0.900)\">9</td>"), "{table}");
        assert!(table.contains("<td style=\"background:rgba(var(--shade),0.100)\"><button type=\"button\" data-cell=\"0,1\">1</button></td><td>90.00 %</td>"), "{table}");
        assert!(table.contains("<th>1 c</th><td style=\"background:rgba(var(--shade),0.000)\">0</td>"), "{table}");
    }
}
