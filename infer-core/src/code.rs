//! Numbers of errors, for logs and indicators that have no room for texts.

use core::fmt;

/// Makes the enum, the list of all codes and their meanings of one table.
macro_rules! codes {
    ($($name:ident = $number:literal, $meaning:literal;)*) => {
        /// Reason of an error, with a number that stays the same in all versions: `Code::Gap as u16` is 14.
        ///
        #[doc = concat!("| code | name | meaning |\n|---|---|---|\n",
            $("| ", stringify!($number), " | `", stringify!($name), "` | ", $meaning, " |\n",)*)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = concat!("Code ", stringify!($number), ": ", $meaning, ".")] $name = $number,)*
        }

        impl Code {
            /// All codes, by number.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Meaning in a few words.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)*
                }
            }
        }
    };
}

codes! {
    NoHeader = 1, "too few bytes for a safetensors file";
    HeaderTooLong = 2, "header longer than any safetensors file's";
    HeaderTruncated = 3, "file ends within the header";
    HeaderNotUtf8 = 4, "header is not UTF-8";
    HeaderSyntax = 5, "header is not of the form of safetensors";
    Duplicate = 6, "name stands twice in the header";
    TooManyTensors = 7, "more tensors than the reader has room for";
    TooManyDimensions = 8, "tensor with too many dimensions";
    MissingField = 9, "tensor without dtype, shape or offsets";
    UnexpectedField = 10, "tensor with an unknown field, or one twice";
    UnknownDtype = 11, "unknown data type";
    Overflow = 12, "size or offset too large";
    Size = 13, "offsets do not fit shape and data type";
    Gap = 14, "unused bytes before a tensor";
    Overlap = 15, "tensors overlap";
    Truncated = 16, "file ends within a tensor";
    TrailingBytes = 17, "bytes follow the last tensor";
    Missing = 18, "tensor of the network is missing";
    Unexpected = 19, "tensor does not belong to the network";
    Dtype = 20, "data type is not the network's";
    Shape = 21, "size of a dimension is not the network's";
    Classes = 22, "last layer has too few or too many outputs";
    Misaligned = 23, "tensor is not aligned in memory";
    NotFinite = 24, "value is NaN or infinite";
    Rank = 25, "number of dimensions is not the network's";
    EntrySyntax = 26, "header is not of the form of safetensors in a tensor's entry or behind it";
    PackedMisaligned = 100, "packed weights are not aligned to 64 bytes";
    NotPacked = 101, "not packed weights";
    PackedVersion = 102, "packed by another version of this crate";
    PackedNetwork = 103, "packed weights of another network";
    PackedPlan = 104, "packed weights of other sizes, or packed in another way";
    PackedStorage = 105, "weights are stored in an unknown way";
    PackedClasses = 106, "too few or too many classes";
    PackedLength = 107, "packed memory of another length";
    PackedTooLarge = 108, "weight beyond the range of half-width floats";
    PackedOverflow = 109, "weights overflow when they are packed";
    PackedNotFinite = 110, "packed weight is NaN or infinite";
    BackendUnavailable = 111, "CPU lacks the instructions of the backend";
    Images = 112, "values are no whole number of images";
    Logits = 113, "not as much room for logits as there are logits";
    WorkspaceLength = 114, "workspace too small for the batch";
    Internal = 115, "fault of this crate";
    Int8Factor = 116, "factor of pixels or scale of logits is not a number greater than zero";
    Int8Parameter = 117, "shift, bias, multiplier or scale of an int8 layer is out of range";
    Int8Weight = 118, "int8 weight is -128, or one that fills up is not zero";
    Int8Ranges = 119, "range of activations is not a number greater than zero, or missing";
    TransformedLength = 120, "memory for transformed weights of another length";
    NoVectors = 121, "no vectors for Winograd convolutions";
    EmptyImage = 200, "image has no pixels";
    ImageTooLarge = 201, "side of the image is too long";
    FrameLength = 202, "frame has another number of pixels than the network's input";
    CropTooLarge = 203, "side is resized to less than what is cut out of it reaches to";
}

/// Writes the number and the meaning, as `14: unused bytes before a tensor`.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", *self as u16, self.meaning())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packed::PackedError;
    use crate::preprocess::PreprocessError;
    use crate::safetensors::WeightsError;
    use std::{collections::BTreeSet, format};

    #[test]
    fn codes_are_distinct_and_in_order() {
        let numbers: BTreeSet<u16> = Code::ALL.iter().map(|code| *code as u16).collect();
        assert_eq!(numbers.len(), Code::ALL.len());
        assert!(Code::ALL.is_sorted_by_key(|code| *code as u16));
        let meanings: BTreeSet<&str> = Code::ALL.iter().map(|code| code.meaning()).collect();
        assert_eq!(meanings.len(), Code::ALL.len());
        assert_eq!(format!("{}", Code::Gap), "14: unused bytes before a tensor");
    }

    #[test]
    fn errors_are_small() {
        assert!(size_of::<WeightsError>() <= 32, "{}", size_of::<WeightsError>());
        assert!(size_of::<Result<(), WeightsError>>() <= 32);
        assert!(size_of::<PackedError>() <= 32, "{}", size_of::<PackedError>());
        assert!(size_of::<PreprocessError>() <= 24, "{}", size_of::<PreprocessError>());
    }
}
