//! Progress for programs: a JSON object a line, once a second and at the end.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde::Serialize;

/// Time between two lines.
const PERIOD: Duration = Duration::from_secs(1);

/// The keys, in the order in which they are written.
#[derive(Debug, Clone, Serialize)]
struct State {
    /// Images that have a record, those of an earlier run that is gone on from among them.
    done: u64,
    /// Images of this run that could not be classified.
    failed: u64,
    /// All images, once that is known.
    total: Option<u64>,
    /// Time since the beginning.
    seconds: f64,
    /// Images of this run, by that time.
    images_per_second: f64,
    /// The last line.
    finished: bool,
}

/// Lines on the standard error, by a thread of its own.
pub struct Json {
    state: Arc<Mutex<State>>,
    end: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Json {
    /// Lines from now on, to `out`. `before` images were classified by an earlier run.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn new(mut out: impl Write + Send + 'static, before: u64) -> io::Result<Self> {
        let state =
            State { done: before, failed: 0, total: None, seconds: 0.0, images_per_second: 0.0, finished: false };
        let state = Arc::new(Mutex::new(state));
        let (start, shared) = (Instant::now(), Arc::clone(&state));
        let mut line = move |finished| {
            let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
            state.seconds = start.elapsed().as_secs_f64();
            state.images_per_second = (state.done - before) as f64 / state.seconds;
            state.finished = finished;
            // A number that is not finite would be null; that nobody can read it is no reason to stop.
            let _ = serde_json::to_string(&state).map(|line| writeln!(out, "{line}"));
        };
        let (sender, end) = channel::<()>();
        let thread = thread::Builder::new().name("progress".into()).spawn(move || {
            while end.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                line(false);
            }
            line(true);
        })?;
        Ok(Self { state, end: Some((sender, thread)) })
    }

    /// An image is done.
    pub fn record(&self, failed: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.done += 1;
        state.failed += u64::from(failed);
    }

    /// A function that takes the total, once it is known.
    pub fn total(&self) -> impl FnOnce(u64) + Send + 'static {
        let state = Arc::clone(&self.state);
        move |total| state.lock().unwrap_or_else(PoisonError::into_inner).total = Some(total)
    }

    /// Writes the last line.
    pub fn finish(&mut self) {
        if let Some((sender, thread)) = self.end.take() {
            drop(sender);
            // The thread cannot panic; if it did, a line would be missing.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_a_second_and_one_at_the_end() {
        let out = Shared::default();
        let mut progress = Json::new(out.clone(), 5).unwrap();
        progress.record(false);
        while out.0.lock().unwrap().is_empty() {
            thread::sleep(Duration::from_millis(10));
        }
        progress.record(true);
        progress.total()(9);
        progress.finish();
        progress.finish();
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [first, .., last] = &lines[..] else { panic!("{text}") };
        assert_eq!((&first["done"], &first["failed"], &first["finished"]), (&6.into(), &0.into(), &false.into()));
        assert!(first["total"].is_null() && first["seconds"].as_f64() >= Some(1.0), "{text}");
        assert_eq!((&last["done"], &last["failed"], &last["finished"]), (&7.into(), &1.into(), &true.into()));
        assert_eq!(last["total"], 9);
        let images = last["images_per_second"].as_f64().unwrap() * last["seconds"].as_f64().unwrap();
        assert!((images - 2.0).abs() < 1e-9, "{text}");
        assert!(text.starts_with("{\"done\":6,\"failed\":0,\"total\":null,\"seconds\":"), "{text}");
    }
}
