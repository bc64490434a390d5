//! Checks of whether an image looks like what a network knows: limits that the weights' metadata state. The trainer measures and
//! writes them, infer-cli marks the images that do not keep them.

use std::{error::Error, fmt};

use serde::{Deserialize, Serialize};

/// The metadata that holds the limits, as `{"border_at_most": 0.25, "probability_at_least": 0.5}`.
pub const KEY: &str = "checks";

/// Limits that images like those that the network has learnt from keep.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checks {
    /// The greatest mean of the outermost pixels of the network's input, from 0, black, to 1, white.
    pub border_at_most: f32,
    /// The least probability of the likeliest class, 0 to 1.
    pub probability_at_least: f32,
}

/// Reason to doubt an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// The border of the image is lighter than that of the images that the network knows.
    LightBorder,
    /// No class is likely.
    Unsure,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LightBorder => "light border",
            Self::Unsure => "unsure",
        })
    }
}

/// Refusal of metadata that state no limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoChecks {
    /// The metadata's text.
    pub found: String,
}

impl fmt::Display for NoChecks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot use the metadata `{KEY}`: expected two limits from 0 to 1, found {}", self.found)
    }
}

impl Error for NoChecks {}

impl Checks {
    /// The limits that the metadata state.
    ///
    /// # Errors
    /// They are no JSON object of both limits, each from 0 to 1.
    pub fn read(text: &str) -> Result<Self, NoChecks> {
        let checks = serde_json::from_str(text).ok();
        let in_range = |checks: &Self| {
            [checks.border_at_most, checks.probability_at_least].iter().all(|limit| (0.0..=1.0).contains(limit))
        };
        checks.filter(in_range).ok_or_else(|| NoChecks { found: text.to_owned() })
    }

    /// Reason to doubt the answer to an image, if there is one.
    #[must_use]
    pub fn doubt(&self, border: f32, probability: f32) -> Option<Doubt> {
        if border > self.border_at_most {
            Some(Doubt::LightBorder)
        } else if probability < self.probability_at_least {
            Some(Doubt::Unsure)
        } else {
            None
        }
    }
}

/// Mean of the outermost pixels of a square image, over all its channels, which are planes one behind the other.
#[must_use]
pub fn border(image: &[f32], side: usize) -> f64 {
    let planes = image.chunks_exact((side * side).max(1));
    let rows = planes.flat_map(|plane| plane.chunks_exact(side.max(1)).enumerate());
    let (mut sum, mut count) = (0.0_f64, 0_u32);
    for (y, row) in rows {
        for (x, value) in row.iter().enumerate() {
            if x == 0 || y == 0 || x + 1 == side || y + 1 == side {
                sum += f64::from(*value);
                count += 1;
            }
        }
    }
    sum / f64::from(count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_or_refused() {
        let checks = Checks::read(r#"{"border_at_most": 0.25, "probability_at_least": 0.5}"#).unwrap();
        assert_eq!(checks.doubt(0.25, 0.5), None);
        assert_eq!(checks.doubt(0.26, 0.4), Some(Doubt::LightBorder));
        assert_eq!(checks.doubt(0.0, 0.49), Some(Doubt::Unsure));
        let refused = [
            "",
            "{}",
            r#"{"border_at_most": 0.25}"#,
            r#"{"border_at_most": 2, "probability_at_least": 0.5}"#,
            r#"{"border_at_most": 0, "probability_at_least": 0, "size": 1}"#,
        ];
        for text in refused {
            assert!(Checks::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_border_is_the_outermost_pixels() {
        let mut image = [1.0; 25];
        for inner in [6, 7, 8, 11, 12, 13, 16, 17, 18] {
            image[inner] = 9.0;
        }
        assert_eq!(border(&image, 5), 1.0);
        image[0] = 17.0;
        assert_eq!(border(&image, 5), 2.0);
        assert_eq!(border(&[0.5], 1), 0.5);
        let three = [image, [4.0; 25], [6.0; 25]].concat();
        assert_eq!(border(&three, 5), 4.0);
    }
}
