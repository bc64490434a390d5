//! The training loop: one for every network and device. An epoch learns from each training image once, in a
//! new order, then measures by the held-out and the test images; the best epoch's weights are exported.

pub mod config;
pub mod curves;
pub mod evaluate;
pub mod metrics;
pub mod output;
pub mod progress;

use std::{fmt, mem, path::PathBuf, time::Instant};

use dfdx::{
    nn::ZeroGrads,
    optim::{Adam, AdamConfig, Optimizer, WeightDecay},
    shapes::{Axis, Const, Rank0},
    tensor::{Gradients, Tape, Tensor},
    tensor_ops::{Backward, Device, SumTo, TryMul},
};

use self::{
    config::{ImageCounts, Options},
    evaluate::evaluate,
    metrics::{EpochMetrics, Scores, Tally},
    output::{OutputError, RunFolder},
    progress::{Observer, Phase},
};
use crate::{
    data::{
        Dataset, LabelledImages,
        loader::{self, Split},
    },
    model::{CLASSES, Logits, Network},
    ops::ConvDevice,
    random::StepKey,
};

/// What a run leaves in memory.
#[derive(Debug)]
pub struct Outcome<N> {
    /// The network after the last epoch, which need not be the best one.
    pub network: N,
    /// All epochs' measurements, in order; at least one.
    pub epochs: Vec<EpochMetrics>,
    /// Position in `epochs` of the best one, whose weights were exported.
    pub best: usize,
    /// The exported weights, where the run has a folder.
    pub weights: Option<PathBuf>,
}

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Everything is held out.
    #[error("--validation {validation} leaves no image to learn from: there are {images} training images")]
    NothingToTrain {
        /// Training images in all.
        images: usize,
        /// Images to hold out.
        validation: usize,
    },
    /// The loss is no number any more.
    #[error(
        "the loss became {loss} in epoch {epoch}, {place}: training diverged, try a lower --learning-rate ({})",
        kept(.best)
    )]
    Diverged {
        /// The loss.
        loss: f64,
        /// The epoch, from 1.
        epoch: usize,
        /// The step of the epoch, or the pass that measured it.
        place: String,
        /// The weights exported by an earlier epoch of this run.
        best: Option<PathBuf>,
    },
    /// The device, the network or its preprocessing failed.
    #[error("{0}")]
    Device(String),
    /// A file could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl TrainError {
    fn diverged(loss: f64, epoch: usize, place: String) -> Self {
        Self::Diverged { loss, epoch, place, best: None }
    }

    /// Names the weights that remain from before.
    fn keeping(mut self, weights: Option<&PathBuf>) -> Self {
        if let Self::Diverged { best, .. } = &mut self {
            *best = weights.cloned();
        }
        self
    }

    /// From whatever error a device reports.
    fn device(error: impl fmt::Display) -> Self {
        Self::Device(error.to_string())
    }
}

fn kept(best: &Option<PathBuf>) -> String {
    match best {
        Some(path) => format!("the best weights so far remain in {}", path.display()),
        None => "no weights were exported".to_string(),
    }
}

/// How many images each epoch will learn from, and be measured by.
///
/// # Errors
/// [`TrainError::NothingToTrain`].
pub fn image_counts(dataset: &Dataset, options: &Options) -> Result<ImageCounts, TrainError> {
    let split = split(dataset, options)?;
    Ok(ImageCounts {
        train: split.train.len(),
        validation: split.validation.len(),
        test: test_positions(dataset, options.test_limit).len(),
    })
}

/// The test images to measure by: all, or the first `limit`.
pub fn test_positions(dataset: &Dataset, limit: Option<usize>) -> Vec<usize> {
    (0..dataset.test.len().min(limit.unwrap_or(usize::MAX))).collect()
}

fn split(dataset: &Dataset, options: &Options) -> Result<Split, TrainError> {
    let images = dataset.train.len();
    Split::new(images, options.validation, options.train_limit, options.seed)
        .ok_or(TrainError::NothingToTrain { images, validation: options.validation })
}

/// Trains `network` for all epochs. With a folder, metrics and curves are written after each epoch, and the
/// weights whenever an epoch is the best so far (see [`EpochMetrics::better_than`]).
///
/// # Errors
/// [`TrainError`]; what earlier epochs wrote remains.
pub fn train<D: ConvDevice, N: Network<D>>(
    device: &D,
    network: N,
    dataset: &Dataset,
    options: &Options,
    folder: Option<&RunFolder>,
    observer: &mut dyn Observer,
) -> Result<Outcome<N>, TrainError> {
    observer.start(options.epochs, image_counts(dataset, options)?);
    let adam = AdamConfig {
        lr: options.learning_rate,
        weight_decay: (options.weight_decay > 0.0).then_some(WeightDecay::L2(options.weight_decay)),
        ..AdamConfig::default()
    };
    let mut run = Run {
        adam: Adam::new(&network, adam),
        device,
        network,
        dataset,
        options,
        split: split(dataset, options)?,
        test: test_positions(dataset, options.test_limit),
        observer,
    };
    let mut epochs: Vec<EpochMetrics> = Vec::new();
    let mut best = 0;
    let mut weights = None;
    for epoch in 1..=options.epochs {
        let metrics = run.epoch(epoch).map_err(|error| error.keeping(weights.as_ref()))?;
        let is_best = epochs.get(best).is_none_or(|best| metrics.better_than(best));
        run.observer.epoch(&metrics, is_best);
        epochs.push(metrics);
        if is_best {
            best = epochs.len() - 1;
        }
        if let Some(folder) = folder {
            if is_best {
                weights = Some(folder.write_weights(&run.network, &epochs[best])?);
            }
            folder.write_epochs(&format!("{} on Fashion-MNIST", N::ARCHITECTURE), &epochs)?;
        }
    }
    Ok(Outcome { network: run.network, epochs, best, weights })
}

/// A run under way.
struct Run<'a, D: ConvDevice, N> {
    device: &'a D,
    network: N,
    adam: Adam<N, f32, D>,
    dataset: &'a Dataset,
    options: &'a Options,
    split: Split,
    test: Vec<usize>,
    observer: &'a mut dyn Observer,
}

impl<D: ConvDevice, N: Network<D>> Run<'_, D, N> {
    /// Learns from all training images once, then measures.
    fn epoch(&mut self, epoch: usize) -> Result<EpochMetrics, TrainError> {
        let started = Instant::now();
        let train = self.learn(epoch)?;
        let learning = started.elapsed().as_secs_f64();
        let validation =
            if self.split.validation.is_empty() { None } else { Some(self.measure(epoch, Phase::Validate)?) };
        let test = self.measure(epoch, Phase::Test)?;
        Ok(EpochMetrics {
            epoch,
            train,
            validation,
            test,
            images_per_second: self.split.train.len() as f64 / learning,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    fn learn(&mut self, epoch: usize) -> Result<Scores, TrainError> {
        let order = self.split.epoch_order(self.options.seed, epoch);
        self.observer.phase(epoch, Phase::Train, order.len());
        let data = &self.dataset.train;
        let preprocess = preprocessing::<D, N>(data);
        let mut gradients = self.network.try_alloc_grads().map_err(TrainError::device)?;
        let mut tally = Tally::default();
        let mut step = 0;
        loader::for_each_batch(data, &order, self.options.batch_size, input_length::<D, N>(), preprocess, |batch| {
            step += 1;
            let count = batch.labels.len();
            let key = StepKey { seed: self.options.seed, epoch, step };
            let recorded = mem::replace(&mut gradients, Gradients::leaky());
            let logits = self.network.logits_traced(batch.images, count, recorded, key).map_err(TrainError::device)?;
            let loss = tally.add(&logits.as_vec(), &batch.labels);
            if !loss.is_finite() {
                return Err(TrainError::diverged(loss, epoch, format!("step {step}")));
            }
            gradients = cross_entropy(self.device, logits, &batch.labels)
                .and_then(|loss| loss.try_backward())
                .map_err(TrainError::device)?;
            self.adam.update(&mut self.network, &gradients).map_err(TrainError::device)?;
            self.network.try_zero_grads(&mut gradients).map_err(TrainError::device)?;
            self.observer.batch(count, tally.scores());
            Ok(())
        })?;
        Ok(tally.scores())
    }

    fn measure(&mut self, epoch: usize, phase: Phase) -> Result<Scores, TrainError> {
        let (data, positions) = match phase {
            Phase::Train => (&self.dataset.train, &self.split.train),
            Phase::Validate => (&self.dataset.train, &self.split.validation),
            Phase::Test => (&self.dataset.test, &self.test),
        };
        self.observer.phase(epoch, phase, positions.len());
        let scores = evaluate(&self.network, data, positions, self.options.batch_size, self.observer)?.scores();
        if scores.loss.is_finite() {
            Ok(scores)
        } else {
            Err(TrainError::diverged(scores.loss, epoch, format!("measured by the {phase} images")))
        }
    }
}

/// The mean over a batch of `−ln softmax(logits)[label]`: what training makes small.
fn cross_entropy<D: Device<f32>, T: Tape<f32, D>>(
    device: &D,
    logits: Logits<D, T>,
    labels: &[u8],
) -> Result<Tensor<Rank0, f32, D, T>, D::Err> {
    let mut one_hot = vec![0.0; labels.len() * CLASSES];
    for (row, &label) in one_hot.chunks_exact_mut(CLASSES).zip(labels) {
        row[usize::from(label)] = 1.0;
    }
    let one_hot = device.try_tensor_from_vec(one_hot, (labels.len(), Const::<CLASSES>))?;
    let log_likelihoods = logits.try_log_softmax::<Axis<1>>()?.try_mul(one_hot)?;
    log_likelihoods.try_sum::<Rank0, _>()?.try_mul(-1.0 / labels.len() as f32)
}

/// Values in one input of the network.
fn input_length<D: ConvDevice, N: Network<D>>() -> usize {
    N::SIDE * N::SIDE
}

/// The network's preprocessing for images of this data's size.
fn preprocessing<D: ConvDevice, N: Network<D>>(
    data: &LabelledImages,
) -> impl Fn(&[u8], &mut [f32]) -> Result<(), TrainError> + Send {
    let (width, height) = (data.width(), data.height());
    move |image, input| N::preprocess(width, height, image, input).map_err(TrainError::device)
}
