//! Each refusal, on files made by hand.

use super::*;
use std::{format, string::String, vec::Vec as Bytes};

/// A file, its data at an address that is a multiple of four.
struct File(Bytes<u32>, usize);

impl File {
    fn raw(bytes: &[u8]) -> Self {
        let mut words = std::vec![0_u32; bytes.len().div_ceil(4)];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks(4)) {
            let mut padded = [0; 4];
            padded[..chunk.len()].copy_from_slice(chunk);
            *word = u32::from_ne_bytes(padded);
        }
        Self(words, bytes.len())
    }

    /// A header, padded with spaces so that the data is aligned, and data.
    fn new(header: &str, data: &[u8]) -> Self {
        let padded = format!("{header:<width$}", width = header.len().next_multiple_of(8));
        Self::unpadded(&padded, data)
    }

    fn unpadded(header: &str, data: &[u8]) -> Self {
        let mut bytes = Bytes::from((header.len() as u64).to_le_bytes());
        bytes.extend(header.bytes());
        bytes.extend(data);
        Self::raw(&bytes)
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the words hold at least as many bytes.
        unsafe { core::slice::from_raw_parts(self.0.as_ptr().cast(), self.1) }
    }

    fn parse(&self) -> Result<SafeTensors<'_, 3>, WeightsError> {
        SafeTensors::parse(self.bytes())
    }
}

/// The error for a header over `length` bytes of data.
fn refusal(header: &str, length: usize) -> WeightsError {
    File::new(header, &std::vec![0; length]).parse().expect_err(header)
}

fn tensor(name: &str, dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
}

fn name<const N: usize>(text: &str) -> TensorName<N> {
    Cursor::new(&format!("\"{text}\"")).string().unwrap().into()
}

#[test]
fn reads_tensors_and_metadata() {
    let header = format!(
        r#"{{"__metadata__":{{"format":"pt","classes":"[\"a\",\"b\"]"}},{},{}}}"#,
        tensor("b", "I8", "[3]", "[8,11]"),
        tensor("a\\u002Ew", "F32", "[1, 2]", "[0,8]"),
    );
    let data = [1.5_f32.to_le_bytes(), (-2.0_f32).to_le_bytes(), [1, 2, 3, 0]].concat();
    let file = File::new(&header, &data[..11]);
    let file = file.parse().unwrap();
    assert_eq!(file.tensors().len(), 2);
    assert_eq!(file.array::<[[f32; 2]; 1]>("a.w").unwrap(), &[[1.5, -2.0]]);
    assert_eq!(file.tensor("b").unwrap().bytes, [1, 2, 3]);
    assert_eq!(file.tensor("b").unwrap().dtype, Dtype::I8);
    assert_eq!(format!("{}", file.metadata("classes").unwrap()), r#"["a","b"]"#);
    assert!(file.metadata("epochs").is_none());
    assert_eq!(file.only(&["a.w", "b"]), Ok(()));
}

#[test]
fn an_empty_file_of_tensors_is_valid() {
    assert!(File::new("{}", &[]).parse().unwrap().tensors().is_empty());
    assert!(File::new(r#"{"__metadata__":{}}"#, &[]).parse().is_ok());
}

#[test]
fn refuses_a_bad_start() {
    let parse = |bytes: &[u8]| File::raw(bytes).parse().unwrap_err();
    assert_eq!(parse(&[]), WeightsError::NoHeader { found: 0 });
    assert_eq!(parse(&[0; 7]), WeightsError::NoHeader { found: 7 });
    assert_eq!(parse(&[255; 16]), WeightsError::HeaderTooLong { found: u64::MAX });
    assert_eq!(parse(&[3, 0, 0, 0, 0, 0, 0, 0, b'{', b'}']), WeightsError::HeaderTruncated { expected: 3, found: 2 });
    assert_eq!(parse(&[0; 8]), WeightsError::HeaderSyntax { offset: 0 });
    assert_eq!(parse(&[3, 0, 0, 0, 0, 0, 0, 0, b'{', b'"', 0xFF]), WeightsError::HeaderNotUtf8 { offset: 2 });
    assert_eq!(parse(&[3, 0, 0, 0, 0, 0, 0, 0, b' ', b'{', b'}']), WeightsError::HeaderSyntax { offset: 0 });
}

#[test]
fn refuses_a_header_of_another_form() {
    let syntax = |header: &str| {
        let error = refusal(header, 4);
        assert!(matches!(error, WeightsError::HeaderSyntax { .. } | WeightsError::EntrySyntax { .. }), "{header}");
    };
    // A fault within an entry or behind it is told with the tensor.
    let told = |header: &str| format!("{}", refusal(header, 4));
    let (good, bad) = (tensor("a", "F32", "[1]", "[0,4]"), tensor("b", "F32", "[1]\"", "[4,8]"));
    assert!(
        told(&format!("{{{good},{bad}}}")).starts_with("tensor b: the header is not a safetensors header at byte ")
    );
    assert!(told(&format!("{{{good} x")).starts_with("tensor a: the header is not a safetensors header at byte "));
    assert!(told(&format!("{{{good}}} x")).starts_with("tensor a: the header is not"));
    assert!(told("{x").starts_with("the header is not a safetensors header at byte 1"));
    for header in ["{", "[]", "{} {}", "{\"a\"}", "{\"a\":1}", "{\"a\":{\"dtype\":5}}", "{\"__metadata__\":{\"a\":1}}"]
    {
        syntax(header);
    }
    for (shape, offsets) in [("[-1]", "[0,4]"), ("[1.0]", "[0,4]"), ("1", "[0,4]"), ("[1]", "[0]"), ("[1]", "[0,4,4]")]
    {
        syntax(&format!("{{{}}}", tensor("a", "F32", shape, offsets)));
    }
    let a = name("a");
    for (field, header) in [
        (Field::Dtype, r#"{"a":{"shape":[1],"data_offsets":[0,4]}}"#),
        (Field::Shape, r#"{"a":{"dtype":"F32","data_offsets":[0,4]}}"#),
        (Field::DataOffsets, r#"{"a":{"dtype":"F32","shape":[1]}}"#),
    ] {
        assert_eq!(refusal(header, 4), WeightsError::MissingField { tensor: a, field });
    }
    for header in [r#"{"a":{"order":"C"}}"#, r#"{"a":{"dtype":"F32","dtype":"F32"}}"#] {
        assert_eq!(refusal(header, 4), WeightsError::UnexpectedField { tensor: a });
    }
    let unknown = format!("{{{}}}", tensor("a", "F31", "[1]", "[0,4]"));
    assert_eq!(refusal(&unknown, 4), WeightsError::UnknownDtype { tensor: a });
}

#[test]
fn refuses_names_that_stand_twice() {
    let a = tensor("a", "U8", "[1]", "[0,1]");
    let b = tensor("\\u0061", "U8", "[1]", "[1,2]");
    assert_eq!(refusal(&format!("{{{a},{b}}}"), 2), WeightsError::Duplicate { name: name("a") });
    let twice = r#"{"__metadata__":{},"__metadata__":{}}"#;
    assert_eq!(refusal(twice, 0), WeightsError::Duplicate { name: name("__metadata__") });
}

#[test]
fn refuses_sizes_that_do_not_fit() {
    let one = |dtype, shape, offsets, length| refusal(&format!("{{{}}}", tensor("a", dtype, shape, offsets)), length);
    let a = name("a");
    let bytes = ByteCount::new;
    let size =
        |expected, found| WeightsError::Size { tensor: name("a"), expected: bytes(expected), found: bytes(found) };
    assert_eq!(one("F32", "[2]", "[0,4]", 4), size(8, 4));
    assert_eq!(one("F32", "[0]", "[4,0]", 4), size(0, 0));
    assert_eq!(one("F4", "[1]", "[0,1]", 1), size(1, 1));
    let overflow = WeightsError::Overflow { tensor: a };
    assert_eq!(one("F32", "[4294967295,4294967295,2]", "[0,4]", 4), overflow);
    assert_eq!(one("F32", "[4294967295,2147483648]", "[0,4]", 4), overflow);
    assert_eq!(one("F32", "[18446744073709551616]", "[0,4]", 4), overflow);
    assert_eq!(one("F32", "[1]", "[0,18446744073709551620]", 4), overflow);
    let long = WeightsError::TooManyDimensions { tensor: a };
    assert_eq!(one("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]", 4), long);
    assert_eq!(
        one("F32", "[2]", "[0,8]", 4),
        WeightsError::Truncated { tensor: name("a"), expected: bytes(8), found: bytes(4) }
    );
    // More than a 32-bit address can hold, in a file that is not that long.
    let far = one("U8", "[1000,5000000]", "[0,5000000000]", 4);
    assert_eq!(far, WeightsError::Truncated { tensor: name("a"), expected: bytes(5_000_000_000), found: bytes(4) });
    assert_eq!(one("F32", "[1]", "[0,4]", 7), WeightsError::TrailingBytes { count: 3 });
}

#[test]
fn refuses_gaps_overlaps_and_too_many() {
    let two = |first: &str, second: &str, length| {
        refusal(&format!("{{{},{}}}", tensor("b", "U8", "[4]", second), tensor("a", "U8", "[4]", first)), length)
    };
    let (b, bytes) = (name("b"), ByteCount::new);
    assert_eq!(two("[0,4]", "[5,9]", 9), WeightsError::Gap { tensor: b, expected: bytes(4), found: bytes(5) });
    assert_eq!(two("[0,4]", "[2,6]", 6), WeightsError::Overlap { tensor: b, expected: bytes(4), found: bytes(2) });
    let many = ["a", "b", "c", "d"].map(|name| tensor(name, "U8", "[0]", "[0,0]")).join(",");
    assert_eq!(refusal(&format!("{{{many}}}"), 0), WeightsError::TooManyTensors { limit: 3 });
}

#[test]
fn refuses_tensors_that_are_not_the_networks() {
    let header = format!("{{{},{}}}", tensor("a", "F32", "[2]", "[0,8]"), tensor("h", "F16", "[2]", "[8,12]"));
    let values = [[0; 4], f32::INFINITY.to_le_bytes(), [0; 4]].concat();
    let file = File::new(&header, &values);
    let tensors = file.parse().unwrap();
    assert_eq!(tensors.array::<[f32; 2]>("c"), Err(WeightsError::Missing { tensor: "c" }));
    let rank = WeightsError::Rank { tensor: "a", expected: 2, found: 1 };
    assert_eq!(tensors.array::<[[f32; 2]; 1]>("a"), Err(rank));
    let shape = WeightsError::Shape { tensor: "a", dimension: 0, expected: 3, found: 2 };
    assert_eq!(tensors.array::<[f32; 3]>("a"), Err(shape));
    let half = WeightsError::Dtype { tensor: "h", expected: Dtype::F32, found: Dtype::F16 };
    assert_eq!(tensors.array::<[f32; 2]>("h"), Err(half));
    assert_eq!(tensors.array::<[f32; 2]>("a"), Err(WeightsError::NotFinite { tensor: "a", index: 1 }));
    let unscanned = tensors.clone().unscanned();
    assert_eq!(unscanned.array::<[f32; 2]>("a"), Ok(&[0.0, f32::INFINITY]));
    assert_eq!(unscanned.array::<[f32; 3]>("a"), Err(shape));
    assert_eq!(unscanned.array::<[f32; 2]>("h"), Err(half));
    assert_eq!(tensors.only(&["a"]), Err(WeightsError::Unexpected { tensor: name("h") }));

    let header = format!("{{{}}}", tensor("a", "F32", "[1]", "[0,4]"));
    let padded = format!("{header:<width$}", width = header.len().next_multiple_of(4) + 1);
    let file = File::unpadded(&padded, &[0; 4]);
    assert_eq!(file.parse().unwrap().array::<[f32; 1]>("a"), Err(WeightsError::Misaligned { tensor: "a" }));
}

#[test]
fn offsets_that_no_file_has_are_refused() {
    let far = |offsets: &str| refusal(&format!("{{{}}}", tensor("a", "U8", "[4]", offsets)), 4);
    assert_eq!(far("[0,281474976710656]"), WeightsError::Overflow { tensor: name("a") });
    assert!(matches!(far("[0,281474976710655]"), WeightsError::Size { found, .. } if found.get() == (1 << 48) - 1));
    assert_eq!(ByteCount::new(u64::MAX).get(), (1 << 48) - 1);
}

#[test]
fn finds_the_first_value_that_is_not_finite() {
    for at in [0, 1, 1023, 1024, 2500] {
        let mut values = std::vec![1.0; 2501];
        assert_eq!(first_not_finite(&values), None);
        values[2500] = f32::INFINITY;
        values[at] = f32::NAN;
        assert_eq!(first_not_finite(&values), Some(at));
    }
}

#[test]
fn errors_name_the_tensor_and_what_was_found() {
    let long = "x".repeat(80);
    let error = refusal(&format!("{{{}}}", tensor(&long, "F32", "[2]", "[0,4]")), 4);
    let text = format!("{error}");
    assert_eq!(text, format!("tensor {}…: shape and dtype need 8 bytes, data_offsets hold 4", "x".repeat(18)));
    let escapes = format!("{}", refusal(&format!("{{{}}}", tensor("\\u001b[31m", "F32", "[2]", "[0,4]")), 4));
    assert!(escapes.starts_with("tensor \\u{1b}[31m: "), "{escapes}");
}

#[test]
fn a_file_of_a_single_tensor_needs_no_table() {
    let one = tensor("net.int8", "U8", "[3]", "[0,3]");
    let file = File::new(&format!(r#"{{"__metadata__":{{"a":"b"}},{one}}}"#), &[7, 8, 9]);
    let found = single(file.bytes(), "net.int8").unwrap();
    assert_eq!((found.dtype, found.shape.sizes(), found.bytes), (Dtype::U8, &[3][..], &[7, 8, 9][..]));

    let refusal = |header: &str, length: usize| {
        let file = File::new(header, &std::vec![0; length]);
        single(file.bytes(), "net.int8").expect_err(header)
    };
    // More tensors than any table has room for.
    let others: Bytes<String> =
        (0..300).map(|i| tensor(&format!("t{i}"), "U8", "[1]", &format!("[{i},{}]", i + 1))).collect();
    let others = others.join(",");
    assert_eq!(refusal(&format!("{{{others}}}"), 300), WeightsError::Missing { tensor: "net.int8" });
    assert_eq!(refusal("{}", 0), WeightsError::Missing { tensor: "net.int8" });
    assert_eq!(refusal(&format!("{{{one},{others}}}"), 300), WeightsError::Unexpected { tensor: name("t0") });
    assert_eq!(refusal(&format!("{{{one},{one}}}"), 3), WeightsError::Duplicate { name: name("net.int8") });
    assert_eq!(refusal(&format!("{{{one}}}"), 4), WeightsError::TrailingBytes { count: 1 });
    let shifted = tensor("net.int8", "U8", "[3]", "[1,4]");
    let gap = WeightsError::Gap { tensor: name("net.int8"), expected: ByteCount::new(0), found: ByteCount::new(1) };
    assert_eq!(refusal(&format!("{{{shifted}}}"), 4), gap);
    let truncated =
        WeightsError::Truncated { tensor: name("net.int8"), expected: ByteCount::new(3), found: ByteCount::new(2) };
    assert_eq!(refusal(&format!("{{{one}}}"), 2), truncated);
    assert!(matches!(refusal(&format!("{{{one},}}"), 3), WeightsError::EntrySyntax { .. }));
}
