//! LeNet-5 in WebAssembly: functions that a web page would call, which `wasm.mjs` calls in Node.
#![no_std]
#![no_main]

use core::panic::PanicInfo;
use firmware::{LENET5_INT8_WEIGHTS, LENET5_WEIGHTS};

/// Logits of the camera's picture, NaN where there are none.
#[unsafe(no_mangle)]
pub extern "C" fn logit(class: usize) -> f32 {
    let logits = firmware::logits().ok();
    logits.and_then(|logits| logits.get(class).copied()).unwrap_or(f32::NAN)
}

/// Bits of the logits by 8-bit integers, 0 where there are none.
#[unsafe(no_mangle)]
pub extern "C" fn int8_logit(class: usize) -> u32 {
    let logits = firmware::int8_logits().ok();
    logits.and_then(|logits| logits.get(class).copied()).map_or(0, f32::to_bits)
}

/// Bytes of the linked weights in f32.
#[unsafe(no_mangle)]
pub extern "C" fn weights() -> usize {
    LENET5_WEIGHTS.len()
}

/// Bytes of the linked weights in 8-bit integers.
#[unsafe(no_mangle)]
pub extern "C" fn int8_weights() -> usize {
    LENET5_INT8_WEIGHTS.len()
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    loop {}
}
