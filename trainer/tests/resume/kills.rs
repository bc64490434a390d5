//! A campaign of SIGKILLs at random moments of a run: reading data, within a step, writing a checkpoint, at the end. The run goes on
//! each time, and once it ends, it has ended as one that nobody disturbed; then another begins.
//!
//! `ALEXNET_KILLS` is the number of kills, `ALEXNET_KILLS_SEED` begins another sequence of moments: see `scripts/kill-runs`.

use std::{
    env, fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use safetensors::SafeTensors;

use crate::run::{NEW, ON, checkpoints, finish, leftovers, results, steps, text, trainer, wait_for_steps};

/// AlexNet on as few images as make two epochs of three steps.
const ALEXNET: [&str; 12] = [
    "--network=alexnet",
    "--out=run",
    "--epochs=2",
    "--train-limit=12",
    "--batch-size=4",
    "--validation=4",
    "--test-limit=4",
    "--optimiser=adamw",
    "--learning-rate=0.0001",
    "--keep-checkpoints=1",
    "--shift=2",
    "--seed=7",
];

/// A number from the environment.
fn from_environment(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

/// Times of a run that nobody disturbs: until its first step, of all its steps, and behind the last one.
fn measure(folder: &Path, arguments: &[&str]) -> (usize, [Duration; 3]) {
    let start = Instant::now();
    let mut child = trainer(folder, arguments).spawn().unwrap();
    wait_for_steps(&mut child, folder, 1);
    let first = start.elapsed();
    let mut last = first;
    let mut made = 1;
    while child.try_wait().unwrap().is_none() {
        let now = steps(folder);
        if now > made {
            (made, last) = (now, start.elapsed());
        }
        thread::sleep(Duration::from_micros(500));
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    (steps(folder), [first, last.saturating_sub(first), start.elapsed().saturating_sub(last)])
}

/// Check that what lies in a run's folder under its own name is whole, whenever the run was killed.
fn check_whole(folder: &Path) {
    let weights = fs::read_dir(folder.join("run")).into_iter().flatten().map(|entry| entry.unwrap().path());
    let weights = weights.filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    for path in weights.chain(checkpoints(folder)) {
        let file = fs::read(&path).unwrap();
        assert!(SafeTensors::deserialize(&file).is_ok(), "{} is not whole", path.display());
    }
}

/// Kills runs with these arguments, so many times.
fn campaign(arguments: &[&str], kills: u64) {
    let expected = tempfile::tempdir().unwrap();
    let (all, [start, middle, end]) = measure(expected.path(), arguments);
    // Nothing half-written, as many checkpoints as are kept, and what came of the run.
    let left = |folder: &Path| (leftovers(folder), checkpoints(folder).len(), results(folder));
    let expected = left(expected.path());
    assert_eq!(expected.0, 0);
    let mut random = StdRng::seed_from_u64(from_environment("ALEXNET_KILLS_SEED", 1));
    let mut upto = |time: Duration| time.mul_f64(random.gen_range(0.0..1.0));
    // Where kills came: before the run's first step, between steps, behind the last one; and in the middle of a file.
    let (mut killed, mut places, mut half_written, mut ends) = (0, [0_u64; 3], 0, 0);
    let mut folder = tempfile::tempdir().unwrap();
    while killed < kills || ends == 0 {
        let begun = folder.path().join("run/config.json").exists();
        let arguments = if begun { &ON[..] } else { arguments };
        let before = steps(folder.path());
        let mut child = trainer(folder.path(), arguments).spawn().unwrap();
        if killed < kills {
            // One in eight comes before this start's first step, the others some steps later, or behind the last one.
            if upto(Duration::from_secs(8)) < Duration::from_secs(1) {
                // Early ones more often: the machine may be faster now than when the time was taken.
                let latest = upto(start);
                thread::sleep(upto(latest));
            } else if before == all {
                // Half of them come too late, and it ends: else a run that has come so far would be killed there again and again.
                thread::sleep(upto(2 * (start + end)));
            } else {
                let further = upto(Duration::from_secs(3)).as_secs() as usize;
                let wanted = (before + 1 + further).min(all);
                wait_for_steps(&mut child, folder.path(), wanted);
                thread::sleep(upto(if wanted == all { end } else { 2 * middle / all as u32 }));
            }
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        check_whole(folder.path());
        if output.status.success() {
            assert!(left(folder.path()) == expected, "after {killed} kills, an end differs: ALEXNET_KILLS_SEED");
            ends += 1;
            folder = tempfile::tempdir().unwrap();
            continue;
        }
        assert_eq!(output.status.code(), None, "after {killed} kills: {}", text(&output.stderr));
        killed += 1;
        let made = steps(folder.path());
        places[if made == all { 2 } else { usize::from(made > before) }] += 1;
        half_written += u64::from(leftovers(folder.path()) > 0);
    }
    // Of a run that was killed last, too.
    if folder.path().join("run/config.json").exists() {
        finish(folder.path(), &ON);
        assert!(left(folder.path()) == expected, "after {killed} kills, the last end differs");
        ends += 1;
    }
    let [before, between, behind] = places;
    println!(
        "{killed} kills: {before} before a start's first step, {between} between steps, {behind} behind the last step; {half_written} \
         in the middle of a file; {ends} ends, all the same bits"
    );
    assert!(kills < 50 || (between > 0 && half_written > 0 && ends > 1), "the moments are too much alike");
}

#[test]
fn runs_that_are_killed_at_random_moments_end_as_those_that_are_not() {
    campaign(&NEW, from_environment("ALEXNET_KILLS", 50));
}

#[test]
#[ignore = "takes gigabytes and minutes: scripts/kill-runs N alexnet"]
fn alexnet_that_is_killed_at_random_moments_ends_as_one_that_is_not() {
    campaign(&ALEXNET, from_environment("ALEXNET_KILLS", 5));
}
