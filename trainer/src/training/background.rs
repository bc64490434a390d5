//! Files that are written while the run goes on: their content is settled before, and a thread of their own does the rest.

use std::thread::{self, JoinHandle};

use super::error::OutputError;

/// Work that is left for a file whose content is settled.
pub(super) type Job = Box<dyn FnOnce() -> Result<(), OutputError> + Send>;

/// Writes one list of files at a time.
#[derive(Debug, Default)]
pub(super) struct Writer {
    running: Option<JoinHandle<Result<(), OutputError>>>,
}

impl Writer {
    /// Begins to write files, one after the other up to the first that fails, once those before are written.
    ///
    /// # Errors
    /// Those of the files before.
    pub(super) fn start(&mut self, files: Vec<Job>) -> Result<(), OutputError> {
        self.finish()?;
        self.running = Some(thread::spawn(|| files.into_iter().try_for_each(|file| file())));
        Ok(())
    }

    /// Reports what has failed so far, and waits for nothing.
    ///
    /// # Errors
    /// The first file that could not be written.
    pub(super) fn check(&mut self) -> Result<(), OutputError> {
        if self.running.as_ref().is_some_and(JoinHandle::is_finished) { self.finish() } else { Ok(()) }
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    /// The first file that could not be written.
    pub(super) fn finish(&mut self) -> Result<(), OutputError> {
        match self.running.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Writer {
    /// Waits, so that no file is left half-written because the program ends.
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            // Whoever wants to know what failed has asked before.
            let _ = running.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        path::PathBuf,
        sync::{Arc, Mutex, mpsc},
        time::Duration,
    };

    use super::*;

    fn failure() -> Result<(), OutputError> {
        Err(OutputError::Write { path: PathBuf::from("file"), source: io::Error::other("the disk is full") })
    }

    #[test]
    fn files_are_written_in_order_and_the_next_ones_wait() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let (allow, allowed) = mpsc::channel::<()>();
        let job = |name: &'static str, wait: Option<mpsc::Receiver<()>>| -> Job {
            let order = order.clone();
            Box::new(move || {
                if let Some(wait) = wait {
                    wait.recv_timeout(Duration::from_secs(60)).unwrap();
                }
                order.lock().unwrap().push(name);
                Ok(())
            })
        };
        let mut writer = Writer::default();
        writer.start(vec![job("weights", Some(allowed)), job("checkpoint", None)]).unwrap();
        // Nothing was written, and nobody waited for it.
        writer.check().unwrap();
        assert!(order.lock().unwrap().is_empty());
        allow.send(()).unwrap();
        writer.start(vec![job("next", None)]).unwrap();
        writer.finish().unwrap();
        assert_eq!(*order.lock().unwrap(), ["weights", "checkpoint", "next"]);
    }

    #[test]
    fn a_failure_is_reported_once_and_nothing_after_it_is_written() {
        let mut writer = Writer::default();
        writer.start(vec![Box::new(failure), Box::new(|| panic!("written after a failure"))]).unwrap();
        assert!(writer.finish().unwrap_err().to_string().contains("the disk is full"));
        writer.finish().unwrap();
        writer.start(vec![Box::new(failure)]).unwrap();
        assert!(writer.start(Vec::new()).unwrap_err().to_string().contains("cannot write file"));
    }
}
