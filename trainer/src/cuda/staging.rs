//! The way of values from the host to the GPU: through memory that the system keeps where it is ("pinned"), from which the GPU
//! takes them when their turn comes, while the host goes on.
//!
//! From memory of any other kind a copy makes the host wait for the GPU, as soon as there are more than 64 KiB ("CUDA C++
//! Programming Guide", asynchronous concurrent execution).

use std::{collections::VecDeque, ffi::c_void, ops::Range, ptr};

use cudarc::driver::{DriverError, sys::CUstream};

use super::{exchange::Address, libraries::driver};

/// Bytes of the memory. A step of AlexNet's with 256 images of 28 × 28 sends half a MiB, and up to 16 steps wait for their
/// turn.
const RING: usize = 32 << 20;
/// Bytes of one copy at most: the host fills a piece while the GPU takes another one.
const PIECE: usize = RING / 4;
/// Pieces begin at multiples of so many bytes.
const ALIGNMENT: usize = 256;
/// Bytes of a copy from ordinary memory that the driver keeps itself.
const SMALL: usize = 64 << 10;

/// `CUDA_ERROR_NOT_READY`.
const NOT_READY: u32 = 600;
/// `CU_EVENT_DISABLE_TIMING`.
const WITHOUT_TIME: u32 = 2;

/// An event of the driver; kept until the program ends.
#[derive(Debug, Clone, Copy)]
struct Event(*mut c_void);

/// The memory, taken in turns from its start to its end.
pub(super) struct Staging {
    /// Null where the system has no memory to keep for this.
    memory: *mut u8,
    /// Where the next piece may begin.
    next: usize,
    /// Pieces that the GPU may not have taken yet, in the order in which it does, and the event after each.
    under_way: VecDeque<(Range<usize>, Event)>,
    spare: Vec<Event>,
}

// SAFETY: the memory and the events belong to the process, not to a thread, and only this value uses them.
unsafe impl Send for Staging {}

impl Staging {
    /// Memory for the device that is this thread's current one. It is kept until the program ends, for copies may be under way
    /// until then.
    pub(super) fn new() -> Self {
        let mut memory = ptr::null_mut();
        // SAFETY: `memory` is writable.
        let code = unsafe { driver::cuMemHostAlloc(&mut memory, RING, 0) };
        let memory = if code == 0 { memory.cast() } else { ptr::null_mut() };
        Self { memory, next: 0, under_way: VecDeque::new(), spare: Vec::new() }
    }

    /// Copies values to the GPU, in the stream's order; they may change as soon as this returns. The host waits only where more
    /// is under way than the memory holds.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Safety
    /// The device is this thread's current one, `target` has room for the values there, and they may be copied byte by byte.
    pub(super) unsafe fn copy<E>(
        &mut self,
        values: &[E],
        target: Address,
        stream: CUstream,
    ) -> Result<(), DriverError> {
        let (source, length) = (values.as_ptr().cast::<u8>(), size_of_val(values));
        let piece = if self.memory.is_null() { SMALL } else { PIECE };
        for start in (0..length).step_by(piece) {
            let count = piece.min(length - start);
            // SAFETY: the range lies within the values, and its place within the target.
            unsafe { self.copy_piece(source.add(start), count, target + start as u64, stream) }?;
        }
        Ok(())
    }

    /// # Safety
    /// As [`Staging::copy`], for `count` bytes at `source`, a piece at most.
    unsafe fn copy_piece(
        &mut self,
        source: *const u8,
        count: usize,
        target: Address,
        stream: CUstream,
    ) -> Result<(), DriverError> {
        let check = |code: u32| driver::result(code);
        if self.memory.is_null() {
            // SAFETY: the caller's promise; the driver has copied so few bytes when this returns.
            return check(unsafe { driver::cuMemcpyHtoDAsync_v2(target, source.cast(), count, stream.cast()) });
        }
        let start = place(self.next, count);
        while let Some(last) = self.under_way.iter().rposition(|(range, _)| overlap(range, &(start..start + count))) {
            for _ in 0..=last {
                self.wait_for_first()?;
            }
        }
        let event = match self.spare.pop() {
            Some(event) => event,
            None => self.event()?,
        };
        // SAFETY: the piece lies within the memory, and the GPU has taken what was there. The rest is the caller's promise.
        unsafe {
            let staged = self.memory.add(start);
            ptr::copy_nonoverlapping(source, staged, count);
            check(driver::cuMemcpyHtoDAsync_v2(target, staged.cast_const().cast(), count, stream.cast()))?;
            check(driver::cuEventRecord(event.0, stream.cast()))?;
        }
        self.under_way.push_back((start..start + count, event));
        self.next = start + count;
        Ok(())
    }

    /// An event that is not in use: the first one under way if the GPU is done with it, or else a new one.
    fn event(&mut self) -> Result<Event, DriverError> {
        if let Some((_, event)) = self.under_way.front() {
            // SAFETY: the event is one of the driver's.
            if unsafe { driver::cuEventQuery(event.0) } == 0 {
                self.wait_for_first()?;
            }
        }
        if let Some(event) = self.spare.pop() {
            return Ok(event);
        }
        let mut event = ptr::null_mut();
        // SAFETY: `event` is writable.
        driver::result(unsafe { driver::cuEventCreate(&mut event, WITHOUT_TIME) })?;
        Ok(Event(event))
    }

    /// Waits until the GPU has taken the first piece under way.
    fn wait_for_first(&mut self) -> Result<(), DriverError> {
        let Some((_, event)) = self.under_way.front() else { return Ok(()) };
        // SAFETY: the event is one of the driver's.
        let code = match unsafe { driver::cuEventQuery(event.0) } {
            // SAFETY: as above.
            NOT_READY => unsafe { driver::cuEventSynchronize(event.0) },
            code => code,
        };
        driver::result(code)?;
        self.spare.extend(self.under_way.pop_front().map(|(_, event)| event));
        Ok(())
    }
}

/// Where a piece of `count` bytes begins that follows `next`: there, or at the memory's start.
fn place(next: usize, count: usize) -> usize {
    let start = next.next_multiple_of(ALIGNMENT);
    if start + count > RING { 0 } else { start }
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_follow_each_other_and_begin_anew_where_no_room_is_left() {
        assert_eq!([place(0, 10), place(10, 10), place(256, 10)], [0, 256, 256]);
        assert_eq!([place(RING - 256, 256), place(RING - 256, 257), place(RING, 1)], [RING - 256, 0, 0]);
        assert!(overlap(&(0..2), &(1..3)) && !overlap(&(0..2), &(2..3)) && !overlap(&(5..6), &(2..5)));
    }
}
