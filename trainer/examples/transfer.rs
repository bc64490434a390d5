//! Transfer learning measured: a network learns a task of many pictures, and then others of 20 pictures a class, once from what it
//! has learnt and once from random weights.
//!
//! `transfer OUT MANY FEW…`, where MANY and each FEW are folders of pictures as `scripts/transfer` makes them. The runs are in OUT, the
//! table is on the standard output, and the exit status is 1 where a task of FEW gains less than ten points.

use std::{
    env,
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
};

use infer_core::preprocess::Resize;
use trainer::{
    data::{
        Dataset,
        folder::{Reading, TestShare, Unreadable},
    },
    dfdx::tensor::Cpu,
    infer_core,
    model::Initialisation,
    optimiser::{OptimiserName, OptimiserOptions},
    training::{
        config::Options,
        interrupt::Interrupt,
        schedule::{Course, Schedule},
        start::{self, NewRun},
        transfer::Freeze,
    },
};

macro_rules! pictures {
    ($then:path) => {
        $then! {
            /// A small network for colour pictures, with four convolutions.
            Pictures "pictures": 3 x 48;
            conv1: conv 24, kernel 5, padding 2;
            pool1: max_pool kernel 2, stride 2;
            conv2: conv 48, kernel 3, padding 1;
            pool2: max_pool kernel 2, stride 2;
            conv3: conv 64, kernel 3, padding 1;
            pool3: max_pool kernel 2, stride 2;
            conv4: conv 96, kernel 3, padding 1;
            pool4: max_pool kernel 2, stride 2;
            linear1: linear 256, dropout;
            linear2: linear 40 classes;
        }
    };
}

mod inference {
    pictures!(infer_core::network);
}

mod module {
    use super::inference::{DESCRIPTION, LAYERS};
    pictures!(trainer::network);
}

use inference::DESCRIPTION;

/// Points that a task must gain.
const LEAST_GAIN: f64 = 10.0;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let folders: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [out, many, few @ ..] = &folders[..] else { return Err("expected OUT MANY FEW…".into()) };
    let recipe = Options {
        batch_size: 32,
        learning_rate: 0.002,
        initialisation: Initialisation::He,
        schedule: Schedule { course: Course::OneCycle, ..Schedule::default() },
        optimiser: OptimiserOptions {
            name: OptimiserName::AdamW,
            weight_decay: 0.01,
            clip_norm: Some(1.0),
            ..OptimiserOptions::default()
        },
        ..Options::default()
    };
    let learnt = run(many, &out.join("many"), None, Options { epochs: 20, ..recipe.clone() })?;
    println!("{:<20}{:>10}{:>12}{:>10}", "TASK", "NOTHING", "TRANSFER", "GAIN");
    println!("{:<20}{:>8.1} %", many.display(), 100.0 * learnt.accuracy);
    let mut gains_enough = true;
    for (seed, task) in few.iter().enumerate() {
        let seed = seed as u64;
        let begin = Options { epochs: 60, batch_size: 16, seed, ..recipe.clone() };
        let nothing = run(task, &out.join(format!("nothing-{seed}")), None, begin.clone())?;
        let features = Options { freeze: Some(Freeze::Features), epochs: 30, ..begin };
        let transferred = run(task, &out.join(format!("transfer-{seed}")), Some(&learnt.weights), features)?;
        let [before, after] = [nothing, transferred].map(|result| 100.0 * result.accuracy);
        println!("{:<20}{before:>8.1} %{after:>10.1} %{:>10.1}", task.display(), after - before);
        gains_enough &= after - before >= LEAST_GAIN;
    }
    Ok(if gains_enough { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Result of a run.
struct Trained {
    /// Its best epoch's weights.
    weights: PathBuf,
    /// Their accuracy on the test pictures, 0 to 1. The epoch was chosen by others.
    accuracy: f64,
}

/// Trains the network on a folder of pictures, from other weights where there are some.
fn run(data: &Path, out: &Path, init: Option<&Path>, options: Options) -> Result<Trained, Box<dyn Error>> {
    let device = Cpu::default();
    let reading = Reading::of(DESCRIPTION.input(), Resize::Exact, DESCRIPTION.input().side, false);
    let dataset = Dataset::read_folder(data, TestShare::default(), reading, Unreadable::Refused, None, &|_| {})?;
    let given = start::GivenPreprocessing { resize: Some(Resize::Exact), orient: None };
    let new = NewRun { given, init, normalise_by_default: true, ..NewRun::new(&DESCRIPTION, options) };
    let config = new.config(&dataset)?;
    let started = start::begin::<Cpu, module::Pictures<Cpu>>(&device, &dataset, out, config, true)?;
    let outcome = started.train(&device, &dataset, &mut (), Interrupt::default())?;
    let weights = outcome.weights.ok_or("the run has a folder")?;
    Ok(Trained { weights, accuracy: outcome.epochs[outcome.best].test.accuracy })
}
