//! `infer-cli bench`: how fast a network runs on this machine, in all and layer by layer, and how near that is to what the
//! machine can do.

use std::{
    hint::black_box,
    io::{self, Write as _},
    time::{Duration, Instant},
};

use anyhow::Context;
use classifier::{BATCH, Classifier, Model, Source, Threads};
use infer_core::{
    int8::Int8Backend,
    packed::{Backend, Line, Parallel, Serial},
};
use rayon::{ThreadPool, ThreadPoolBuilder, prelude::*};

use crate::{args::Bench, stdout};

mod report;

/// Passes of each measurement at least, and of its warm-up.
const PASSES: usize = 5;

/// Runs the command.
///
/// # Errors
/// The weights cannot be used, or threads or output fail.
pub fn run(args: &Bench) -> anyhow::Result<()> {
    let source = Source::find(args.weights.as_deref())?;
    let backend = args.kernel.backend()?;
    let classifier = Classifier::open(&source, None, backend)?;
    let network = classifier.model();
    let threads = classifier::threads(args.threads);
    let pool = ThreadPoolBuilder::new().num_threads(threads).build().context("cannot start threads")?;
    let one = ThreadPoolBuilder::new().num_threads(1).build().context("cannot start threads")?;

    let results = Results {
        threads,
        limits: [Limits::measure(network, backend, &one), Limits::measure(network, backend, &pool)],
        latency: [passes(network, 1, &Serial, args.time)?, passes(network, 1, &Threads(&pool), args.time)?],
        batches: [passes(network, BATCH, &Serial, args.time)?, passes(network, BATCH, &Threads(&pool), args.time)?],
        throughput: [throughput(network, &one, args.time)?, throughput(network, &pool, args.time)?],
        network,
    };
    let text = if args.json { format!("{:#}\n", results.json()) } else { results.text() };
    stdout::check().context("cannot write the standard output")?;
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write the standard output")
}

/// All measurements, each by one thread and by all of them.
struct Results<'w> {
    network: &'w Model<'w>,
    threads: usize,
    limits: [Limits; 2],
    latency: [Passes; 2],
    batches: [Passes; 2],
    /// Images a second as `classify` does it: each thread with a batch of its own.
    throughput: [f64; 2],
}

/// Peaks of the machine.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Multiply-adds a second in registers.
    multiply_adds: f64,
    /// Bytes a second from memory.
    bytes: f64,
}

impl Limits {
    fn measure(network: &Model<'_>, backend: Backend, pool: &ThreadPool) -> Self {
        const COUNT: u32 = 100_000_000;
        let multiply_adds = || match network {
            Model::Floats(_) => backend.multiply_adds(COUNT),
            // More of them, since they are many times as fast, and a moment is too short to measure.
            Model::Int8(_) => Int8Backend::of(backend).kernels().map(|kernels| kernels.multiply_adds(20 * COUNT)),
        };
        let buffer = vec![1_u64; 32 << 20];
        let share = buffer.len() / pool.current_num_threads();
        let threads = 0..pool.current_num_threads();
        let mut limits = Self { multiply_adds: 0.0, bytes: 0.0 };
        for _ in 0..5 {
            let start = Instant::now();
            let count: u64 =
                pool.install(|| threads.clone().into_par_iter().map(|_| multiply_adds().unwrap_or_default()).sum());
            limits.multiply_adds = limits.multiply_adds.max(count as f64 / start.elapsed().as_secs_f64());

            let start = Instant::now();
            black_box(pool.install(|| buffer.par_chunks(share).map(sum).sum::<u64>()));
            limits.bytes = limits.bytes.max(size_of_val(&buffer[..]) as f64 / start.elapsed().as_secs_f64());
        }
        limits
    }
}

/// The sum of numbers, read from four places beside each other, which is faster than one after the other.
fn sum(numbers: &[u64]) -> u64 {
    let (first, second) = numbers.split_at(numbers.len() / 2);
    let (a, b) = first.split_at(first.len() / 2);
    let (c, d) = second.split_at(second.len() / 2);
    let lines = |part| <[u64]>::as_chunks::<8>(part).0;
    let beside = lines(a).iter().zip(lines(b)).zip(lines(c).iter().zip(lines(d)));
    let mut sums = [0_u64; 8];
    for ((a, b), (c, d)) in beside {
        for (place, sum) in sums.iter_mut().enumerate() {
            *sum += a[place] + b[place] + c[place] + d[place];
        }
    }
    sums.iter().sum()
}

/// Medians of some passes over a batch.
#[derive(Debug, Clone)]
struct Passes {
    batch: usize,
    /// Seconds a pass.
    total: f64,
    /// Seconds a pass of each layer.
    layers: Vec<f64>,
}

/// Memory for passes over a batch.
struct Buffers {
    images: Vec<f32>,
    logits: Vec<f32>,
    workspace: Vec<Line>,
}

impl Buffers {
    fn new(network: &Model<'_>, batch: usize) -> Self {
        let values = batch * network.description().input().values();
        Self {
            images: (0..values).map(|i| (i % 251) as f32 / 250.0).collect(),
            logits: vec![0.0; batch * network.classes()],
            workspace: vec![Line::ZERO; network.workspace_len(batch)],
        }
    }

    fn forward(
        &mut self,
        network: &Model<'_>,
        parallel: &impl Parallel,
        mut done: impl FnMut(usize),
    ) -> anyhow::Result<()> {
        let Self { images, logits, workspace } = self;
        network.forward_observed(black_box(images), logits, workspace, parallel, &mut done)?;
        black_box(logits);
        Ok(())
    }
}

/// Measures passes over a batch.
fn passes(network: &Model<'_>, batch: usize, parallel: &impl Parallel, time: Duration) -> anyhow::Result<Passes> {
    let mut memory = Buffers::new(network, batch);
    let mut totals = Vec::new();
    let mut layers = vec![Vec::new(); network.description().layers.len()];
    for _ in 0..PASSES {
        memory.forward(network, parallel, |_| ())?;
    }
    let begin = Instant::now();
    while totals.len() < PASSES || begin.elapsed() < time {
        let mut seconds = vec![0.0; layers.len()];
        let start = Instant::now();
        let mut last = start;
        memory.forward(network, parallel, |layer| {
            let now = Instant::now();
            seconds[layer] += (now - last).as_secs_f64();
            last = now;
        })?;
        totals.push(start.elapsed().as_secs_f64());
        for (all, seconds) in layers.iter_mut().zip(seconds) {
            all.push(seconds);
        }
    }
    Ok(Passes { batch, total: median(totals), layers: layers.into_iter().map(median).collect() })
}

/// Images a second where each thread of the pool works on batches of its own.
fn throughput(network: &Model<'_>, pool: &ThreadPool, time: Duration) -> anyhow::Result<f64> {
    let rates: Vec<anyhow::Result<f64>> = pool.broadcast(|_| {
        let mut memory = Buffers::new(network, BATCH);
        memory.forward(network, &Serial, |_| ())?;
        let start = Instant::now();
        let mut images = 0;
        while images == 0 || start.elapsed() < 2 * time {
            memory.forward(network, &Serial, |_| ())?;
            images += BATCH;
        }
        Ok(images as f64 / start.elapsed().as_secs_f64())
    });
    rates.into_iter().sum()
}

/// The value in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
