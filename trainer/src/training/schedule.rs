//! Learning rate schedules: a factor that follows from the step alone, so that nothing need be kept.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// The course of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Course {
    /// The same in every step.
    Constant,
    /// Times [`Schedule::step_factor`] after every [`Schedule::step_epochs`] epochs.
    Step,
    /// Half a cosine down to zero at the end of the run. Loshchilov and Hutter, "SGDR: stochastic gradient descent with
    /// warm restarts", 2017, equation 5, without restarts.
    Cosine,
    /// From a 25th up to the full rate in the first 30 % of the steps, then down to a 250,000th, both by half a cosine.
    /// Smith and Topin, "Super-convergence", 2018, with the numbers of PyTorch's `OneCycleLR`; the momentum stays.
    OneCycle,
}

impl Course {
    /// All of them, by their names on the command line.
    pub const NAMES: [(&'static str, Self); 4] =
        [("constant", Self::Constant), ("step", Self::Step), ("cosine", Self::Cosine), ("one-cycle", Self::OneCycle)];
}

/// A learning rate's whole course.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// Course of the learning rate after the warm-up.
    pub course: Course,
    /// Epochs, or parts of one, in which the rate rises from zero in equal steps.
    pub warmup_epochs: f64,
    /// Epochs from one step of [`Course::Step`] to the next, at least 1.
    pub step_epochs: usize,
    /// Factor of one step of [`Course::Step`], 0 to 1.
    pub step_factor: f64,
}

impl Default for Schedule {
    /// Constant from the first step on.
    fn default() -> Self {
        Self { course: Course::Constant, warmup_epochs: 0.0, step_epochs: 3, step_factor: 0.1 }
    }
}

/// Share of the steps in which [`Course::OneCycle`] rises; the full rate over its first one; its first over its last.
const RISE: f64 = 0.3;
const FIRST: f64 = 25.0;
const LAST: f64 = 1e4;

impl std::fmt::Display for Course {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = Self::NAMES.iter().find(|(_, course)| course == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl Schedule {
    /// Whether the rate of a step depends on how many epochs the run has.
    pub fn depends_on_epochs(&self) -> bool {
        matches!(self.course, Course::Cosine | Course::OneCycle)
    }

    /// Factor of the learning rate in a step of the run, counted from 0, of `epochs` epochs of `epoch_steps` steps each. In an epoch of
    /// fewer steps, `step` grows by more than 1, so that the next one begins where it would: see [`place`].
    pub fn factor(&self, step: f64, epoch_steps: usize, epochs: usize) -> f64 {
        let epoch_steps = epoch_steps.max(1) as f64;
        let total = epoch_steps * epochs as f64;
        let warmup = (self.warmup_epochs * epoch_steps).round();
        // A place between two steps may lie within one step of the end.
        let rise = if step < warmup { ((step + 1.0) / warmup).min(1.0) } else { 1.0 };
        rise * match self.course {
            Course::Constant => 1.0,
            Course::Step => self.step_factor.powf((step / epoch_steps / self.step_epochs.max(1) as f64).floor()),
            Course::Cosine => half_cosine(1.0, 0.0, (step - warmup) / (total - warmup)),
            Course::OneCycle => {
                let top = RISE * total - 1.0;
                if step <= top {
                    half_cosine(1.0 / FIRST, 1.0, step / top)
                } else {
                    half_cosine(1.0, 1.0 / FIRST / LAST, (step - top) / (total - 1.0 - top))
                }
            }
        }
    }
}

/// Place in a run of step `step`, counted from 0 of `steps` in epoch `epoch`, counted from 1, in steps of epochs of `epoch_steps`. Where
/// `steps` is `epoch_steps`, it is the number of the steps before.
pub fn place((epoch, step): (usize, usize), steps: usize, epoch_steps: usize) -> f64 {
    let before = epoch.saturating_sub(1) as f64 * epoch_steps as f64;
    before + step as f64 * epoch_steps as f64 / steps.max(1) as f64
}

/// From `first` to `last` along half a cosine; `way` is how far, within 0 to 1. A way of no length (0 over 0) ends at once.
fn half_cosine(first: f64, last: f64, way: f64) -> f64 {
    let way = if way.is_nan() { 1.0 } else { way.clamp(0.0, 1.0) };
    last + (first - last) / 2.0 * (1.0 + (PI * way).cos())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn factors(schedule: Schedule, steps: [u64; 6]) -> [f64; 6] {
        steps.map(|step| schedule.factor(step as f64, 20, 5))
    }

    fn course(course: Course) -> Schedule {
        Schedule { course, ..Schedule::default() }
    }

    #[test]
    fn the_courses_are_pytorchs() {
        const STEPS: [u64; 6] = [0, 1, 28, 30, 70, 99];
        // From tests/pytorch/schedules.py with PyTorch 2.9.1.
        let cases = [
            (course(Course::OneCycle), [0.04, 0.042814, 0.997186, 0.999497, 0.366984, 0.000004]),
            (course(Course::Cosine), [1.0, 0.999753, 0.818712, 0.793893, 0.206107, 0.000247]),
            (Schedule { step_epochs: 2, step_factor: 0.5, ..course(Course::Step) }, [1.0, 1.0, 1.0, 1.0, 0.5, 0.25]),
        ];
        for (schedule, expected) in cases {
            for (factor, expected) in factors(schedule, STEPS).into_iter().zip(expected) {
                assert!((factor - expected).abs() < 1e-6, "{schedule:?}: {factor}, expected {expected}");
            }
        }
    }

    #[test]
    fn a_warmup_rises_in_equal_steps_and_the_rest_follows_it() {
        let warm = |course_of: Course| Schedule { warmup_epochs: 0.5, ..course(course_of) };
        assert_eq!(factors(warm(Course::Constant), [0, 1, 8, 9, 10, 99]), [0.1, 0.2, 0.9, 1.0, 1.0, 1.0]);
        let [first, .., top, after, last] = factors(warm(Course::Cosine), [0, 1, 8, 10, 11, 99]);
        assert_eq!((first, top), (0.1, 1.0));
        assert!(after < 1.0 && last > 0.0 && last < 0.001);
        // A short epoch's places lie between steps: one after the last whole step of the warm-up is not above the full rate.
        assert_eq!(warm(Course::Constant).factor(9.5, 20, 5), 1.0);
    }

    #[test]
    fn short_epochs_take_the_same_way_as_whole_ones() {
        // 20 steps, then 5, then 20.
        let steps = [(1, 20), (2, 5), (3, 20)];
        let places: Vec<_> = steps
            .iter()
            .flat_map(|&(epoch, steps)| (0..steps).map(move |step| place((epoch, step), steps, 20)))
            .collect();
        assert!(places[..20].iter().zip(0..).all(|(place, step)| *place == f64::from(step)));
        assert_eq!(places[20..25], [20.0, 24.0, 28.0, 32.0, 36.0]);
        assert!(places[25..].iter().zip(40..).all(|(place, step)| *place == f64::from(step)));
        let schedule = course(Course::OneCycle);
        assert_eq!(schedule.factor(places[44], 20, 3), 1.0 / FIRST / LAST);
    }

    proptest! {
        #[test]
        fn whole_epochs_count_their_steps(epoch in 1_usize..10_000, epoch_steps in 1_usize..100_000, share in 0.0..1.0) {
            let step = (share * epoch_steps as f64) as usize;
            let expected = (epoch as u64 - 1) * epoch_steps as u64 + step as u64;
            prop_assert_eq!(place((epoch, step), epoch_steps, epoch_steps), expected as f64);
        }

        #[test]
        fn a_factor_is_never_negative_and_never_above_one(
            course_of in prop::sample::select(Course::NAMES.map(|(_, course)| course).to_vec()),
            warmup_epochs in 0.0..10.0,
            epochs in 1_usize..20,
            epoch_steps in 1_usize..50,
            place in 0.0..1.0,
        ) {
            let schedule = Schedule { warmup_epochs, ..course(course_of) };
            let step = place * (epochs * epoch_steps) as f64;
            let factor = schedule.factor(step, epoch_steps, epochs);
            prop_assert!((0.0..=1.0).contains(&factor), "{factor}");
        }
    }
}
