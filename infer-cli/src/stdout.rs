//! Whether there is a standard output. Rust puts `/dev/null` in the place of one that is closed before `main` begins, and results
//! would be lost without a word.

use std::io;

/// Checks that the program was started with a standard output.
///
/// # Errors
/// It was closed.
pub fn check() -> io::Result<()> {
    if closed() { Err(io::Error::from_raw_os_error(EBADF)) } else { Ok(()) }
}

/// "Bad file descriptor", on every Unix.
const EBADF: i32 = 9;

#[cfg(any(target_os = "linux", target_os = "android"))]
fn closed() -> bool {
    CLOSED.load(std::sync::atomic::Ordering::Relaxed)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn closed() -> bool {
    false
}

#[cfg(any(target_os = "linux", target_os = "android"))]
static CLOSED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

// SAFETY: functions in this section are called once, before `main`, with whatever arguments; this one needs no part of Rust's
// runtime: it asks the system about a number, and stores a flag.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = {
    extern "C" fn look() {
        // SAFETY: F_GETFD takes no third argument and touches no memory.
        let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
        CLOSED.store(flags == -1, std::sync::atomic::Ordering::Relaxed);
    }
    look
};
