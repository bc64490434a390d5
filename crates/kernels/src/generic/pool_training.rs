//! Max-pooling that keeps where its maxima were, and its gradient. Plain Rust over blocks of channels, of which the compiler
//! makes the vector instructions of each backend.

use crate::transforms::{CHANNELS, MaxPool, MaxPoolGradient};

/// See [`MaxPool`]; nothing is done where the sizes do not fit.
#[inline(always)]
pub(crate) fn max_pool(pool: MaxPool<'_>) {
    let MaxPool { input, width, channels, kernel, stride, columns, output, winners } = pool;
    let (input, _) = input.as_chunks::<CHANNELS>();
    let blocks = channels / CHANNELS;
    let places = output.as_chunks_mut::<CHANNELS>().0.chunks_exact_mut(blocks);
    let winners = winners.as_chunks_mut::<CHANNELS>().0.chunks_exact_mut(blocks);
    for (place, (output, winners)) in places.zip(winners).enumerate() {
        let corner = (place / columns * stride * width + place % columns * stride) * blocks;
        for (block, (output, winners)) in output.iter_mut().zip(winners).enumerate() {
            let mut largest = [f32::NEG_INFINITY; CHANNELS];
            let mut winner = [0_u32; CHANNELS];
            for k in 0..kernel {
                for l in 0..kernel {
                    let Some(values) = input.get(corner + (k * width + l) * blocks + block) else { return };
                    let tap = (k * kernel + l) as u32;
                    for ((largest, winner), value) in largest.iter_mut().zip(&mut winner).zip(values) {
                        // A NaN wins over everything, a later one over an earlier one. The first value always wins, as it
                        // has number 0 already: a window of −∞ keeps that.
                        let wins = *value > *largest || value.is_nan();
                        *winner = if wins { tap } else { *winner };
                        *largest = if wins { *value } else { *largest };
                    }
                }
            }
            *output = largest;
            *winners = winner.map(|winner| winner as u8);
        }
    }
}

/// See [`MaxPoolGradient`]; nothing is done where the sizes do not fit.
#[inline(always)]
pub(crate) fn max_pool_gradient(pool: MaxPoolGradient<'_>) {
    let MaxPoolGradient { output, winners, output_gradient, relu, width, channels, kernel, stride, columns, .. } = pool;
    let (input_gradient, _) = pool.input_gradient.as_chunks_mut::<CHANNELS>();
    let blocks = channels / CHANNELS;
    let outputs = output.as_chunks::<CHANNELS>().0.chunks_exact(blocks);
    let gradients = output_gradient.as_chunks::<CHANNELS>().0.chunks_exact(blocks);
    let winners = winners.as_chunks::<CHANNELS>().0.chunks_exact(blocks);
    for (place, ((outputs, gradients), winners)) in outputs.zip(gradients).zip(winners).enumerate() {
        let corner = (place / columns * stride * width + place % columns * stride) * blocks;
        for (block, ((output, gradient), winners)) in outputs.iter().zip(gradients).zip(winners).enumerate() {
            let winners = winners.map(u32::from);
            let mut gradient = *gradient;
            for (gradient, output) in gradient.iter_mut().zip(output) {
                *gradient = if relu && *output == 0.0 { 0.0 } else { *gradient };
            }
            for k in 0..kernel {
                for l in 0..kernel {
                    let Some(sums) = input_gradient.get_mut(corner + (k * width + l) * blocks + block) else { return };
                    let tap = (k * kernel + l) as u32;
                    for ((sum, gradient), winner) in sums.iter_mut().zip(gradient).zip(winners) {
                        *sum += if winner == tap { gradient } else { 0.0 };
                    }
                }
            }
        }
    }
}
