//! A sample of the images that `matrix/generate.py` writes, each compared with the pixels that Pillow reads, which lie beside it;
//! and that damage to any of them is never a panic.

use std::{fs, path::PathBuf};

use image_files::decode::{Options, decode};

fn sample() -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.is_file())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    assert!(files.len() >= 40, "the sample is not whole");
    files
}

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "matrix", "sample"].iter().collect()
}

/// Largest and mean difference, in levels of the file's image.
fn off(name: &str, file: &[u8], options: Options) -> (f64, f64) {
    let found = decode(file, options).unwrap_or_else(|error| panic!("{name}: {error:#}")).into_rgb8();
    let expected = image::open(folder().join("pixels").join(format!("{name}.png"))).unwrap().into_rgb8();
    assert_eq!(found.dimensions(), expected.dimensions(), "{name}");
    let off: Vec<_> = found.iter().zip(expected.iter()).map(|(a, b)| f64::from(a.abs_diff(*b))).collect();
    (off.iter().copied().fold(0.0, f64::max), off.iter().sum::<f64>() / off.len() as f64)
}

#[test]
fn images_are_read_as_pillow_reads_them() {
    for (name, file) in
        sample().iter().filter(|(name, _)| !["damaged", "oriented"].iter().any(|kind| name.starts_with(kind)))
    {
        let (most, mean) = off(name, file, Options::default());
        // Bytes that come of larger numbers, or of other colours, are rounded.
        let rounded = ["16", "float", "ycbcr", "deep"].iter().any(|kind| name.contains(kind));
        let (allowed, allowed_mean) = if rounded { (1.0, 0.51) } else { (0.0, 0.0) };
        assert!(most <= allowed && mean <= allowed_mean, "{name}: off by {most}, {mean} in the mean");
    }
}

#[test]
fn images_are_turned_as_pillow_turns_them_where_that_is_asked_for() {
    let oriented: Vec<_> = sample().into_iter().filter(|(name, _)| name.starts_with("oriented")).collect();
    assert_eq!(oriented.len(), 10);
    for (name, file) in oriented {
        assert_eq!(off(&name, &file, Options { orient: true, ..Options::default() }).0, 0.0, "{name}");
        // Else they lie as they are stored.
        let stored = decode(&file, Options::default()).unwrap();
        assert_eq!((stored.width(), stored.height()), (19, 11), "{name}");
    }
}

#[test]
fn damaged_jpeg_is_refused_and_when_accepted_read_as_libjpeg_does() {
    let damaged: Vec<_> = sample().into_iter().filter(|(name, _)| name.starts_with("damaged")).collect();
    assert_eq!(damaged.len(), 4);
    for (name, file) in damaged {
        let error = decode(&file, Options::default()).unwrap_err().to_string();
        assert!(error.starts_with("the JPEG"), "{name}: {error}");
        let (most, _) = off(&name, &file, Options { accept_damaged: true, ..Options::default() });
        assert_eq!(most, 0.0, "{name}");
    }
}

/// Random numbers, always the same.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// Decodes `rounds` damaged variants of each file of the sample: bytes changed, cut out, doubled, or cut off.
fn mutate(rounds: usize) {
    let mut random = Random(1);
    for (name, file) in sample() {
        for round in 0..rounds {
            let mut mutated = file.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(mutated.len());
                match random.below(5) {
                    0 => mutated[at] = [0, 1, 0x7F, 0x80, 0xFF][random.below(5)],
                    1 => mutated[at] ^= 1 << random.below(8),
                    2 => drop(mutated.drain(at..(at + 1 + random.below(8)).min(mutated.len()))),
                    3 => mutated.extend_from_within(at..(at + 1 + random.below(64)).min(mutated.len())),
                    _ => mutated[at] = random.below(256) as u8,
                }
                if mutated.len() < 2 {
                    mutated = file.clone();
                }
            }
            if random.below(8) == 0 {
                mutated.truncate(1 + random.below(mutated.len()));
            }
            let accept_damaged = round % 2 == 1;
            if let Err(error) = decode(&mutated, Options { accept_damaged, orient: true }) {
                let error = format!("{error:#}");
                assert!(!error.contains("decoder failed on this file"), "{name}: a panic in round {round}");
            }
        }
    }
}

#[test]
fn damage_is_never_a_panic() {
    mutate(25);
}

/// Mutations of each file, as many as `MUTATIONS` says: for long runs, and under AddressSanitizer.
#[test]
#[ignore = "takes minutes"]
fn much_damage_is_never_a_panic() {
    mutate(std::env::var("MUTATIONS").map_or(1000, |count| count.parse().unwrap()));
}
