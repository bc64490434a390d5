//! Where a GPU's time goes: an event of the driver before and one after each kernel, product and copy, and sums by groups.
//!
//! It is measured where the driver's functions are called (`libraries`), and so dfdx's kernels are, too. As long as
//! [`start`] was not called, nothing but a flag is looked at.
//!
//! The times are those of the process, not of a device or a run: [`start`] is called before anything is opened, as kernels get
//! their names when they are loaded, and the program `trainer` uses one device only. The time between the first and the last
//! event is known for events of one GPU.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ffi::{CStr, c_char, c_void},
    ptr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{failure::Code, libraries::unrecorded::Event};
use crate::times::{GroupTime, Times};

static ON: AtomicBool = AtomicBool::new(false);
static RECORDER: Mutex<Recorder> = Mutex::new(Recorder::new());

/// Measures from now on. Kernels that were loaded before have no names: they are one group.
pub fn start() {
    ON.store(true, Ordering::Relaxed);
}

fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

fn recorder() -> std::sync::MutexGuard<'static, Recorder> {
    RECORDER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Spans that wait for the GPU before the first of them are read.
const UNREAD: usize = 4096;

/// Measurements so far.
struct Recorder {
    spare: Vec<Event>,
    /// Groups of work under way, with the events before and after each.
    spans: VecDeque<(String, Event, Event)>,
    /// Calls and milliseconds by group.
    groups: BTreeMap<String, (u64, f64)>,
    /// The event before the first span since the last [`take`].
    first: Option<Event>,
    /// Names of functions, by their addresses.
    names: Option<HashMap<usize, String>>,
    /// Streams of cuBLAS' handles, where not the device's own.
    streams: Option<HashMap<usize, usize>>,
}

impl Recorder {
    const fn new() -> Self {
        Self {
            spare: Vec::new(),
            spans: VecDeque::new(),
            groups: BTreeMap::new(),
            first: None,
            names: None,
            streams: None,
        }
    }

    /// Records an event; none where the driver has none to give.
    fn event(&mut self, stream: *mut c_void) -> Option<Event> {
        let event = self.spare.pop().or_else(Event::new)?;
        // SAFETY: the stream is that of the work that is measured.
        unsafe { event.record(stream) }.ok().map(|()| event)
    }

    /// Reads the first spans, as far as the GPU is done with them, or waits for all.
    fn read(&mut self, all: bool) -> Result<(), Code> {
        while let Some((_, start, end)) = self.spans.front() {
            if all {
                end.wait().map_err(Code::Driver)?;
            }
            let milliseconds = match end.since(*start) {
                Ok(milliseconds) => milliseconds,
                Err(_) if !all => return Ok(()),
                Err(code) => return Err(Code::Driver(code)),
            };
            if let Some((group, start, end)) = self.spans.pop_front() {
                let sum = self.groups.entry(group).or_default();
                *sum = (sum.0 + 1, sum.1 + f64::from(milliseconds));
                self.spare.extend([start, end].into_iter().filter(|event| Some(*event) != self.first));
            }
        }
        Ok(())
    }
}

/// Work that is being given to the GPU; the event after it is recorded when this is dropped.
#[derive(Debug)]
pub(crate) struct Span {
    group: String,
    stream: *mut c_void,
    start: Event,
}

/// Begins a span of a group on a stream; none where nothing is measured.
pub(crate) fn span(group: &str, stream: *mut c_void) -> Option<Span> {
    if !is_on() {
        return None;
    }
    let mut recorder = recorder();
    let start = recorder.event(stream)?;
    recorder.first.get_or_insert(start);
    Some(Span { group: group.to_string(), stream, start })
}

/// Like [`span`], for a kernel.
pub(crate) fn kernel(function: *mut c_void, stream: *mut c_void) -> Option<Span> {
    if !is_on() {
        return None;
    }
    let name = recorder().names.as_ref().and_then(|names| names.get(&(function as usize)).cloned());
    span(&group(name.as_deref().unwrap_or("kernels without a name")), stream)
}

/// Like [`span`], for a product by a handle of cuBLAS.
pub(crate) fn product(group: &str, handle: *mut c_void) -> Option<Span> {
    if !is_on() {
        return None;
    }
    let stream = recorder().streams.as_ref().and_then(|streams| streams.get(&(handle as usize)).copied());
    span(group, stream.unwrap_or_default() as *mut c_void)
}

impl Drop for Span {
    fn drop(&mut self) {
        let mut recorder = recorder();
        if let Some(end) = recorder.event(self.stream) {
            recorder.spans.push_back((std::mem::take(&mut self.group), self.start, end));
        }
        if recorder.spans.len() > UNREAD {
            // What goes wrong is told by `take`.
            let _ = recorder.read(false);
        }
    }
}

/// Remembers the stream of a handle of cuBLAS.
pub(crate) fn uses_stream(handle: *mut c_void, stream: *mut c_void) {
    if is_on() {
        recorder().streams.get_or_insert_default().insert(handle as usize, stream as usize);
    }
}

/// A function that the driver is asked for by its name, which is remembered when this is dropped.
pub(crate) struct Named {
    function: *mut *mut c_void,
    name: String,
}

impl Named {
    /// Nothing where nothing is measured.
    ///
    /// # Safety
    /// `function` is writable until this is dropped, and `name` a terminated text.
    pub(crate) unsafe fn new(function: *mut *mut c_void, name: *const c_char) -> Option<Self> {
        if !is_on() {
            return None;
        }
        // SAFETY: the caller's promise. Where the driver finds no function, none is there.
        unsafe {
            *function = ptr::null_mut();
            Some(Self { function, name: CStr::from_ptr(name).to_string_lossy().into_owned() })
        }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        // SAFETY: the promise of `new`, which wrote to the place.
        let function = unsafe { *self.function } as usize;
        if function != 0 {
            recorder().names.get_or_insert_default().insert(function, std::mem::take(&mut self.name));
        }
    }
}

/// Times of all groups of work since the last call; none where nothing is measured. The host waits for the GPU.
///
/// # Errors
/// The driver's.
pub(crate) fn take() -> Result<Option<Times>, Code> {
    if !is_on() {
        return Ok(None);
    }
    let mut recorder = recorder();
    let mut milliseconds = 0.0;
    if let (Some(first), Some((.., last))) = (recorder.first, recorder.spans.back().cloned()) {
        last.wait().map_err(Code::Driver)?;
        milliseconds = last.since(first).map_err(Code::Driver)?;
    }
    recorder.read(true)?;
    if let Some(first) = recorder.first.take() {
        recorder.spare.push(first);
    }
    let groups = std::mem::take(&mut recorder.groups).into_iter();
    let groups = groups.map(|(group, (calls, milliseconds))| GroupTime { group, calls, milliseconds }).collect();
    Ok(Some(Times::new(f64::from(milliseconds), groups)))
}

/// The group of a kernel: what it does in a step; dfdx's by their names.
fn group(kernel: &str) -> String {
    let groups = [
        ("tower_unfold", "unfold"),
        ("tower_fold", "fold"),
        ("tower_bias_relu_pool", "bias, ReLU and pooling"),
        ("tower_pool_relu_backward", "bias, ReLU and pooling"),
        ("tower_", "bias and ReLU"),
        ("inputs_", "inputs"),
        ("dropout_", "dropout masks"),
        ("optimiser_", "optimiser"),
    ];
    let own = groups.iter().find(|(start, _)| kernel.starts_with(start));
    own.map_or_else(|| format!("dfdx: {kernel}"), |(_, group)| (*group).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_belong_to_groups() {
        assert_eq!(group("tower_fold"), "fold");
        assert_eq!(group("tower_bias_relu_pool"), "bias, ReLU and pooling");
        assert_eq!(group("tower_bias_relu"), "bias and ReLU");
        assert_eq!(group("relu_fwd_f32"), "dfdx: relu_fwd_f32");
    }

    #[test]
    fn nothing_is_measured_unless_asked_for() {
        assert!(span("group", ptr::null_mut()).is_none() && kernel(ptr::null_mut(), ptr::null_mut()).is_none());
        assert!(take().is_ok_and(|times| times.is_none()));
    }
}
