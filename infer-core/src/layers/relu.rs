//! Rectified linear unit.

use crate::tensor::FloatArray;

/// `x ← max(x, 0)` for each value of a tensor or vector, in place, and returns it. NaN stays NaN, as in PyTorch.
pub fn relu<A: FloatArray>(x: &mut A) -> &mut A {
    for value in x.values_mut() {
        *value = if *value < 0.0 { 0.0 } else { *value };
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_values_become_zero() {
        let mut values = [-1.0, 0.0, 2.5, f32::NEG_INFINITY, f32::INFINITY, f32::NAN];
        relu(&mut values);
        assert_eq!(values[..5], [0.0, 0.0, 2.5, 0.0, f32::INFINITY]);
        assert!(values[5].is_nan());
    }
}
