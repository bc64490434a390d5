//! Progress of a classification on the standard error: a bar for people, or lines for programs.

mod bar;
mod json;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use self::{bar::Bar, json::Json};
use crate::images::Sources;

/// Progress in one of its forms.
pub struct Progress {
    form: Form,
    /// Ends the search for the total.
    ended: Arc<AtomicBool>,
}

enum Form {
    Hidden,
    Bar(Bar),
    Json(Json),
}

impl Progress {
    /// No progress.
    pub fn hidden() -> Self {
        Self { form: Form::Hidden, ended: Arc::default() }
    }

    /// A bar. `done` images were classified before.
    pub fn bar(done: u64) -> Self {
        Self { form: Form::Bar(Bar::new(done)), ended: Arc::default() }
    }

    /// Lines of JSON.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn json(done: u64) -> io::Result<Self> {
        Ok(Self { form: Form::Json(Json::new(io::stderr(), done)?), ended: Arc::default() })
    }

    /// Counts the images in a thread of its own, and shows the total when it is known.
    pub fn count(&self, sources: Sources) {
        let show: Box<dyn FnOnce(u64) + Send> = match &self.form {
            Form::Hidden => return,
            Form::Bar(bar) => Box::new(bar.total()),
            Form::Json(json) => Box::new(json.total()),
        };
        let ended = self.ended.clone();
        // Without the thread, the total stays unknown.
        let _ = thread::Builder::new().spawn(move || sources.total(&ended).map(show));
    }

    /// An image is done.
    pub fn record(&mut self, failed: bool) {
        match &mut self.form {
            Form::Hidden => {}
            Form::Bar(bar) => bar.record(failed),
            Form::Json(json) => json.record(failed),
        }
    }

    /// Clears a bar away, writes a last line.
    pub fn finish(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        match &mut self.form {
            Form::Hidden => {}
            Form::Bar(bar) => bar.finish(),
            Form::Json(json) => json.finish(),
        }
    }
}
