//! Networks in colour: what becomes of images, that they learn what gray ones cannot see, and files of images that are used again.

use std::{
    cell::Cell,
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use dfdx::tensor::Cpu;
use image::{Rgb, RgbImage};
use image_files::preprocessing::{Normalisation, Preprocessing};
use infer_core::{
    describe::Maps,
    preprocess::{self, Resize, resize_channels, rgb},
};
use trainer::{
    data::{
        Dataset, Frame,
        augment::{Augmentation, Changes, Rectangle},
        colour::{Colours, Step},
        folder::{Reading, TestShare, Unreadable},
    },
    export,
    inputs::{InputDevice, Picture},
    model::{LeNet5, Network},
    training::{config::Options, interrupt::Interrupt, start, start::NewRun},
};

macro_rules! small {
    ($then:path) => {
        $then! {
            /// A small network for photographs of 32×32.
            Small "small-colour": 3 x 32;
            conv1: conv 8, kernel 5, padding 2;
            pool1: max_pool kernel 4, stride 4;
            linear1: linear 16;
            linear2: linear 10 classes;
        }
    };
}

mod inference {
    small!(infer_core::network);
}

mod training {
    use super::inference::{DESCRIPTION, LAYERS};
    small!(trainer::network);
}

use training::Small;

const SIDE: usize = 32;
const INPUT: Maps = Maps { channels: 3, side: SIDE };

/// Colours of the same luma.
const CLASSES: [(&str, [i32; 3]); 3] = [("blue", [80, 83, 255]), ("green", [40, 140, 70]), ("red", [230, 40, 85])];

fn photo(colour: [i32; 3], width: u32, height: u32, seed: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let noise = ((x * 31 + y * 17 + seed).wrapping_mul(2_654_435_761) >> 26) as i32 - 32;
        Rgb(colour.map(|value| (value + noise).clamp(0, 255) as u8))
    })
}

fn photos(folder: &Path, count: u32) {
    for (name, colour) in CLASSES {
        fs::create_dir_all(folder.join(name)).unwrap();
        for number in 0..count {
            let (width, height) = [(48, 36), (36, 50), (40, 40), (70, 45)][number as usize % 4];
            let extension = if number % 2 == 0 { "png" } else { "jpg" };
            let path = folder.join(name).join(format!("{number:03}.{extension}"));
            photo(colour, width, height, number).save(path).unwrap();
        }
    }
}

fn read(folder: &Path, reading: Reading, cache: Option<&Path>, read: &AtomicUsize) -> Result<Dataset, String> {
    let progress = |_| _ = read.fetch_add(1, Ordering::Relaxed);
    let share = TestShare { share: 0.25, seed: 0 };
    Dataset::read_folder(folder, share, reading, Unreadable::Refused, cache, &progress)
        .map_err(|error| error.to_string())
}

fn pixels(width: usize, height: usize) -> Vec<u8> {
    (0..3 * width * height).map(|i| ((i as u32).wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn inputs<N: Network<Cpu>>(picture: Picture<'_>, preprocessing: &Preprocessing) -> Vec<f32> {
    <Cpu as InputDevice>::prepare::<N>((), &[picture], preprocessing).unwrap()
}

#[test]
fn images_become_inputs_as_infer_core_makes_them() {
    let (width, height) = (50, 41);
    let pixels = pixels(width, height);
    let frame = Frame::new(3, width, height, &pixels);
    let colour = |x: usize, y: usize| pixels.as_chunks::<3>().0[y * width + x];
    let normalisation = Normalisation::Rgb { mean: [0.4, 0.5, 0.6], std: [0.2, 0.3, 0.4] };
    let cut = Preprocessing { resize: Resize::ShorterSide(35), normalisation: Some(normalisation), orient: false };
    let mut expected = [[[0.0; SIDE]; SIDE]; 3];
    resize_channels(cut.resize, width, height, |x, y| rgb(colour(x, y)), &mut expected).unwrap();
    preprocess::normalise_channels(&mut expected, &[0.4, 0.5, 0.6], &[0.2, 0.3, 0.4]);
    let found = inputs::<Small<Cpu>>(Picture { frame, changes: None }, &cut);
    assert!(found == expected.as_flattened().as_flattened());

    // Gray networks see the luma, and networks in colour see gray images in all channels.
    let mut gray = [[[0.0; 28]; 28]];
    resize_channels(Resize::Exact, width, height, |x, y| [preprocess::luma(colour(x, y))], &mut gray).unwrap();
    let found = inputs::<LeNet5<Cpu>>(Picture { frame, changes: None }, &Preprocessing::PLAIN);
    assert!(found == gray[0].as_flattened());
    let flat = Frame::new(1, 3 * width, height, &pixels);
    let found = inputs::<Small<Cpu>>(Picture { frame: flat, changes: None }, &Preprocessing::PLAIN);
    let (first, rest) = found.split_at(SIDE * SIDE);
    assert!(rest.chunks(SIDE * SIDE).all(|plane| plane == first));

    // A crop, its colours changed, then normalised.
    let crop = Rectangle { top: 3, left: 11, rows: 20, columns: 17 };
    let steps = [Step::Hue(0.1), Step::Contrast(1.2), Step::Saturation(0.8), Step::Brightness(0.9)];
    let colours = Colours { steps, light: [0.01, -0.02, 0.03] };
    let changes = Some(Changes { crop: Some(crop), colours: Some(colours), ..Changes::NONE });
    let mut expected = [[[0.0; SIDE]; SIDE]; 3];
    let part = |x, y| rgb(colour(x + crop.left, y + crop.top));
    resize_channels(Resize::Exact, crop.columns, crop.rows, part, &mut expected).unwrap();
    colours.apply(expected.as_flattened_mut().as_flattened_mut());
    preprocess::normalise_channels(&mut expected, &[0.4, 0.5, 0.6], &[0.2, 0.3, 0.4]);
    assert!(inputs::<Small<Cpu>>(Picture { frame, changes }, &cut) == expected.as_flattened().as_flattened());
}

#[test]
fn a_network_learns_colours_that_are_the_same_gray() {
    let folder = tempfile::tempdir().unwrap();
    photos(&folder.path().join("photos"), 32);
    let reading = Reading::of(INPUT, Resize::ShorterSide(36), 40, true);
    let dataset = read(&folder.path().join("photos"), reading, None, &AtomicUsize::new(0)).unwrap();
    assert_eq!((dataset.train.channels(), dataset.train.len(), dataset.test.len()), (3, 72, 24));
    assert!((0..72).all(|index| dataset.train.size(index).0.min(dataset.train.size(index).1) <= 40));
    let augmentation = Augmentation {
        flip: true,
        random_crop: 0.3,
        brightness: 0.2,
        contrast: 0.2,
        saturation: 0.2,
        hue: 0.05,
        lighting: 0.1,
        erase: 0.2,
        ..Augmentation::default()
    };
    let options =
        Options { epochs: 4, batch_size: 8, validation: 0, augmentation, kept_side: 40, ..Options::default() };
    let given = start::GivenPreprocessing { resize: Some(Resize::ShorterSide(36)), orient: Some(true) };
    let run = Cell::new(0);
    let train = || {
        run.set(run.get() + 1);
        let new = NewRun { given, normalise: Some(true), ..NewRun::new(&inference::DESCRIPTION, options.clone()) };
        let config = new.config(&dataset).unwrap();
        let path = folder.path().join(format!("run-{}", run.get()));
        let started = start::begin::<Cpu, Small<Cpu>>(&Cpu::default(), &dataset, &path, config, false).unwrap();
        let outcome = started.train(&Cpu::default(), &dataset, &mut (), Interrupt::default()).unwrap();
        (outcome.epochs[outcome.best].test.accuracy, outcome.weights.unwrap())
    };
    let (accuracy, weights) = train();
    assert!(accuracy > 0.9, "{accuracy}");
    let metadata = export::metadata(&weights).unwrap();
    let described = Preprocessing::understand(&metadata["preprocessing"], INPUT).unwrap();
    assert_eq!((described.resize, described.orient), (Resize::ShorterSide(36), true));
    let Some(Normalisation::Rgb { mean, .. }) = described.normalisation else { panic!("{described:?}") };
    assert!(mean.iter().zip([0.46, 0.34, 0.54]).all(|(found, expected)| (found - expected).abs() < 0.05), "{mean:?}");
    // The same again, to the last bit, but for the time and the folder that the metadata name.
    let tensors = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        let header = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
        bytes[8 + header..].to_vec()
    };
    let (accuracy_again, weights_again) = train();
    assert_eq!(accuracy, accuracy_again);
    assert!(tensors(&weights) == tensors(&weights_again));
}

#[test]
fn a_file_of_images_is_used_again_while_nothing_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (data, cache) = (folder.path().join("photos"), folder.path().join("images"));
    photos(&data, 8);
    let reading = Reading::of(INPUT, Resize::ShorterSide(36), 40, false);
    let memory = read(&data, reading, None, &AtomicUsize::new(0)).unwrap();
    let from_file = |reading, expected: usize| {
        let decoded = AtomicUsize::new(0);
        let dataset = read(&data, reading, Some(&cache), &decoded).unwrap();
        assert_eq!(decoded.into_inner(), expected);
        dataset
    };
    for expected in [24, 0] {
        let dataset = from_file(reading, expected);
        assert!(dataset.train == memory.train && dataset.test == memory.test);
        assert_eq!((dataset.files, dataset.test_paths), (memory.files.clone(), memory.test_paths.clone()));
    }
    // Another way of reading, another file, one more.
    from_file(Reading { orient: true, ..reading }, 24);
    from_file(Reading { orient: true, ..reading }, 0);
    photo(CLASSES[0].1, 50, 60, 77).save(data.join("red/001.jpg")).unwrap();
    let changed = from_file(Reading { orient: true, ..reading }, 24);
    assert!(changed.train != memory.train || changed.test != memory.test);
    photo(CLASSES[1].1, 50, 60, 78).save(data.join("green/100.png")).unwrap();
    from_file(Reading { orient: true, ..reading }, 25);
    // A file that is cut short, in its pixels or at its end, and one of something else.
    let whole = fs::read(&cache).unwrap();
    fs::write(&cache, &whole[100_000..]).unwrap();
    from_file(Reading { orient: true, ..reading }, 25);
    for other in [&whole[..whole.len() - 1], b"something else", b""] {
        fs::write(&cache, other).unwrap();
        let error = read(&data, reading, Some(&cache), &AtomicUsize::new(0)).unwrap_err();
        assert!(error.ends_with("found another, which is not replaced"), "{error}");
        assert_eq!(fs::read(&cache).unwrap(), other);
    }
}

#[test]
fn the_program_says_what_images_take_and_records_how_they_are_prepared() {
    let folder = tempfile::tempdir().unwrap();
    photos(&folder.path().join("photos"), 8);
    let run = |arguments: &[&str]| {
        let data = ["--network=lenet5", "--data=photos", "--threads=1"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        let output = command.args(data).args(arguments).current_dir(folder.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let options = ["--cache=images", "--shorter-side=32", "--orient", "--random-crop", "--epochs=1", "--out=run"];
    let (status, said) = run(&options);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.starts_with("photos: 24 images to read, in images at most 3 MB where they are of 4:3\n"), "{said}");
    let metadata = export::metadata(&folder.path().join("run/lenet5.safetensors")).unwrap();
    let expected = Preprocessing { resize: Resize::ShorterSide(32), normalisation: None, orient: true };
    assert_eq!(metadata["preprocessing"], expected.describe(Maps { channels: 1, side: 28 }));
    for (arguments, expected) in [
        (&["--hue=0.1"][..], "error: --saturation, --hue, --lighting: lenet5 takes gray images"),
        (&["--shorter-side=20"], "error: --shorter-side 20: expected 28 or more, the input of lenet5"),
        (&["--cache=photos"], "error: --cache photos: expected a file on disk, found a folder or a device"),
    ] {
        let (status, said) = run(&[arguments, &["--quiet", "--out=other"]].concat());
        assert_eq!((status, said.trim_end()), (Some(2), expected));
    }
}
