//! Memory for members of shards that wait to be decoded: bounded in all, so that it does not grow with the size of images.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Memory that may be taken, in bytes.
#[derive(Debug)]
pub struct Room {
    most: usize,
    taken: Mutex<usize>,
    freed: Condvar,
}

/// The bytes of a member, and the room that they take until they are dropped.
#[derive(Debug)]
pub struct Bytes {
    bytes: Vec<u8>,
    /// Room that was taken for them.
    taken: usize,
    room: Arc<Room>,
}

impl Room {
    /// Room for `most` bytes, or for one member if that is larger.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::new(0), freed: Condvar::new() })
    }

    /// Takes room for a member of `length` bytes, whose memory is still empty. Waits until there is room.
    pub fn take(self: &Arc<Self>, length: usize) -> Bytes {
        let full = |taken: &mut usize| *taken > 0 && taken.saturating_add(length) > self.most;
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *self.freed.wait_while(taken, full).unwrap_or_else(PoisonError::into_inner) += length;
        Bytes { bytes: Vec::new(), taken: length, room: Arc::clone(self) }
    }
}

impl Bytes {
    /// The memory.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        *self.room.taken.lock().unwrap_or_else(PoisonError::into_inner) -= self.taken;
        self.room.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is_but_for_one_that_is_larger() {
        let (room, now) = (Room::new(100), AtomicUsize::new(0));
        thread::scope(|scope| {
            for length in [40, 60, 30, 90, 100, 1] {
                let (room, now) = (&room, &now);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let bytes = room.take(length);
                        assert!(now.fetch_add(length, Ordering::SeqCst) + length <= 100);
                        thread::yield_now();
                        now.fetch_sub(length, Ordering::SeqCst);
                        drop(bytes);
                    }
                });
            }
        });
        let large = room.take(1_000);
        assert!(large.is_empty() && *room.taken.lock().unwrap() == 1_000);
        drop(large);
        assert_eq!(*room.taken.lock().unwrap(), 0);
    }
}
