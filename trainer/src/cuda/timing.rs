//! Where a GPU's time goes: an event of the driver before and one after each kernel, product and copy, and sums by groups.
//!
//! It is measured where the driver's functions are called (`libraries`), and so dfdx's kernels are, too.
//!
//! Each device that [`start`] names has times of its own; of all others nothing is measured. [`start`] is called before a device is
//! opened, as kernels get their names when they are loaded. As most of the driver's functions take no device, the one of the thread
//! that calls them is meant (`failure::device`).

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ffi::{CStr, c_char, c_int, c_void},
    ptr,
    sync::{Mutex, PoisonError},
};

use super::{
    failure::{self, Code},
    libraries::unrecorded::Event,
};
use crate::times::{GroupTime, Times};

/// Measurements by the numbers of devices, of those that are measured.
static RECORDERS: Mutex<BTreeMap<c_int, Recorder>> = Mutex::new(BTreeMap::new());

/// Measures the device of this number from now on. Its kernels that were loaded before have no names: they are one group.
pub fn start(ordinal: usize) {
    if let Ok(device) = c_int::try_from(ordinal) {
        RECORDERS.lock().unwrap_or_else(PoisonError::into_inner).entry(device).or_default();
    }
}

/// Does `work` with the measurements of a device; nothing where it is not measured.
fn with<T>(device: c_int, work: impl FnOnce(&mut Recorder) -> T) -> Option<T> {
    RECORDERS.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&device).map(work)
}

/// Does `work` with the measurements of the device of this thread; nothing where it is not measured.
fn with_current<T>(work: impl FnOnce(&mut Recorder) -> T) -> Option<T> {
    with(failure::device()?, work)
}

/// Spans that wait for the GPU before the first of them are read.
const UNREAD: usize = 4096;

/// Measurements of a device so far.
#[derive(Default)]
struct Recorder {
    spare: Vec<Event>,
    /// Groups of work under way, with the events before and after each.
    spans: VecDeque<(String, Event, Event)>,
    /// Calls and milliseconds by group.
    groups: BTreeMap<String, (u64, f64)>,
    /// The event before the first span since the last [`take`].
    first: Option<Event>,
    /// Names of functions, by their addresses.
    names: HashMap<usize, String>,
    /// Streams of cuBLAS' handles, where not the device's own.
    streams: HashMap<usize, usize>,
}

impl Recorder {
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

    /// Times of all groups since the last call.
    fn take(&mut self) -> Result<Times, Code> {
        let mut milliseconds = 0.0;
        if let (Some(first), Some((.., last))) = (self.first, self.spans.back()) {
            last.wait().map_err(Code::Driver)?;
            milliseconds = last.since(first).map_err(Code::Driver)?;
        }
        self.read(true)?;
        self.spare.extend(self.first.take());
        let groups = std::mem::take(&mut self.groups).into_iter();
        let groups = groups.map(|(group, (calls, milliseconds))| GroupTime { group, calls, milliseconds }).collect();
        Ok(Times::new(f64::from(milliseconds), groups))
    }
}

/// Work that is being given to the GPU; the event after it is recorded when this is dropped.
#[derive(Debug)]
pub(crate) struct Span {
    device: c_int,
    group: String,
    stream: *mut c_void,
    start: Event,
}

/// Begins a span on a stream of this thread's device; none where that is not measured. The measurements tell its group.
fn begin(work: impl FnOnce(&Recorder) -> (String, *mut c_void)) -> Option<Span> {
    let device = failure::device()?;
    with(device, |recorder| {
        let (group, stream) = work(recorder);
        let start = recorder.event(stream)?;
        recorder.first.get_or_insert(start);
        Some(Span { device, group, stream, start })
    })?
}

/// Begins a span of a group on a stream; none where nothing is measured.
pub(crate) fn span(group: &str, stream: *mut c_void) -> Option<Span> {
    begin(|_| (group.to_string(), stream))
}

/// Like [`span`], for a kernel.
pub(crate) fn kernel(function: *mut c_void, stream: *mut c_void) -> Option<Span> {
    begin(|recorder| {
        let name = recorder.names.get(&function.addr());
        (group(name.map_or("kernels without a name", String::as_str)), stream)
    })
}

/// Like [`span`], for a product by a handle of cuBLAS.
pub(crate) fn product(group: &str, handle: *mut c_void) -> Option<Span> {
    begin(|recorder| {
        let stream = recorder.streams.get(&handle.addr()).copied();
        (group.to_string(), ptr::with_exposed_provenance_mut(stream.unwrap_or_default()))
    })
}

impl Drop for Span {
    fn drop(&mut self) {
        with(self.device, |recorder| {
            if let Some(end) = recorder.event(self.stream) {
                recorder.spans.push_back((std::mem::take(&mut self.group), self.start, end));
            }
            if recorder.spans.len() > UNREAD {
                // What goes wrong is told by `take`.
                let _ = recorder.read(false);
            }
        });
    }
}

/// Remembers the stream of a handle of cuBLAS.
pub(crate) fn uses_stream(handle: *mut c_void, stream: *mut c_void) {
    with_current(|recorder| recorder.streams.insert(handle.addr(), stream.expose_provenance()));
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
        with_current(|_| ())?;
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
        let function = unsafe { *self.function };
        if !function.is_null() {
            with_current(|recorder| recorder.names.insert(function.addr(), std::mem::take(&mut self.name)));
        }
    }
}

/// Times of all groups of this thread's device since the last call; none where it is not measured. The host waits for the GPU.
///
/// # Errors
/// The driver's.
pub(crate) fn take() -> Result<Option<Times>, Code> {
    with_current(Recorder::take).transpose()
}

/// The group of a kernel: what it does in a step; dfdx's by their names.
fn group(kernel: &str) -> String {
    let groups = [
        ("tower_unfold", "unfold"),
        ("tower_fold", "fold"),
        ("tower_bias_relu_pool", "bias, ReLU and pooling"),
        ("tower_pool_relu_backward", "bias, ReLU and pooling"),
        ("tower_", "bias and ReLU"),
        ("maps_norm", "local response normalisation"),
        ("maps_pool", "pooling"),
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
        assert_eq!(group("maps_norm_backward"), "local response normalisation");
        assert_eq!(group("relu_fwd_f32"), "dfdx: relu_fwd_f32");
    }

    #[test]
    fn nothing_is_measured_unless_asked_for() {
        // Another device is measured, not that of this thread.
        start(95);
        for device in [None, Some(94)] {
            device.into_iter().for_each(failure::work_on);
            assert!(span("group", ptr::null_mut()).is_none() && kernel(ptr::null_mut(), ptr::null_mut()).is_none());
            assert!(take().is_ok_and(|times| times.is_none()));
        }
        failure::work_on(95);
        assert!(take().is_ok_and(|times| times.is_some_and(|times| times.groups.iter().all(|group| group.calls == 0))));
    }
}
