//! The metadata `preprocessing` of a weights file: what must be done to an image before the network sees it. The trainer
//! writes it; both programs refuse weights that ask for anything but what they do.

use std::{error::Error, fmt};

use serde::{Deserialize, Serialize};

const COLOR: &str = "grayscale-bt601";
const RANGE: [f64; 2] = [0.0, 1.0];
const RESIZE: &str = "bilinear-antialias";

/// Normalisation of an image's values (0 to 1) after the resize, `(x - mean) / std`: see
/// [`normalise`](infer_core::preprocess::normalise).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Normalisation {
    /// Mean, which is subtracted.
    pub mean: f32,
    /// Standard deviation, which the difference is divided by; finite and greater than 0.
    pub std: f32,
}

/// Description that [`describe`] writes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    color: String,
    range: [f64; 2],
    resize: String,
    height: usize,
    width: usize,
    mean: Option<f32>,
    std: Option<f32>,
}

/// Refusal of weights whose metadata ask for another preprocessing than the one that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherPreprocessing {
    /// Rows and columns of the network's input.
    pub side: usize,
    /// The metadata's text.
    pub found: String,
}

impl fmt::Display for OtherPreprocessing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { side, found } = self;
        write!(
            formatter,
            "expected the metadata `preprocessing` to say {COLOR}, range 0 to 1, {RESIZE}, {side}×{side}, and both mean and \
             std or neither, found {found}"
        )
    }
}

impl Error for OtherPreprocessing {}

/// Describes the preprocessing for a network whose input is `side` pixels high and wide, as JSON.
pub fn describe(side: usize, normalisation: Option<Normalisation>) -> String {
    let [least, most] = RANGE;
    let normalised =
        normalisation.map_or(String::new(), |Normalisation { mean, std }| format!(r#","mean":{mean},"std":{std}"#));
    format!(
        r#"{{"color":"{COLOR}","range":[{least},{most}],"resize":"{RESIZE}","height":{side},"width":{side}{normalised}}}"#
    )
}

/// The normalisation that the metadata ask for. Everything else must be what is done: weights trained on images prepared in
/// another way would give wrong answers without a word.
///
/// # Errors
/// The text asks for anything else: what was expected and what was found, in words.
pub fn understand(text: &str, side: usize) -> Result<Option<Normalisation>, OtherPreprocessing> {
    let found = serde_json::from_str::<Description>(text).ok().filter(|found| {
        found.color == COLOR
            && found.range == RANGE
            && found.resize == RESIZE
            && (found.height, found.width) == (side, side)
    });
    match found.map(|found| (found.mean, found.std)) {
        Some((None, None)) => Ok(None),
        Some((Some(mean), Some(std))) if mean.is_finite() && std > 0.0 && std.is_finite() => {
            Ok(Some(Normalisation { mean, std }))
        }
        _ => Err(OtherPreprocessing { side, found: text.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_described_is_understood() {
        for normalisation in [None, Some(Normalisation { mean: 0.286_040_6, std: 0.353_024_3 })] {
            assert_eq!(understand(&describe(28, normalisation), 28).unwrap(), normalisation);
        }
        // Files that exist say it so.
        let text = r#"{"color":"grayscale-bt601","range":[0,1],"resize":"bilinear-antialias","height":28,"width":28}"#;
        assert_eq!(understand(text, 28).unwrap(), None);
        assert_eq!(understand(&text.replace("[0,1]", "[0.0, 1.0]"), 28).unwrap(), None);
        let text = text.replace('}', ",\"mean\":0.25,\"std\":0.5}");
        assert_eq!(understand(&text, 28).unwrap(), Some(Normalisation { mean: 0.25, std: 0.5 }));
    }

    #[test]
    fn whatever_is_not_done_is_refused() {
        let good = describe(28, Some(Normalisation { mean: 0.25, std: 0.5 }));
        for (from, to) in [
            ("bt601", "bt709"),
            ("grayscale-bt601", "rgb"),
            ("[0,1]", "[-1,1]"),
            ("antialias", "nearest"),
            ("\"std\"", "\"deviation\""),
            ("\"std\":0.5", "\"std\":0"),
            ("\"std\":0.5", "\"std\":-1"),
            (",\"std\":0.5", ""),
            (",\"mean\":0.25", ""),
            (&*good, "{}"),
            (&*good, "[]"),
        ] {
            let other = good.replace(from, to);
            assert_ne!(other, good);
            let error = understand(&other, 28).unwrap_err().to_string();
            assert!(
                error.starts_with("expected the metadata") && error.ends_with(&format!("found {other}")),
                "{error}"
            );
        }
        assert!(understand(&good, 224).is_err());
    }
}
