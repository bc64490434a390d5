//! infer-core's reader of safetensors beside the safetensors crate: what it accepts, the crate accepts and reads the same.

use infer_core::safetensors::{Dtype, SafeTensors as Reader};
use safetensors::SafeTensors;

use crate::{Aligned, Input, planted_fault};

/// Tensors that there is room for.
const CAPACITY: usize = 8;

/// Runs the target: a file; or, by the first byte, a header whose length is put before it, and data of as many bytes as the second
/// byte says.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let file = match input.byte() % 4 {
        0 => input.0.to_vec(),
        _ => {
            let data = usize::from(input.byte()).min(input.0.len());
            let (header, data) = input.0.split_at(input.0.len() - data);
            [&(header.len() as u64).to_le_bytes()[..], header, data].concat()
        }
    };
    let aligned = Aligned::new(&file);
    let found = match Reader::<CAPACITY>::parse(aligned.bytes()) {
        Ok(found) => found,
        Err(error) => return assert!(!error.to_string().is_empty() && error.code() > 0),
    };
    let expected =
        SafeTensors::deserialize(&file).unwrap_or_else(|error| panic!("only infer-core accepts it: {error}"));
    assert_eq!(found.tensors().len(), expected.len());
    for tensor in found.tensors() {
        let other = expected.tensor(&tensor.name.to_string()).expect("the crate knows the name");
        assert_eq!(tensor.bytes, other.data());
        assert_eq!(tensor.dtype.to_string(), other.dtype().to_string());
        assert!(tensor.shape.sizes().iter().map(|size| *size as usize).eq(other.shape().iter().copied()));
    }
    let (_, header) = SafeTensors::read_metadata(&file).expect("the crate accepts it");
    let metadata = header.metadata().clone().unwrap_or_default();
    for (key, value) in &metadata {
        assert_eq!(&found.metadata(key).expect("infer-core knows the key").to_string(), value);
    }
    planted_fault(|| {
        found.tensors().iter().any(|tensor| matches!(tensor.dtype, Dtype::I16 | Dtype::U16 | Dtype::I32 | Dtype::U32))
    });
}
