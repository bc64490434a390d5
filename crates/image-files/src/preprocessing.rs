//! The metadata `preprocessing` of a weights file: what must be done to an image before the network sees it. The trainer
//! writes it; both programs refuse weights that ask for anything that they do not do.

use std::{error::Error, fmt};

use infer_core::{
    describe::Maps,
    preprocess::{Resize, normalise},
};
use serde::{Deserialize, Serialize};

const RANGE: [f64; 2] = [0.0, 1.0];
const RESIZE: &str = "bilinear-antialias";
const CROP: &str = "center";
const ORIENTATION: &str = "exif";

/// Normalisation of an image's values (0 to 1) after the resize, `(x - mean) / std` in each channel: see
/// [`normalise`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Normalisation {
    /// Of gray images.
    Gray {
        /// Mean, which is subtracted.
        mean: f32,
        /// Standard deviation, which the difference is divided by; finite and greater than 0.
        std: f32,
    },
    /// Of red, green and blue.
    Rgb {
        /// Means, which are subtracted.
        mean: [f32; 3],
        /// Standard deviations, which the differences are divided by; finite and greater than 0.
        std: [f32; 3],
    },
}

impl Normalisation {
    /// Means and standard deviations over ImageNet's photographs, by which torchvision's networks were trained.
    pub const IMAGENET: Self = Self::Rgb { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

    /// Mean and standard deviation of each channel.
    pub fn channels(&self) -> Vec<(f32, f32)> {
        match *self {
            Self::Gray { mean, std } => vec![(mean, std)],
            Self::Rgb { mean, std } => mean.into_iter().zip(std).collect(),
        }
    }

    /// Normalises an image of as many planes, one behind the other.
    pub fn apply(&self, image: &mut [f32]) {
        let channels = self.channels();
        let plane = (image.len() / channels.len()).max(1);
        for (values, (mean, std)) in image.chunks_exact_mut(plane).zip(channels) {
            normalise(values, mean, std);
        }
    }

    /// Whether it is of images of so many channels, with finite numbers.
    fn fits(&self, channels: usize) -> bool {
        let numbers = self.channels();
        numbers.len() == channels && numbers.iter().all(|(mean, std)| mean.is_finite() && *std > 0.0 && std.is_finite())
    }
}

/// Way of an image to a network's input. Colours follow from the network: gray for one channel, red, green and blue for three.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preprocessing {
    /// Resize.
    pub resize: Resize,
    /// Normalisation after it, if any.
    pub normalisation: Option<Normalisation>,
    /// Whether images are turned as their Exif orientation says, before all else.
    pub orient: bool,
}

impl Preprocessing {
    /// The resize alone, to the input's sides.
    pub const PLAIN: Self = Self { resize: Resize::Exact, normalisation: None, orient: false };

    /// The way of weights that say nothing of it: of gray networks, the resize alone; of networks in colour, as torchvision's
    /// weights for ImageNet expect it, the centre of an image whose shorter side is an eighth longer, 256 pixels for
    /// inputs of 224, normalised by [`Normalisation::IMAGENET`].
    pub fn usual(input: Maps) -> Self {
        if input.channels == 1 {
            return Self::PLAIN;
        }
        // To a multiple of 32, so that inputs of 227 also come from 256 pixels.
        let resize = Resize::ShorterSide((input.side * 8 / 7 / 32 * 32).max(input.side));
        Self { resize, normalisation: Some(Normalisation::IMAGENET), orient: false }
    }

    /// Describes the way to the input of a network, as JSON.
    pub fn describe(&self, input: Maps) -> String {
        let description = Description {
            color: color(input.channels).unwrap_or_default().to_string(),
            range: [0, 1],
            resize: RESIZE.to_string(),
            shorter_side: match self.resize {
                Resize::Exact => None,
                Resize::ShorterSide(side) => Some(side),
            },
            crop: (self.resize != Resize::Exact).then(|| CROP.to_string()),
            height: input.side,
            width: input.side,
            orientation: self.orient.then(|| ORIENTATION.to_string()),
        };
        let description = Stored { description, normalisation: self.normalisation };
        // Numbers and texts are always JSON.
        serde_json::to_string(&description).unwrap_or_default()
    }

    /// The way that the metadata ask for. All of it must be what is done: weights trained on images prepared in
    /// another way would give wrong answers without a word.
    ///
    /// # Errors
    /// The text asks for anything else: what was expected and what was found, in words.
    pub fn understand(text: &str, input: Maps) -> Result<Self, OtherPreprocessing> {
        let refused = |expected: String| OtherPreprocessing { expected, found: text.to_string() };
        let Maps { channels, side } = input;
        let color =
            color(channels).ok_or_else(|| refused(format!("images of {channels} channels, which are not made")))?;
        let mut value: serde_json::Value =
            serde_json::from_str(text).map_err(|_| refused("a JSON object".to_string()))?;
        let object = value.as_object_mut().ok_or_else(|| refused("a JSON object".to_string()))?;
        let numbers = ["mean", "std"].map(|key| object.remove_entry(key));
        let found: Description<f64> = serde_json::from_value(value).map_err(|error| {
            refused(format!("color, range, resize, height and width, and what else this version knows ({error})"))
        })?;
        let require = |holds: bool, expected: String| if holds { Ok(()) } else { Err(refused(expected)) };
        require(found.color == color, format!("color {color}"))?;
        require(found.range == RANGE, "range 0 to 1".to_string())?;
        require(found.resize == RESIZE, format!("resize {RESIZE}"))?;
        require((found.height, found.width) == (side, side), format!("height and width {side}, {side}×{side}"))?;
        let oriented = found.orientation.as_deref();
        require(oriented.is_none_or(|name| name == ORIENTATION), format!("orientation {ORIENTATION} or none"))?;
        let normalisation = match numbers {
            [None, None] => None,
            [Some(mean), Some(std)] => {
                let numbers = serde_json::Value::Object([mean, std].into_iter().collect());
                let read = serde_json::from_value(numbers).ok();
                let each = if channels == 1 { "a number" } else { "a number for each of three channels" };
                let found = read.filter(|normalisation: &Normalisation| normalisation.fits(channels));
                Some(found.ok_or_else(|| refused(format!("mean and std, {each}, std greater than 0")))?)
            }
            _ => return Err(refused("both mean and std or neither".to_string())),
        };
        let resize = match (found.shorter_side, found.crop.as_deref()) {
            (None, None) => Resize::Exact,
            (Some(shorter), Some(CROP)) if shorter >= side => Resize::ShorterSide(shorter),
            _ => return Err(refused(format!("shorter_side, {side} or more, and crop {CROP}, or neither"))),
        };
        Ok(Self { resize, normalisation, orient: oriented.is_some() })
    }
}

/// Name of the colours of so many channels.
fn color(channels: usize) -> Option<&'static str> {
    match channels {
        1 => Some("grayscale-bt601"),
        3 => Some("rgb"),
        _ => None,
    }
}

/// The metadata's object, but for `mean` and `std`. Numbers are written as whole ones, and read as any.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description<R> {
    color: String,
    range: [R; 2],
    resize: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    shorter_side: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crop: Option<String>,
    height: usize,
    width: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    orientation: Option<String>,
}

/// The whole object.
#[derive(Serialize)]
struct Stored {
    #[serde(flatten)]
    description: Description<u8>,
    #[serde(flatten)]
    normalisation: Option<Normalisation>,
}

/// Refusal of weights whose metadata ask for another preprocessing than can be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherPreprocessing {
    /// The part that is not as expected, in words.
    pub expected: String,
    /// The metadata's text.
    pub found: String,
}

impl fmt::Display for OtherPreprocessing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expected, found } = self;
        write!(formatter, "expected the metadata `preprocessing` to say {expected}, found {found}")
    }
}

impl Error for OtherPreprocessing {}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAY: Maps = Maps { channels: 1, side: 28 };
    const RGB: Maps = Maps { channels: 3, side: 28 };
    const NORMALISED: Preprocessing =
        Preprocessing { normalisation: Some(Normalisation::Gray { mean: 0.25, std: 0.5 }), ..Preprocessing::PLAIN };

    #[test]
    fn what_is_described_is_understood() {
        for (channels, normalisation) in [
            (1, Normalisation::Gray { mean: 0.286_040_6, std: 0.353_024_3 }),
            (3, Normalisation::IMAGENET),
            (3, Normalisation::Rgb { mean: [0.1, 0.2, 0.286_040_6], std: [1.0, 0.5, 1e-6] }),
        ] {
            for (resize, orient) in [(Resize::Exact, true), (Resize::Exact, false), (Resize::ShorterSide(32), true)] {
                for normalisation in [None, Some(normalisation)] {
                    let this = Preprocessing { resize, normalisation, orient };
                    let input = Maps { channels, side: 28 };
                    assert_eq!(Preprocessing::understand(&this.describe(input), input).unwrap(), this);
                }
            }
        }
    }

    #[test]
    fn texts_are_those_of_files_that_exist() {
        let text = r#"{"color":"grayscale-bt601","range":[0,1],"resize":"bilinear-antialias","height":28,"width":28}"#;
        assert_eq!(Preprocessing::PLAIN.describe(GRAY), text);
        let understood = |text: &str| Preprocessing::understand(text, GRAY).unwrap();
        assert_eq!(understood(text), Preprocessing::PLAIN);
        assert_eq!(understood(&text.replace("[0,1]", "[0.0, 1.0]")), Preprocessing::PLAIN);
        let text = text.replace('}', ",\"mean\":0.25,\"std\":0.5}");
        assert_eq!((understood(&text), NORMALISED.describe(GRAY)), (NORMALISED, text));
        let usual = Preprocessing { orient: true, ..Preprocessing::usual(Maps { channels: 3, side: 224 }) };
        let text = r#"{"color":"rgb","range":[0,1],"resize":"bilinear-antialias","shorter_side":256,"crop":"center","height":224,"width":224,"orientation":"exif","mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225]}"#;
        assert_eq!(usual.describe(Maps { channels: 3, side: 224 }), text);
    }

    #[test]
    fn whatever_is_not_done_is_refused_by_name() {
        let gray = NORMALISED.describe(GRAY);
        let colour = Preprocessing { orient: true, ..Preprocessing::usual(RGB) }.describe(RGB);
        for (input, good, from, to, expected) in [
            (GRAY, &gray, "bt601", "bt709", "color grayscale-bt601"),
            (GRAY, &gray, "grayscale-bt601", "rgb", "color grayscale-bt601"),
            (GRAY, &gray, "[0,1]", "[-1,1]", "range 0 to 1"),
            (GRAY, &gray, "antialias", "nearest", "resize bilinear-antialias"),
            (GRAY, &gray, "\"std\"", "\"deviation\"", "unknown field `deviation`"),
            (GRAY, &gray, "\"std\":0.5", "\"std\":0", "std greater than 0"),
            (GRAY, &gray, "\"std\":0.5", "\"std\":-1", "std greater than 0"),
            (GRAY, &gray, "\"std\":0.5", "\"std\":[0.5,0.5,0.5]", "a number, std greater than 0"),
            (GRAY, &gray, ",\"std\":0.5", "", "both mean and std or neither"),
            (GRAY, &gray, ",\"mean\":0.25", "", "both mean and std or neither"),
            (GRAY, &gray, &*gray, "{}", "missing field `color`"),
            (GRAY, &gray, &*gray, "[]", "a JSON object"),
            (GRAY, &gray, ":28,", ":224,", "height and width 28"),
            (RGB, &colour, "\"rgb\"", "\"bgr\"", "color rgb"),
            (RGB, &colour, "\"exif\"", "\"upright\"", "orientation exif or none"),
            (RGB, &colour, "\"center\"", "\"corner\"", "shorter_side, 28 or more, and crop center"),
            (RGB, &colour, ",\"crop\":\"center\"", "", "and crop center, or neither"),
            (RGB, &colour, "\"shorter_side\":32", "\"shorter_side\":27", "shorter_side, 28 or more"),
            (RGB, &colour, "0.406]", "0.406,0]", "a number for each of three channels"),
            (RGB, &colour, "[0.485,0.456,0.406]", "0.485", "a number for each of three channels"),
            (RGB, &colour, "0.225]", "0.0]", "std greater than 0"),
        ] {
            let other = good.replace(from, to);
            assert_ne!(other, **good);
            let error = Preprocessing::understand(&other, input).unwrap_err().to_string();
            let whole = error.starts_with("expected the metadata") && error.ends_with(&format!("found {other}"));
            assert!(whole && error.contains(expected), "{error}");
        }
        assert!(Preprocessing::understand(&gray, Maps { channels: 1, side: 224 }).is_err());
        assert!(Preprocessing::understand(&gray, RGB).unwrap_err().to_string().contains("color rgb"));
        assert!(Preprocessing::understand(&gray, Maps { channels: 2, side: 28 }).is_err());
    }

    #[test]
    fn each_channel_is_normalised_by_its_numbers() {
        let mut image = [0.25, 0.75, 1.0, 0.0, 0.5, 0.5];
        Normalisation::Rgb { mean: [0.25, 0.5, 0.0], std: [0.5, 0.25, 2.0] }.apply(&mut image);
        assert_eq!(image, [0.0, 1.0, 2.0, -2.0, 0.25, 0.25]);
        let mut image = [0.25, 0.75];
        Normalisation::Gray { mean: 0.25, std: 0.5 }.apply(&mut image);
        assert_eq!(image, [0.0, 1.0]);
    }
}
