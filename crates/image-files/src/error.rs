//! Why an image or a description of preprocessing cannot be used.

use std::{error::Error, fmt, io};

/// Why an image cannot be read or used, in words that need no cause behind them.
#[derive(Debug)]
#[non_exhaustive]
pub enum ImageError {
    /// The file cannot be read.
    Read(io::Error),
    /// The file is no image, or of a kind that is not read.
    Unsupported(String),
    /// The image is larger than what is read, or takes more memory.
    TooLarge(String),
    /// The file is damaged, or its values are not those of an image.
    Damaged(String),
}

impl fmt::Display for ImageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(formatter),
            Self::Unsupported(reason) | Self::TooLarge(reason) | Self::Damaged(reason) => formatter.write_str(reason),
        }
    }
}

impl Error for ImageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read(error) => error.source(),
            Self::Unsupported(_) | Self::TooLarge(_) | Self::Damaged(_) => None,
        }
    }
}

impl ImageError {
    /// From what a decoder says within this crate, an error of this type or any other, with or without words about where.
    pub(crate) fn of(error: anyhow::Error) -> Self {
        let words = format!("{error:#}");
        let kind = error.chain().find_map(|cause| cause.downcast_ref::<Self>());
        match kind {
            Some(Self::Unsupported(_)) => Self::Unsupported(words),
            Some(Self::TooLarge(_)) => Self::TooLarge(words),
            _ => Self::Damaged(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn what_a_decoder_says_keeps_its_kind_and_its_words() {
        let said = |error: anyhow::Error| {
            let error = ImageError::of(error);
            (matches!(error, ImageError::Unsupported(_)), error.to_string())
        };
        let unsupported = || anyhow::Error::new(ImageError::Unsupported("12 bits".into()));
        assert_eq!(said(unsupported()), (true, "12 bits".to_string()));
        assert_eq!(
            said(Err::<(), _>(unsupported()).context("page 1").unwrap_err()),
            (true, "page 1: 12 bits".to_string())
        );
        assert_eq!(said(anyhow!("a bad code").context("row 3")), (false, "row 3: a bad code".to_string()));
    }
}
