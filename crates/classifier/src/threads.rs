//! Threads: how many there are, and all of them for one image.

use std::thread;

use infer_core::packed::Parallel;
use rayon::prelude::*;

/// Number of threads: as many as were asked for, or else one for each CPU.
pub fn threads(asked: Option<u16>) -> usize {
    asked.map_or_else(|| thread::available_parallelism().map_or(1, usize::from), usize::from)
}

/// The threads of a pool, for one image on several cores.
#[derive(Debug)]
pub struct Threads<'p>(pub &'p rayon::ThreadPool);

impl Parallel for Threads<'_> {
    fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.0.install(|| (0..tasks).into_par_iter().for_each(task));
    }
}
