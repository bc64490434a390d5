//! From logits to an answer: softmax and the best classes. The last step of the flow.

use heapless::Vec;
use libm::expf;
use micromath::F32Ext;

/// A class and how likely it is.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Prediction {
    /// Index of the class, as in the weights file's metadata.
    pub class: usize,
    /// 0 to 1.
    pub probability: f32,
}

/// Probabilities of the classes: `p[i] = exp(x[i] − max x) / Σ exp(x[j] − max x)`, each within 1e-6 of the exact one.
#[must_use]
pub fn softmax<const N: usize>(logits: &[f32; N]) -> [f32; N] {
    let mut probabilities = *logits;
    softmax_in_place(&mut probabilities);
    probabilities
}

/// [`softmax`] by micromath's exponential function, for CPUs on which its speed matters more than digits: each probability is within
/// 0.002 of the exact one. They add up to 1.
#[must_use]
pub fn softmax_approximate<const N: usize>(logits: &[f32; N]) -> [f32; N] {
    let mut probabilities = *logits;
    softmax_by(&mut probabilities, F32Ext::exp);
    probabilities
}

/// [`softmax`] of any number of logits, which become their probabilities.
///
/// An infinite logit is what it is the limit of: those that are ∞ share all of the probability, and where all are −∞, each has the
/// same. A logit that is NaN says nothing of its class, which gets a probability of 0 like one that is −∞; where all are NaN,
/// each has the same. So probabilities always add up to 1.
pub fn softmax_in_place(logits: &mut [f32]) {
    softmax_by(logits, expf);
}

fn softmax_by(logits: &mut [f32], exp: impl Fn(f32) -> f32) {
    // `max` passes over NaN.
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for logit in logits.iter_mut() {
        // Of infinities, the difference would be NaN.
        *logit = match *logit {
            logit if logit == max => 1.0,
            logit if logit.is_nan() || max == f32::INFINITY => 0.0,
            logit => exp(logit - max),
        };
    }
    let sum: f32 = logits.iter().sum();
    if sum > 0.0 {
        logits.iter_mut().for_each(|probability| *probability /= sum);
    } else {
        // All are NaN.
        logits.fill((logits.len() as f32).recip());
    }
}

/// The `K` most likely classes by their logits, the best first, of equals the one with the lower index; fewer where there
/// are fewer. Probabilities are those of [`softmax`].
///
/// ```
/// let top = infer_core::classify::top_k::<2, 3>(&[0.5, 2.0, 1.0]);
/// assert_eq!((top[0].class, top[1].class), (1, 2));
/// ```
#[must_use]
pub fn top_k<const K: usize, const N: usize>(logits: &[f32; N]) -> Vec<Prediction, K> {
    rank(logits, &softmax(logits))
}

/// Ranks by logits, of which two that are close may have the same probability.
fn rank<const K: usize, const N: usize>(logits: &[f32; N], probabilities: &[f32; N]) -> Vec<Prediction, K> {
    // An order without equals: the greater logit first, then the lower index; what is NaN last, whatever its sign, and zeros
    // of either sign are the same.
    let rank = |logit: f32| if logit.is_nan() { (true, 0.0) } else { (false, logit + 0.0) };
    let order = |a: (usize, f32), b: (usize, f32)| {
        let ((a_nan, a_logit), (b_nan, b_logit)) = (rank(a.1), rank(b.1));
        a_nan.cmp(&b_nan).then(b_logit.total_cmp(&a_logit)).then(a.0.cmp(&b.0))
    };
    let mut top = Vec::new();
    let mut last = None;
    // The best class of those behind the last one found, until there is none or no room. Nothing here can panic, not even
    // by what the optimiser sees, which the no-panic link test of the bare-metal example holds it to.
    while let Some(((class, logit), probability)) = (logits.iter().copied().enumerate().zip(probabilities))
        .filter(|(found, _)| last.is_none_or(|last| order(last, *found).is_lt()))
        .min_by(|(a, _), (b, _)| order(*a, *b))
    {
        if top.push(Prediction { class, probability: *probability }).is_err() {
            break;
        }
        last = Some((class, logit));
    }
    top
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exact(logits: &[f32; 10]) -> [f64; 10] {
        let max = logits.iter().fold(f64::NEG_INFINITY, |max, x| max.max(f64::from(*x)));
        let exps = logits.map(|x| (f64::from(x) - max).exp());
        exps.map(|e| e / exps.iter().sum::<f64>())
    }

    proptest! {
        #[test]
        fn softmax_is_within_its_stated_error(logits in proptest::array::uniform10(-100.0_f32..100.0), scale in 0.0_f32..1.0) {
            let logits = logits.map(|x| x * scale);
            let exact = exact(&logits);
            let (found, near) = (softmax(&logits), softmax_approximate(&logits));
            prop_assert!((found.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            prop_assert!((near.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            for i in 0..10 {
                prop_assert!((f64::from(found[i]) - exact[i]).abs() < 1e-6, "{} is not {}", found[i], exact[i]);
                prop_assert!((f64::from(near[i]) - exact[i]).abs() < 2e-3, "{} is not {}", near[i], exact[i]);
            }
        }

        #[test]
        fn top_k_is_a_stable_sort(logits in proptest::array::uniform8((0_u8..6).prop_map(f32::from))) {
            let mut classes = [0, 1, 2, 3, 4, 5, 6, 7];
            classes.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
            let probabilities = softmax(&logits);
            let top = top_k::<5, 8>(&logits);
            prop_assert_eq!(top.len(), 5);
            for (prediction, class) in top.iter().zip(classes) {
                prop_assert_eq!(*prediction, Prediction { class, probability: probabilities[class] });
            }
        }

        #[test]
        fn close_logits_keep_their_order(logits in proptest::array::uniform4(-0.7_f32..-0.69)) {
            let top = top_k::<4, 4>(&logits);
            prop_assert!(top.windows(2).all(|pair| logits[pair[0].class] >= logits[pair[1].class]));
        }
    }

    #[test]
    fn softmax_of_equals_and_of_extremes() {
        assert_eq!(softmax(&[3.0; 4]), [0.25; 4]);
        let p = softmax(&[-1e30, 0.0, 1e30]);
        assert_eq!(p, [0.0, 0.0, 1.0]);
    }

    #[test]
    fn infinities_are_limits_and_nan_is_last() {
        const INF: f32 = f32::INFINITY;
        const NAN: f32 = f32::NAN;
        let cases: [([f32; 4], [f32; 4], [usize; 4]); 7] = [
            ([INF, 0.0, -INF, 1e38], [1.0, 0.0, 0.0, 0.0], [0, 3, 1, 2]),
            ([0.0, INF, INF, -1.0], [0.0, 0.5, 0.5, 0.0], [1, 2, 0, 3]),
            ([-INF; 4], [0.25; 4], [0, 1, 2, 3]),
            ([-INF, 2.0, -INF, 2.0], [0.0, 0.5, 0.0, 0.5], [1, 3, 0, 2]),
            ([NAN, 1.0, -NAN, 1.0], [0.0, 0.5, 0.0, 0.5], [1, 3, 0, 2]),
            ([NAN, -INF, INF, -NAN], [0.0, 0.0, 1.0, 0.0], [2, 1, 0, 3]),
            ([NAN; 4], [0.25; 4], [0, 1, 2, 3]),
        ];
        for (logits, probabilities, order) in cases {
            assert_eq!(softmax(&logits), probabilities, "{logits:?}");
            assert_eq!(softmax_approximate(&logits), probabilities, "{logits:?}");
            let top = top_k::<4, 4>(&logits);
            assert_eq!([0, 1, 2, 3].map(|place: usize| top[place].class), order, "{logits:?}");
        }
        assert_eq!(top_k::<2, 2>(&[-0.0, 0.0])[0].class, 0);
    }

    #[test]
    fn top_none_is_empty() {
        assert!(top_k::<0, 1>(&[1.0]).is_empty());
        assert!(top_k::<3, 0>(&[]).is_empty());
        assert_eq!(top_k::<3, 1>(&[1.0]).len(), 1);
    }
}
