//! Ctrl-C and SIGTERM: the first one asks the program to end in order, a second one ends it at once.

use std::{
    io, process,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

/// The signal that asked the program to end, if there was one. Copies share the answer.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// From now on signals only ask.
    ///
    /// # Errors
    /// The system's, where signals cannot be caught.
    pub fn install() -> io::Result<Self> {
        let (interrupt, asked) = (Self::default(), Arc::new(AtomicBool::new(false)));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag not set yet.
            flag::register_conditional_shutdown(signal, status(signal), Arc::clone(&asked))?;
            flag::register(signal, Arc::clone(&asked))?;
            flag::register_usize(signal, Arc::clone(&interrupt.0), usize::try_from(signal).unwrap_or_default())?;
        }
        Ok(interrupt)
    }

    /// The exit status of a program that a signal asked to end.
    pub fn requested(&self) -> Option<i32> {
        let signal = i32::try_from(self.0.load(Ordering::SeqCst)).unwrap_or_default();
        (signal != 0).then(|| status(signal))
    }

    /// Ends the program on a signal, after `clean_up`, whatever it is doing.
    pub fn end_with(self, clean_up: impl FnOnce() + Send + 'static) {
        thread::spawn(move || {
            loop {
                if let Some(status) = self.requested() {
                    clean_up();
                    process::exit(status);
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
    }
}

/// Exit status by the convention of shells.
fn status(signal: i32) -> i32 {
    128 + signal
}
