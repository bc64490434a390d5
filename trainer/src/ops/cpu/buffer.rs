//! Memory that is used again: fresh pages from the operating system cost as much as the work on them. All threads share what waits, as
//! they share the allocator's memory: no value in it is read before it is written.

use std::{
    ops::{Deref, DerefMut},
    sync::{Mutex, PoisonError},
};

/// Bytes of a cache line, at a multiple of which buffers begin.
const LINE: usize = 64;

/// A number that buffers are made of.
pub(super) trait Number: Copy + Default + 'static {
    /// Memory that waits for its next use.
    fn waiting() -> &'static Mutex<Vec<Vec<Self>>>;
}

impl Number for f32 {
    fn waiting() -> &'static Mutex<Vec<Vec<Self>>> {
        static WAITING: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());
        &WAITING
    }
}

impl Number for u8 {
    fn waiting() -> &'static Mutex<Vec<Vec<Self>>> {
        static WAITING: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
        &WAITING
    }
}

/// Numbers that begin a cache line, in memory that the next buffers get when this one is dropped.
#[derive(Debug)]
pub(super) struct Buffer<T: Number> {
    memory: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Number> Buffer<T> {
    /// A buffer of `len` numbers, which hold anything.
    pub(super) fn new(len: usize) -> Self {
        let needed = len + LINE / size_of::<T>();
        let memory = {
            let mut waiting = T::waiting().lock().unwrap_or_else(PoisonError::into_inner);
            // The smallest that is large enough, unless it is so large that it had better wait for another.
            let fits = |memory: &Vec<T>| (needed..=needed.saturating_mul(4)).contains(&memory.len());
            let best = (0..waiting.len()).filter(|i| fits(&waiting[*i])).min_by_key(|i| waiting[*i].len());
            best.map(|best| waiting.swap_remove(best))
        };
        let memory = memory.unwrap_or_else(|| vec![T::default(); needed]);
        let start = memory.as_ptr().align_offset(LINE).min(LINE / size_of::<T>());
        Self { memory, start, len }
    }
}

impl<T: Number> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.memory[self.start..][..self.len]
    }
}

impl<T: Number> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.start..][..self.len]
    }
}

impl<T: Number> Drop for Buffer<T> {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        T::waiting().lock().unwrap_or_else(PoisonError::into_inner).push(memory);
    }
}
