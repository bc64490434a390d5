//! Functions that a web page calls: pixels in, logits and probabilities out. The trained model is inside.
//!
//! ```text
//! open ─▶ pixels(count): where RGBA bytes go ─▶ classify(width, height, …) ─▶ logits, probabilities, input, border
//! ```
//!
//! All memory is the module's own: the network's is static, and the page's memory grows for the pixels. The module imports
//! nothing; a panic would be an import, so that none can be reached.
#![cfg(target_arch = "wasm32")]
#![no_std]

use core::arch::wasm32::{memory_grow, memory_size};
use core::cell::UnsafeCell;
use core::slice;
use fashion::{CLASSES, FILE, MEAN, STD, TRANSFORMED, network};
use infer_core::alexnet::SIDE;
use infer_core::alexnet_low_rank::rank128::INT8_WINOGRAD_PLAN;
use infer_core::classify::softmax;
use infer_core::int8::{Int8Backend, Line, Network, Serial};
use infer_core::preprocess::{gray, luma, normalise, resize_bilinear};

/// Bytes of a page of WebAssembly's memory.
const PAGE: usize = 65_536;

/// Bytes of a pixel: red, green, blue, and alpha, which is passed over.
const PIXEL: usize = 4;

/// Result of [`classify`] where [`open`] was not called, or refused.
const NOT_OPEN: u32 = u32::MAX;

/// Result of [`classify`] where there was no room for as many pixels.
const NO_ROOM: u32 = u32::MAX - 1;

/// State that the functions share.
struct State {
    network: Option<Network<'static>>,
    workspace: [Line; INT8_WINOGRAD_PLAN.workspace_len(CLASSES.len(), 1)],
    /// The network's input before it is normalised: gray, 0 to 1.
    input: [[f32; SIDE]; SIDE],
    normalised: [[f32; SIDE]; SIDE],
    logits: [f32; CLASSES.len()],
    probabilities: [f32; CLASSES.len()],
    /// Where pixels begin; 0 before there are any.
    pixels: usize,
    /// Bytes for pixels.
    room: usize,
}

/// Memory of the module's only thread.
struct Alone<T>(UnsafeCell<T>);

// SAFETY: the module is compiled without threads.
unsafe impl<T> Sync for Alone<T> {}

static STATE: Alone<State> = Alone(UnsafeCell::new(State {
    network: None,
    workspace: [Line::ZERO; INT8_WINOGRAD_PLAN.workspace_len(CLASSES.len(), 1)],
    input: [[0.0; SIDE]; SIDE],
    normalised: [[0.0; SIDE]; SIDE],
    logits: [0.0; CLASSES.len()],
    probabilities: [0.0; CLASSES.len()],
    pixels: 0,
    room: 0,
}));

static MEMORY: Alone<[Line; TRANSFORMED]> = Alone(UnsafeCell::new([Line::ZERO; TRANSFORMED]));

/// The state, for the time of one call.
fn state() -> &'static mut State {
    // SAFETY: only exported functions ask for it, once each, and none of them calls another or the page.
    unsafe { &mut *STATE.0.get() }
}

/// Opens the network. Returns 0, or the number of infer-core's error.
#[unsafe(no_mangle)]
pub extern "C" fn open() -> u32 {
    let state = state();
    if state.network.is_some() {
        return 0;
    }
    // SAFETY: the network, which is opened once, is the only one that ever borrows this memory.
    let memory = unsafe { &mut *MEMORY.0.get() };
    match network(memory, Int8Backend::best()) {
        Ok(network) => {
            state.network = Some(network);
            0
        }
        Err(error) => u32::from(error.code()),
    }
}

/// Whether the module computes with vectors.
#[unsafe(no_mangle)]
pub extern "C" fn has_vectors() -> bool {
    Int8Backend::best() == Int8Backend::Simd128
}

/// Address of room for `count` pixels, four bytes each: red, green, blue, alpha. 0 where memory cannot grow so far.
#[unsafe(no_mangle)]
pub extern "C" fn pixels(count: usize) -> usize {
    let state = state();
    let Some(needed) = count.checked_mul(PIXEL) else { return 0 };
    if needed > state.room {
        let missing = (needed - state.room).div_ceil(PAGE);
        let end = memory_grow::<0>(missing);
        if end == usize::MAX {
            return 0;
        }
        if state.pixels == 0 {
            state.pixels = end * PAGE;
        }
        state.room = (memory_size::<0>() * PAGE).saturating_sub(state.pixels);
    }
    state.pixels
}

/// Classifies the image whose pixels were written to [`pixels`], row by row. Where `invert` is set, black and white are exchanged
/// first. Returns 0, the number of infer-core's error, or [`NOT_OPEN`] or [`NO_ROOM`].
#[unsafe(no_mangle)]
pub extern "C" fn classify(width: usize, height: usize, invert: bool) -> u32 {
    let State { network, workspace, input, normalised, logits, probabilities, pixels, room } = state();
    let Some(network) = network else { return NOT_OPEN };
    let bytes = width.checked_mul(height).and_then(|count| count.checked_mul(PIXEL));
    let Some(bytes) = bytes.filter(|bytes| bytes <= room && *pixels != 0) else { return NO_ROOM };
    // SAFETY: memory from `pixels` on, as many bytes as there is room for, is nobody else's, and was zeros before it was written.
    let (image, _) = unsafe { slice::from_raw_parts(*pixels as *const u8, bytes) }.as_chunks::<PIXEL>();
    // Gray pixels as gray images have them.
    let value = |x: usize, y: usize| match image.get(y * width + x) {
        Some(&[red, green, blue, _]) if red == green && green == blue => gray(red),
        Some(&[red, green, blue, _]) => luma([red, green, blue]),
        None => 0.0,
    };
    if let Err(error) = resize_bilinear(width, height, value, input) {
        return u32::from(error.code());
    }
    if invert {
        input.as_flattened_mut().iter_mut().for_each(|value| *value = 1.0 - *value);
    }
    *normalised = *input;
    normalise(normalised.as_flattened_mut(), MEAN, STD);
    if let Err(error) = network.forward(normalised.as_flattened(), logits, workspace, &Serial) {
        return u32::from(error.code());
    }
    *probabilities = softmax(logits);
    0
}

/// Address of the network's input before it was normalised: 224 rows of 224 values, 0 (black) to 1, `f32`.
#[unsafe(no_mangle)]
pub extern "C" fn input() -> *const f32 {
    state().input.as_ptr().cast()
}

/// Address of the logits, one `f32` for each class.
#[unsafe(no_mangle)]
pub extern "C" fn logits() -> *const f32 {
    state().logits.as_ptr()
}

/// Address of the probabilities, one `f32` for each class.
#[unsafe(no_mangle)]
pub extern "C" fn probabilities() -> *const f32 {
    state().probabilities.as_ptr()
}

/// Address of the weights file, whose metadata have the names of the classes, the limits of its checks and its accuracy.
#[unsafe(no_mangle)]
pub extern "C" fn file() -> *const u8 {
    FILE.as_ptr()
}

/// Bytes of the weights file.
#[unsafe(no_mangle)]
pub extern "C" fn file_len() -> usize {
    FILE.len()
}

unsafe extern "C" {
    safe fn a_panic_is_reachable() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    a_panic_is_reachable()
}
