//! Trains a network of its own by the trainer's library, on images made here: `training FOLDER` leaves a run in FOLDER, with
//! the weights `stripes.safetensors`.

use std::{env, error::Error, path::PathBuf};

use trainer::{
    data::{Dataset, LabelledImages},
    dfdx::tensor::Cpu,
    model::Network,
    training::{
        config::Options,
        interrupt::Interrupt,
        metrics::EpochMetrics,
        progress::Observer,
        start::{self, NewRun},
    },
};

/// The network, for whichever macro makes something of it.
macro_rules! stripes {
    ($then:path) => {
        $then! {
            /// Tells horizontal (0) from vertical (1) stripes in gray images of 8×8 pixels.
            Stripes "stripes": 1 x 8;
            conv1: conv 4, kernel 3;
            pool1: max_pool kernel 2, stride 2;
            linear1: linear 2 classes;
        }
    };
}

mod inference {
    stripes!(infer_core::network);
}

mod training {
    use super::inference::{DESCRIPTION, LAYERS};

    stripes!(trainer::network);
}

/// Prints a line for each epoch.
struct Lines;

impl Observer for Lines {
    fn epoch(&mut self, metrics: &EpochMetrics, _best: bool) {
        println!("epoch {}: loss {:.4}, accuracy {:.1} %", metrics.epoch, metrics.test.loss, 100.0 * metrics.test.accuracy);
    }
}

/// Stripes of two pixels, dark and light, at every place, brighter or darker, with some noise.
fn images(count: u32, seed: u32) -> LabelledImages {
    let mut images = LabelledImages::of_classes(2);
    for number in 0..count {
        let noise = |i: u32| (number * 64 + i + seed).wrapping_mul(2_654_435_761) >> 27;
        let (label, shift) = (number % 2, number / 2);
        let pixel = |i: u32| {
            let place = if label == 1 { i % 8 } else { i / 8 };
            let level = if (place + shift) % 4 < 2 { 150 + 10 * (number % 7) } else { 10 * (number % 5) };
            (level + noise(i)) as u8
        };
        images.push(8, &(0..64).map(pixel).collect::<Vec<_>>(), label as u16);
    }
    images
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::args_os().nth(1).ok_or("expected a folder to write to")?);
    let classes = ["horizontal", "vertical"].map(String::from).to_vec();
    let (device, data) = (Cpu::default(), Dataset::in_memory(images(2000, 1), images(200, 2), classes)?);
    let options = Options { epochs: 3, batch_size: 20, learning_rate: 0.01, validation: 200, ..Options::default() };
    let config = NewRun::new(training::Stripes::<Cpu>::DESCRIPTION, options).config(&data)?;
    let run = start::begin::<_, training::Stripes<Cpu>>(&device, &data, &folder, config, true)?;
    let outcome = run.train(&device, &data, &mut Lines, Interrupt::default())?;
    println!("weights: {}", outcome.weights.unwrap_or_default().display());
    Ok(())
}
