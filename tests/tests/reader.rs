//! infer-core's reader against the safetensors crate, on valid files and on mutated ones.
//!
//! What ours accepts, the crate accepts and reads the same; what the crate writes, ours accepts.

use infer_core::safetensors as ours;
use proptest::prelude::*;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::collections::{BTreeSet, HashMap};
use tests::file::Aligned;

const CAPACITY: usize = 8;

/// Checks that what ours accepts, the crate accepts and reads the same. Whether ours accepted.
fn compare(bytes: &[u8]) -> bool {
    let file = Aligned::new(bytes);
    let Ok(found) = ours::SafeTensors::<CAPACITY>::parse(file.bytes()) else { return false };
    let expected = SafeTensors::deserialize(bytes).unwrap_or_else(|e| panic!("only ours accepts it: {e}"));
    assert_eq!(found.tensors().len(), expected.len());
    for tensor in found.tensors() {
        let other = expected.tensor(&tensor.name.to_string()).expect("the crate knows the name");
        assert_eq!(tensor.bytes, other.data());
        assert_eq!(tensor.dtype.to_string(), other.dtype().to_string());
        assert!(tensor.shape.sizes().iter().map(|s| *s as usize).eq(other.shape().iter().copied()));
    }
    let (_, header) = SafeTensors::read_metadata(bytes).expect("the crate accepts it");
    for (key, value) in header.metadata().iter().flatten() {
        assert_eq!(&found.metadata(key).expect(key).to_string(), value);
    }
    true
}

const DTYPES: [(Dtype, usize); 9] = [
    (Dtype::BOOL, 1),
    (Dtype::U8, 1),
    (Dtype::F8_E4M3, 1),
    (Dtype::I16, 2),
    (Dtype::F16, 2),
    (Dtype::BF16, 2),
    (Dtype::F32, 4),
    (Dtype::F64, 8),
    (Dtype::I64, 8),
];

/// A valid file: up to eight tensors of any type and shape, with metadata of any text. At least one, since version 0.8.0
/// of the crate writes a file that it cannot read itself where there is metadata and no tensor.
fn valid() -> impl Strategy<Value = Vec<u8>> {
    let tensor = (0..DTYPES.len(), prop::collection::vec(0_usize..4, 0..4), any::<u8>());
    let metadata = prop::option::of(prop::collection::hash_map(any::<String>(), any::<String>(), 0..4));
    (prop::collection::vec((any::<String>(), tensor), 1..=CAPACITY), metadata).prop_map(|(tensors, metadata)| {
        let mut names = BTreeSet::from(["__metadata__".to_owned()]);
        let tensors: Vec<_> = tensors.into_iter().filter(|(name, _)| names.insert(name.clone())).collect();
        let data: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(_, (dtype, shape, byte))| vec![*byte; shape.iter().product::<usize>() * DTYPES[*dtype].1])
            .collect();
        let views = tensors.iter().zip(&data).map(|((name, (dtype, shape, _)), data)| {
            (name, TensorView::new(DTYPES[*dtype].0, shape.clone(), data).expect("the data fills the shape"))
        });
        safetensors::serialize(views, metadata.map(HashMap::from_iter)).expect("the tensors make a file")
    })
}

/// Replaces `range` of the header by `text` and corrects the header's length.
fn splice(file: &[u8], at: usize, remove: usize, text: &[u8]) -> Vec<u8> {
    let length = usize::try_from(u64::from_le_bytes(*file.first_chunk().expect("a length"))).expect("a length");
    let (header, data) = file[8..].split_at(length);
    let at = at % (header.len() + 1);
    let end = (at + remove).min(header.len());
    let header = [&header[..at], text, &header[end..]].concat();
    [&(header.len() as u64).to_le_bytes()[..], &header, data].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn valid_files_are_read_alike(file in valid()) {
        prop_assert!(compare(&file), "ours refuses what the crate wrote");
    }

    #[test]
    fn mutated_bytes(mut file in valid(), at: prop::sample::Index, byte: u8) {
        let at = at.index(file.len());
        file[at] = byte;
        compare(&file);
    }

    #[test]
    fn truncated_and_extended(mut file in valid(), at: prop::sample::Index, more in prop::collection::vec(any::<u8>(), 0..9)) {
        let whole = file.len();
        file.truncate(at.index(whole + 1));
        file.extend(more);
        // A change of length is never let pass, unless it is the old file again.
        let accepted = compare(&file);
        prop_assert!(file.len() == whole || !accepted);
    }

    #[test]
    fn mutated_headers(
        file in valid(),
        at: usize,
        remove in 0_usize..6,
        text in prop::sample::select(vec![
            "", " ", "0", "1", "-1", "00", "1.0", "1e0", "99999999999999999999", "\"", "\\", "\\u0061", "\\ud83d", "\\n", ",",
            ":", "{", "}", "[", "]", "[]", "{}", "null", "\"dtype\":\"F32\",", "\"shape\":[1],", "\"x\":1,", "\n", "\u{1}", "é",
            "\"__metadata__\":{},", "\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},",
        ]),
    ) {
        compare(&splice(&file, at % 4096, remove, text.as_bytes()));
    }

    #[test]
    fn anything(header in "[ -~]{0,40}", data in prop::collection::vec(any::<u8>(), 0..8)) {
        let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
        compare(&file);
    }
}
