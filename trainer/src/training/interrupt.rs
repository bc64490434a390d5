//! Signals: the first one asks the run to save and end, a second Ctrl-C ends the program at once.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

/// Whether the run is asked to end. Copies share the answer.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    requested: Arc<AtomicBool>,
    /// The signal that asked last; 0 where none did.
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// From now on Ctrl-C, SIGTERM, by which a system ends programs, and SIGHUP, which comes where a terminal or a connection
    /// is closed, ask. A second Ctrl-C or SIGTERM ends the program at once; SIGHUP often comes twice by itself.
    ///
    /// # Errors
    /// The system's, where signals cannot be caught.
    pub fn install() -> io::Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the first signal finds the flag not set yet.
            if signal != SIGHUP {
                flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&interrupt.requested))?;
            }
            flag::register_usize(signal, Arc::clone(&interrupt.signal), signal as usize)?;
            flag::register(signal, Arc::clone(&interrupt.requested))?;
        }
        Ok(interrupt)
    }

    /// Asks the run to end.
    pub fn request(&self) {
        self.requested.store(true, Ordering::SeqCst);
    }

    /// Whether it is asked to end.
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// The exit status that shells expect of a program that the signal ended: 128 more than its number, and that of Ctrl-C
    /// where no signal asked.
    pub fn exit_status(&self) -> u8 {
        let signal = match self.signal.load(Ordering::SeqCst) {
            0 => SIGINT as usize,
            signal => signal,
        };
        u8::try_from(128 + signal).unwrap_or(u8::MAX)
    }
}
