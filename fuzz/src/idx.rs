//! IDX files: what is read is what the file says, plain or gzipped, and a plain file that is right is read.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use trainer::data::idx::Idx;

use crate::planted_fault;

/// Larger files are not looked at, decompressed.
const MOST_BYTES: u64 = 1 << 20;

/// Runs the target: the input is the file.
pub fn run(file: &[u8]) {
    let plain = match file.starts_with(&[0x1f, 0x8b]) {
        false => Some(file.to_vec()),
        true => {
            let mut plain = Vec::new();
            let read = MultiGzDecoder::new(file).take(MOST_BYTES).read_to_end(&mut plain);
            if plain.len() as u64 == MOST_BYTES {
                return;
            }
            read.ok().map(|_| plain)
        }
    };
    compare::<1>(file, plain.as_deref());
    compare::<3>(file, plain.as_deref());
}

fn compare<const RANK: usize>(file: &[u8], plain: Option<&[u8]>) {
    let found = Idx::<RANK>::read(file);
    // By the format's description.
    let is_right = plain.is_some_and(|plain| {
        let elements = plain.len().checked_sub(4 + 4 * RANK);
        let dimensions = plain.get(4..4 + 4 * RANK).unwrap_or_default().chunks_exact(4);
        let product =
            dimensions.map(|bytes| bytes.iter().fold(0, |value, byte| value << 8 | u128::from(*byte))).product();
        plain.starts_with(&[0, 0, 8, RANK as u8])
            && product > 0
            && elements.is_some_and(|found| found as u128 == product)
    });
    match found {
        Ok(found) => {
            assert!(is_right, "read, but not right: {:?}", found.dimensions());
            assert_eq!(Some(&found.to_bytes()[..]), plain);
            assert_eq!(found.dimensions().iter().product::<usize>(), found.elements().len());
            planted_fault(|| found.elements().iter().any(|element| *element > 9));
        }
        Err(error) => {
            assert!(!is_right, "right, but refused: {error}");
            assert!(!error.to_string().is_empty());
        }
    }
}
