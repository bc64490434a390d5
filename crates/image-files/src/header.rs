//! Headers of safetensors files, written.

use std::io;

use serde_json::{Map, Value, json};

/// An entry of a header.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Name of the tensor.
    pub name: &'a str,
    /// Type of its values, as `F32`.
    pub dtype: &'a str,
    /// Its sizes.
    pub shape: &'a [usize],
    /// Bytes of its values.
    pub length: usize,
}

/// Makes the header of a safetensors file, which stands before the values: the length of the JSON, and the JSON of metadata and tensors, with spaces
/// behind so that the values begin at a multiple of `alignment`. The tensors' values follow each other in their order; the same
/// tensors and metadata always give the same bytes.
///
/// # Errors
/// Text that is no JSON.
pub fn header<'a>(
    metadata: impl IntoIterator<Item = (String, String)>,
    tensors: impl IntoIterator<Item = Entry<'a>>,
    alignment: usize,
) -> io::Result<Vec<u8>> {
    let metadata: Map<String, Value> = metadata.into_iter().map(|(key, value)| (key, value.into())).collect();
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), metadata.into());
    let mut begin = 0;
    for Entry { name, dtype, shape, length } in tensors {
        let end = begin + length;
        header.insert(name.to_owned(), json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}));
        begin = end;
    }
    let json = serde_json::to_vec(&header)?;
    let prefix = size_of::<u64>();
    let length = (prefix + json.len()).next_multiple_of(alignment.max(1)) - prefix;
    let mut bytes = (length as u64).to_le_bytes().to_vec();
    bytes.extend(json);
    bytes.resize(prefix + length, b' ');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_begin_at_a_multiple_and_follow_each_other() {
        let metadata = || [("key".to_string(), "a \"quoted\" value".to_string())];
        let tensors = [
            Entry { name: "b", dtype: "F32", shape: &[2, 3], length: 24 },
            Entry { name: "a", dtype: "U8", shape: &[5], length: 5 },
        ];
        for alignment in [1, 8, 64] {
            let bytes = header(metadata(), tensors, alignment).unwrap();
            assert!(bytes.len().is_multiple_of(alignment));
            let (length, json) = bytes.split_first_chunk().unwrap();
            assert_eq!(u64::from_le_bytes(*length), json.len() as u64);
            let json: Value = serde_json::from_slice(json).unwrap();
            assert_eq!(json["__metadata__"]["key"], "a \"quoted\" value");
            assert_eq!(json["b"], json!({"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}));
            assert_eq!(json["a"]["data_offsets"], json!([24, 29]));
        }
    }
}
