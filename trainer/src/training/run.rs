//! A run under way: epoch by epoch, step by step, with a checkpoint from time to time.

use std::{
    mem,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use dfdx::{
    nn::ZeroGrads,
    tensor::{Gradients, NoneTape},
    tensor_ops::Backward,
};

use super::{
    background::{Job, Writer},
    checkpoint::Checkpoint,
    config::Options,
    device::TrainDevice,
    division::{image_counts, split, test_positions},
    error::TrainError,
    evaluate::{Examination, ImageSet, evaluate, evaluate_frozen},
    frozen::{FrozenMaps, bytes_of_frozen},
    infobatch::{EpochImages, Losses},
    interrupt::Interrupt,
    loss::CrossEntropy,
    metrics::{EpochMetrics, Scores, Tally},
    output::RunFolder,
    prepare::Preparation,
    progress::{Observer, Phase},
    schedule,
    state::State,
    steps::{StepLog, StepMetrics},
};
use crate::{
    data::{
        Dataset,
        loader::{self, Batch, Split},
    },
    model::Network,
    nn::{Frozen, Logits},
    ops::Images,
    optimiser::{GradientNorm, Optimiser, OptimiserDevice, OptimiserState},
    random::StepKey,
    times::Times,
};

/// Result of a run, in memory.
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

/// Setting of a run: all that it works with, beside its network.
pub struct Setting<'a, D> {
    /// Where it computes.
    pub device: &'a D,
    /// Data set.
    pub dataset: &'a Dataset,
    /// Options.
    pub options: &'a Options,
    /// Where its files go; nothing is written where absent.
    pub folder: Option<&'a RunFolder>,
    /// Observer of its progress.
    pub observer: &'a mut dyn Observer,
    /// Interrupt that asks it to end.
    pub interrupt: Interrupt,
    /// Bytes that what frozen convolutions give may take in memory: see [`bytes_of_frozen`]. It changes no result.
    pub frozen_bytes: u64,
}

/// A step that the device has been given, and whose results nobody has read yet.
struct UnreadStep<D: TrainDevice> {
    /// The step of the epoch, from 1.
    step: usize,
    learning_rate: f64,
    logits: Logits<D>,
    labels: Vec<u16>,
    norm: Option<<<D as OptimiserDevice>::State as OptimiserState<D>>::Norm>,
}

/// A run under way.
pub(super) struct Run<'a, D: TrainDevice, N> {
    setting: Setting<'a, D>,
    network: N,
    optimiser: Optimiser<D>,
    state: State,
    /// The last steps, up to [`TrainDevice::STEPS_AHEAD`] of them.
    unread: Vec<UnreadStep<D>>,
    split: Split,
    test: Vec<usize>,
    loss: CrossEntropy,
    /// Images that the epoch under way learns from.
    images: Arc<EpochImages>,
    /// Losses that InfoBatch chooses images by, where it does.
    losses: Option<Losses>,
    /// Layers that are frozen, and what their convolutions give for the training and validation images, and for the test images, where
    /// that is kept.
    frozen: (usize, Option<[Arc<FrozenMaps>; 2]>),
    log: Option<StepLog>,
    writer: Writer,
    /// Times of the device's work in epochs of this run since it began or was resumed, where that is measured.
    times: Vec<(usize, Times)>,
    /// Since when the time is not yet in the state.
    clock: Instant,
    /// When the last checkpoint was written, or the run began.
    saved: Instant,
}

/// Ends work on many images where the run is asked to end; [`Run::end_if_asked`] then saves what there is.
///
/// # Errors
/// [`TrainError::Interrupted`].
fn go_on(interrupt: &Interrupt, epoch: usize) -> Result<(), TrainError> {
    match interrupt.is_requested() {
        true => Err(TrainError::Interrupted { epoch, saved: None, weights: None, status: interrupt.exit_status() }),
        false => Ok(()),
    }
}

impl<'a, D: TrainDevice, N: Network<D>> Run<'a, D, N> {
    /// A run that begins with `network`, or goes on from a checkpoint.
    pub(super) fn new(
        setting: Setting<'a, D>,
        mut network: N,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<Self, TrainError> {
        let images = image_counts(setting.dataset, setting.options)?;
        setting.observer.start(setting.options.epochs, images);
        let (state, optimiser) = match checkpoint {
            Some(checkpoint) => (checkpoint.state.clone(), checkpoint.restore(&mut network, setting.options)?),
            None => (State::default(), setting.options.optimiser_of(&mut network).map_err(TrainError::device)?),
        };
        let split = split(setting.dataset, setting.options)?;
        let count = setting.dataset.train.len();
        let losses = setting.options.infobatch.map(|_| match checkpoint {
            Some(checkpoint) => checkpoint.losses(count),
            None => Ok(Losses::new(count)),
        });
        let losses = losses.transpose()?;
        let images = Arc::new(epoch_images(&split, losses.as_ref(), setting.options, state.epoch));
        if checkpoint.is_some() {
            let learnt = (state.step * setting.options.batch_size).min(images.order.len());
            setting.observer.resume(state.epochs.len(), learnt);
        }
        let log = setting.folder.map(|folder| folder.step_log(state.epoch, state.step)).transpose()?;
        Ok(Self {
            loss: CrossEntropy::new(setting.dataset, &split, setting.options),
            images,
            losses,
            split,
            frozen: (setting.options.frozen(N::DESCRIPTION), None),
            test: test_positions(setting.dataset, setting.options.test_limit),
            setting,
            network,
            optimiser,
            state,
            unread: Vec::new(),
            log,
            writer: Writer::default(),
            times: Vec::new(),
            clock: Instant::now(),
            saved: Instant::now(),
        })
    }

    /// Makes all the epochs that are left.
    pub(super) fn finish(mut self) -> Result<Outcome<N>, TrainError> {
        let mut result = self.compute_frozen();
        while result.is_ok() && !self.state.is_finished(self.setting.options) {
            result = self.epoch();
        }
        // Before anything is said about the files.
        self.writer.finish()?;
        result.map_err(|error| error.keeping(self.weights()))?;
        let weights = self.weights();
        Ok(Outcome { network: self.network, epochs: self.state.epochs, best: self.state.best, weights })
    }

    /// The weights that were exported so far.
    fn weights(&self) -> Option<PathBuf> {
        let folder = self.setting.folder.filter(|_| !self.state.epochs.is_empty())?;
        Some(folder.weights_path(N::ARCHITECTURE))
    }

    /// Computes what frozen convolutions give for all images, where it may be kept.
    fn compute_frozen(&mut self) -> Result<(), TrainError> {
        let counts = [self.split.train.len(), self.split.validation.len(), self.test.len()];
        let bytes = bytes_of_frozen(N::DESCRIPTION, self.setting.options, counts.iter().sum());
        if bytes.is_none_or(|bytes| bytes > self.setting.frozen_bytes) {
            return Ok(());
        }
        let (epoch, dataset, options) = (self.state.epoch, self.setting.dataset, self.setting.options);
        let learnt = [&self.split.train[..], &self.split.validation].concat();
        self.setting.observer.phase(epoch, Phase::Frozen, counts.iter().sum());
        let mut maps = |data, positions: &[usize]| {
            FrozenMaps::compute(&self.network, options, data, positions, |images| {
                self.setting.observer.batch(images, Scores::default());
                go_on(&self.setting.interrupt, epoch)
            })
            .map(Arc::new)
        };
        let found = maps(&dataset.train, &learnt).and_then(|learnt| Ok([learnt, maps(&dataset.test, &self.test)?]));
        if matches!(found, Err(TrainError::Interrupted { .. })) {
            self.end_if_asked()?;
        }
        self.frozen.1 = Some(found?);
        self.count_time(false);
        Ok(())
    }

    /// Learns from all training images, or from those that are left of the epoch, then measures, and writes what came of it.
    fn epoch(&mut self) -> Result<(), TrainError> {
        self.learn()?;
        let averaged = self.optimiser.averaged(&self.network).map_err(TrainError::device)?;
        let network = averaged.as_ref().unwrap_or(&self.network).clone();
        let validation = match self.split.validation.is_empty() {
            true => None,
            false => Some(self.measure(&network, Phase::Validate)?.tally.scores()),
        };
        let examination = self.measure(&network, Phase::Test)?;
        self.count_time(false);
        let learnt = self.images.order.len();
        let metrics = EpochMetrics {
            epoch: self.state.epoch,
            train: self.state.train_scores(self.setting.options),
            validation,
            test: examination.tally.scores(),
            images_per_second: learnt as f64 / self.state.learning_seconds.max(1e-9),
            seconds: self.state.seconds,
            skipped: self.split.train.len() - learnt,
        };
        let best = self.state.epochs.get(self.state.best);
        let is_best = best.is_none_or(|best| metrics.better_than(best));
        self.setting.observer.epoch(&metrics, is_best);
        self.state.epochs.push(metrics);
        if is_best {
            self.state.best = self.state.epochs.len() - 1;
            self.state.examination = examination;
        }
        self.state = State {
            epoch: self.state.epoch + 1,
            step: 0,
            tally: Tally::default(),
            scaled: Tally::default(),
            learning_seconds: 0.0,
            seconds: 0.0,
            ..mem::take(&mut self.state)
        };
        if let Some(losses) = &mut self.losses {
            losses.end_epoch();
        }
        let images = epoch_images(&self.split, self.losses.as_ref(), self.setting.options, self.state.epoch);
        self.images = Arc::new(images);
        let mut files = Vec::new();
        if let Some(folder) = self.setting.folder {
            let dataset = self.setting.dataset;
            if is_best {
                let best = self.state.epochs.get(self.state.best);
                files.push(folder.settle_weights(&network, &dataset.classes, best));
            }
            files.push(folder.settle_epochs(&self.state, dataset)?);
            if !self.times.is_empty() {
                files.push(folder.settle_times(&self.times)?);
            }
        }
        // The checkpoint comes last, so that a run that is killed before it makes the epoch's files again.
        self.save(files)
    }

    fn learn(&mut self) -> Result<(), TrainError> {
        let Options { seed, batch_size, .. } = *self.setting.options;
        let epoch_images = Arc::clone(&self.images);
        let left = epoch_images.order.get(self.state.step * batch_size..).unwrap_or_default();
        if left.is_empty() {
            return Ok(());
        }
        self.setting.observer.phase(self.state.epoch, Phase::Train, epoch_images.order.len());
        let data = &self.setting.dataset.train;
        let preprocessing = self.setting.options.preprocessing();
        let augmentation = self.setting.options.augmentation_of(self.state.epoch);
        let augmentation = augmentation.map(|augmentation| (augmentation, seed, self.state.epoch));
        let way = self.setting.device.way().map_err(TrainError::device)?;
        let preparation = Preparation::<D> { way, data, preprocessing, augmentation };
        let mut gradients = self.network.try_alloc_grads().map_err(TrainError::device)?;
        // What was measured before belongs to no training pass.
        self.setting.device.times()?;
        self.clock = Instant::now();
        let device = self.setting.device;
        match self.frozen.1.as_ref().map(|[learnt, _]| Arc::clone(learnt)) {
            Some(maps) => {
                let prepare = |positions: &[usize]| Ok(maps.batch(positions));
                loader::for_each_batch(data, left, batch_size, prepare, |Batch { images, labels }| {
                    self.step(maps.upload(device, &images)?, labels, &mut gradients)
                })?;
            }
            None => {
                let prepare = |positions: &[usize]| preparation.batch::<N>(positions);
                loader::for_each_batch(data, left, batch_size, prepare, |Batch { images, labels }| {
                    let inputs = device.inputs(images, labels.len(), N::DESCRIPTION.input());
                    self.step(inputs.map_err(TrainError::device)?, labels, &mut gradients)
                })?;
            }
        }
        self.read_steps()?;
        if let Some(times) = self.setting.device.times()? {
            self.setting.observer.times(self.state.epoch, &times);
            self.times.push((self.state.epoch, times));
        }
        Ok(())
    }

    /// A step by images, or by what the frozen convolutions give for them.
    fn step(
        &mut self,
        inputs: Images<D>,
        labels: Vec<u16>,
        gradients: &mut Gradients<f32, D>,
    ) -> Result<(), TrainError> {
        let options = self.setting.options;
        let (epoch, step) = (self.state.epoch, self.state.step + 1);
        let [steps, epoch_steps] =
            [&self.images.order, &self.split.train].map(|images| images.len().div_ceil(options.batch_size));
        let place = schedule::place((epoch, self.state.step), steps, epoch_steps);
        let learning_rate = options.learning_rate * options.schedule.factor(place, epoch_steps, options.epochs);
        let key = StepKey { seed: options.seed, epoch, step, drop_features: options.drop_features };
        let recorded = mem::replace(gradients, Gradients::leaky());
        let frozen = Frozen { layers: self.frozen.0, computed: self.frozen.1.is_some() };
        let logits = self.network.train_from(inputs, recorded, key, frozen)?;
        let unread = logits.retaped::<NoneTape>();
        let first = self.state.step * options.batch_size;
        let factors = self.images.factors(first..first + labels.len(), options.infobatch);
        let loss = self.loss.mean(self.setting.device, logits, &labels, factors.as_deref());
        *gradients = loss.and_then(|loss| loss.try_backward()).map_err(TrainError::device)?;
        let norm = self.optimiser.step(&mut self.network, gradients, learning_rate).map_err(TrainError::device)?;
        self.state.step = step;
        self.state.total_steps += 1;
        self.unread.push(UnreadStep { step, learning_rate, logits: unread, labels, norm });
        if self.unread.len() > D::STEPS_AHEAD {
            self.read_steps()?;
        }
        self.end_if_asked()?;
        let minutes = self.setting.folder.map(|folder| folder.config().checkpoints.minutes);
        if minutes.is_some_and(|minutes| self.saved.elapsed() >= interval(minutes)) {
            self.save(Vec::new())?;
        }
        Ok(self.writer.check()?)
    }

    /// Waits for the steps that the device has been given, and counts, checks and logs what came of them.
    fn read_steps(&mut self) -> Result<(), TrainError> {
        let steps = mem::take(&mut self.unread);
        if steps.is_empty() {
            return Ok(());
        }
        let epoch = self.state.epoch;
        // Before the time is taken, for this is what waits for the device.
        let values: Vec<_> = steps.iter().map(|step| step.logits.as_vec()).collect();
        let seconds = self.count_time(true) / steps.len() as f64;
        for (UnreadStep { step, learning_rate, labels, norm, .. }, logits) in steps.into_iter().zip(values) {
            let mut tally = Tally::default();
            let classes = self.setting.dataset.train.classes();
            let loss = tally.add(&logits, &labels, classes);
            let gradient_norm = norm.map(|norm| norm.read());
            if let Some(value) = [Some(loss), gradient_norm].into_iter().flatten().find(|value| !value.is_finite()) {
                return Err(TrainError::diverged(value, epoch, format!("step {step}")));
            }
            let first = (step - 1) * self.setting.options.batch_size;
            let is_scaled = |image: usize| self.images.is_scaled(first + image);
            self.state.tally.add_some(&logits, &labels, classes, |image| !is_scaled(image));
            self.state.scaled.add_some(&logits, &labels, classes, is_scaled);
            if let Some(losses) = &mut self.losses {
                let rows = logits.chunks_exact((logits.len() / labels.len().max(1)).max(1));
                for ((row, label), position) in rows.zip(&labels).zip(self.images.order.iter().skip(first)) {
                    losses.record(*position, self.loss.of_image(row, *label));
                }
            }
            if let Some(log) = &mut self.log {
                let Scores { loss, accuracy } = tally.scores();
                log.add(&StepMetrics { epoch, step, loss, accuracy, learning_rate, gradient_norm, seconds })?;
            }
            self.setting.observer.batch(labels.len(), self.state.train_scores(self.setting.options));
        }
        Ok(())
    }

    fn measure(&mut self, network: &N, phase: Phase) -> Result<Examination, TrainError> {
        let (data, positions) = match phase {
            Phase::Train | Phase::Frozen => (&self.setting.dataset.train, &self.split.train),
            Phase::Validate => (&self.setting.dataset.train, &self.split.validation),
            Phase::Test => (&self.setting.dataset.test, &self.test),
        };
        let epoch = self.state.epoch;
        self.setting.observer.phase(epoch, phase, positions.len());
        let (observer, interrupt) = (&mut *self.setting.observer, &self.setting.interrupt);
        let (batch_size, preprocessing) = (self.setting.options.batch_size, self.setting.options.preprocessing());
        let set = ImageSet { data, positions, batch_size, preprocessing, mirrored: false };
        let progress = |images, scores| {
            observer.batch(images, scores);
            go_on(interrupt, epoch)
        };
        let result = match &self.frozen {
            (layers, Some([learnt, tested])) => {
                let maps = if phase == Phase::Test { tested } else { learnt };
                evaluate_frozen(network, &set, (maps, *layers), progress)
            }
            _ => evaluate(network, &set, progress),
        };
        if matches!(result, Err(TrainError::Interrupted { .. })) {
            self.end_if_asked()?;
        }
        let examination = result?;
        let loss = examination.tally.scores().loss;
        if loss.is_finite() {
            Ok(examination)
        } else {
            Err(TrainError::diverged(loss, epoch, format!("measured by the {phase} images")))
        }
    }

    /// Saves and ends the run where Ctrl-C asked for it.
    fn end_if_asked(&mut self) -> Result<(), TrainError> {
        if !self.setting.interrupt.is_requested() {
            return Ok(());
        }
        self.setting.observer.interrupted();
        self.read_steps()?;
        let mut files = Vec::new();
        if let Some(folder) = self.setting.folder.filter(|_| self.state.epochs.is_empty()) {
            // Until an epoch is measured, these are the best there are.
            let averaged = self.optimiser.averaged(&self.network).map_err(TrainError::device)?;
            let network = averaged.as_ref().unwrap_or(&self.network);
            files.push(folder.settle_weights(network, &self.setting.dataset.classes, None));
        }
        self.save(files)?;
        self.writer.finish()?;
        let saved = self.setting.folder.map(|folder| folder.path().to_path_buf());
        let weights = self.setting.folder.map(|folder| folder.weights_path(N::ARCHITECTURE));
        let status = self.setting.interrupt.exit_status();
        Err(TrainError::Interrupted { epoch: self.state.epoch, saved, weights, status })
    }

    /// Begins to write `files` and then a checkpoint, once it is sure that all steps so far are good.
    fn save(&mut self, mut files: Vec<Job>) -> Result<(), TrainError> {
        self.read_steps()?;
        self.setting.device.check()?;
        self.count_time(false);
        if let Some(folder) = self.setting.folder {
            let losses = self.losses.as_ref();
            files.push(folder.settle_checkpoint(&self.network, &self.optimiser, losses, &self.state)?);
            self.writer.start(files)?;
        }
        self.saved = Instant::now();
        Ok(())
    }

    /// Adds the time since the last call to the epoch's, and to that of learning too. Returns it in seconds.
    fn count_time(&mut self, learning: bool) -> f64 {
        let seconds = mem::replace(&mut self.clock, Instant::now()).elapsed().as_secs_f64();
        self.state.seconds += seconds;
        if learning {
            self.state.learning_seconds += seconds;
        }
        seconds
    }
}

/// The images that an epoch learns from: all, or those that InfoBatch chooses.
fn epoch_images(split: &Split, losses: Option<&Losses>, options: &Options, epoch: usize) -> EpochImages {
    let order = split.epoch_order(options.seed, epoch);
    match options.infobatch.zip(losses) {
        Some((ratio, losses)) => losses.choose(order, ratio, options.seed, (epoch, options.epochs)),
        None => EpochImages::all(order),
    }
}

fn interval(minutes: f64) -> Duration {
    Duration::try_from_secs_f64(60.0 * minutes).unwrap_or(Duration::MAX)
}
