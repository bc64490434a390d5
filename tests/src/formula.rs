//! Values by a formula, the same as in `tests/pytorch/networks.py`.

/// `count` values from −1 to 1: splitmix64 of the position, its upper 24 bits. Each stream gives others.
pub fn values(stream: u64, count: usize) -> impl Iterator<Item = f64> {
    (1..=count as u64).map(move |i| {
        let mut z = (i + (stream << 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f64 / 8_388_608.0 - 1.0
    })
}

/// An image of `side` × `side` values, 0 to 1.
#[must_use]
pub fn image(side: usize) -> Vec<f32> {
    unit(1000, side * side)
}

/// `count` values from 0 to 1.
#[must_use]
pub fn unit(stream: u64, count: usize) -> Vec<f32> {
    values(stream, count).map(|v| ((v + 1.0) / 2.0) as f32).collect()
}

/// The parameter number `index` of a network: uniform in ±√(6 / fan-in) for weights, which keeps the size of activations
/// (He et al. 2015) and so gives logits of order 1 to 10, in ±0.1 for biases.
#[must_use]
pub fn parameter(index: usize, shape: &[usize]) -> Vec<f32> {
    let fan_in: usize = shape.iter().skip(1).product();
    let scale = if shape.len() > 1 { (6.0 / fan_in as f64).sqrt() } else { 0.1 };
    values(index as u64, shape.iter().product()).map(|v| (v * scale) as f32).collect()
}
