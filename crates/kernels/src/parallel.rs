//! Work split into tasks, for as many threads as the caller has.

/// Runs independent tasks, on several threads or on one. Threads are the caller's: this crate knows none.
///
/// ```
/// use kernels::Parallel;
///
/// /// As many threads as there are processors, started anew each time; a thread pool does better.
/// struct Threads;
///
/// impl Parallel for Threads {
///     fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
///         let threads = std::thread::available_parallelism().map_or(1, usize::from);
///         std::thread::scope(|scope| {
///             for thread in 0..threads {
///                 scope.spawn(move || (thread..tasks).step_by(threads).for_each(task));
///             }
///         });
///     }
/// }
/// ```
pub trait Parallel {
    /// Calls `task` once for each number below `tasks`, in any order, and returns when all calls have.
    ///
    /// Nothing worse than lost time comes of calling it too often or too rarely: which task a call does is settled inside,
    /// and what is left undone is done afterwards.
    fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync));
}

/// One task after the other, on the calling thread.
#[derive(Debug, Clone, Copy, Default)]
pub struct Serial;

impl Parallel for Serial {
    fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).for_each(task);
    }
}

/// Calls `work` with each chunk of `length` values of `data` and its number; the last one may be shorter. Values behind
/// `tasks` chunks are left alone.
///
/// Threads share the chunks by an atomic counter. The smallest CPUs (Cortex-M0) have none: there, the calling thread does all.
pub fn for_each_chunk<T: Send>(
    parallel: &impl Parallel,
    data: &mut [T],
    length: usize,
    tasks: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let tasks = if length == 0 { 0 } else { tasks.min(data.len().div_ceil(length)) };
    #[cfg(target_has_atomic = "ptr")]
    shared::for_each_chunk(parallel, data, length, tasks, work);
    #[cfg(not(target_has_atomic = "ptr"))]
    {
        let _ = parallel;
        data.chunks_mut(length.max(1)).take(tasks).enumerate().for_each(|(number, chunk)| work(number, chunk));
    }
}

#[cfg(target_has_atomic = "ptr")]
mod shared {
    use super::Parallel;
    use core::ptr::NonNull;
    use core::sync::atomic::{AtomicUsize, Ordering};

    /// Memory of which each task gets a part of its own.
    struct Shared<T>(NonNull<T>);

    // SAFETY: it is a `&mut [T]` taken apart, and no part is handed out twice (see `for_each_chunk`), so sharing it between
    // threads only ever moves a `&mut T` to one of them.
    unsafe impl<T: Send> Sync for Shared<T> {}

    /// `tasks` chunks for the caller's threads, no more than there are.
    pub(super) fn for_each_chunk<T: Send>(
        parallel: &impl Parallel,
        data: &mut [T],
        length: usize,
        tasks: usize,
        work: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let total = data.len();
        let parts = Shared(NonNull::from(data).cast::<T>());
        let parts = &parts;
        let next = AtomicUsize::new(0);
        // Takes the next task and does it; whether there was one.
        let step = || {
            let Ok(number) = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < tasks).then_some(n + 1))
            else {
                return false;
            };
            let start = number * length;
            // SAFETY: `start < total`, as the number is below `⌈total / length⌉`, so the chunk lies within `data`, which is
            // borrowed exclusively until this function returns. The counter gives each number once: no two chunks overlap.
            let chunk =
                unsafe { core::slice::from_raw_parts_mut(parts.0.as_ptr().add(start), length.min(total - start)) };
            work(number, chunk);
            true
        };
        parallel.for_each(tasks, &|_| {
            step();
        });
        while step() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, LANES, PoolRow};
    use core::ptr::NonNull;
    use core::slice;
    use std::vec;
    use std::vec::Vec;

    /// Calls each task `0` times, or several times from several threads.
    struct Wrong(usize);

    impl Parallel for Wrong {
        fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
            std::thread::scope(|scope| {
                let threads = (0..self.0).map(|_| scope.spawn(move || (0..tasks).for_each(task)));
                // One by one, which ThreadSanitizer sees: scripts/sanitize-threads.
                threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
            });
        }
    }

    fn check(parallel: &impl Parallel) {
        for (total, length) in [(0, 3), (1, 3), (3, 3), (10, 3), (100, 1), (5, 0), (5, 9)] {
            let mut data = vec![0; total];
            for_each_chunk(parallel, &mut data, length, usize::MAX, |number, chunk| {
                assert!(chunk.len() <= length);
                for value in chunk {
                    *value += number + 1;
                }
            });
            for (i, value) in data.into_iter().enumerate() {
                assert_eq!(value, i.checked_div(length).map_or(0, |number| number + 1));
            }
        }
    }

    #[test]
    fn every_chunk_is_done_once_whatever_the_threads_do() {
        check(&Serial);
        for times in 0..3 {
            check(&Wrong(times));
        }
    }

    #[test]
    fn values_behind_the_last_task_are_left_alone() {
        let mut data = [0; 10];
        for_each_chunk(&Serial, &mut data, 3, 2, |_, chunk| chunk.fill(1));
        assert_eq!(data, [1, 1, 1, 1, 1, 1, 0, 0, 0, 0]);
    }

    /// Memory that every thread writes.
    struct Everybodys(NonNull<f32>);

    // SAFETY: it is not: the test below is wrong on purpose.
    unsafe impl Sync for Everybodys {}

    #[test]
    #[ignore = "a race on purpose, which scripts/sanitize-threads must find"]
    fn planted_race() {
        let mut data = [0.0_f32; LANES];
        let memory = &Everybodys(NonNull::from(&mut data).cast::<f32>());
        let task = |_| {
            // SAFETY: the memory is there, but is not one thread's alone.
            let output = unsafe { slice::from_raw_parts_mut(memory.0.as_ptr(), LANES) };
            let row = PoolRow { input: &[1.0; LANES], width: 1, channels: LANES, kernel: 1, stride: 1, output };
            Backend::Scalar.kernels().unwrap().max_pool(row).unwrap();
        };
        Wrong(2).for_each(1, &task);
        assert_eq!(data, [1.0; LANES]);
    }
}
