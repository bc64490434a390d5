//! Values that other programs made, in `tests/golden`.

use serde_json::Value;

/// A file of golden values.
///
/// # Panics
/// There is none of that name.
#[must_use]
pub fn read(name: &str) -> Value {
    let path = format!("{}/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(&path).expect(&path)).expect(&path)
}

/// The numbers of an array.
///
/// # Panics
/// It is no array of numbers.
#[must_use]
pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("an array").iter().map(|v| v.as_f64().expect("a number")).collect()
}
