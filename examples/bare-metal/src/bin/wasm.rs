//! LeNet-5 in WebAssembly: functions that a web page would call, which `wasm.mjs` calls in Node.
#![no_std]
#![no_main]

use core::panic::PanicInfo;
use firmware::{CLASSES, Error, LENET5_INT8_WEIGHTS, LENET5_WEIGHTS, camera::take_picture, lenet5_int8};
use infer_core::{
    int8::{Line, Serial},
    lenet5::{INT8_PLAN, LeNet5, SIDE, Workspace},
};

/// Logits of the camera's picture, NaN where there are none.
#[unsafe(no_mangle)]
pub extern "C" fn logit(class: usize) -> f32 {
    let logits = f32_logits().ok();
    logits.and_then(|logits| logits.get(class).copied()).unwrap_or(f32::NAN)
}

/// Bits of the logits by 8-bit integers, 0 where there are none.
#[unsafe(no_mangle)]
pub extern "C" fn int8_logit(class: usize) -> u32 {
    let logits = int8_logits().ok();
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

fn f32_logits() -> Result<[f32; CLASSES.len()], Error> {
    let mut image = [[[0.0; SIDE]; SIDE]; 1];
    take_picture(&mut image[0])?;
    let network: LeNet5<'_> = LeNet5::from_safetensors(LENET5_WEIGHTS)?;
    Ok(network.forward(&image, &mut Workspace::new()))
}

fn int8_logits() -> Result<[f32; CLASSES.len()], Error> {
    let mut image = [[[0.0; SIDE]; SIDE]; 1];
    take_picture(&mut image[0])?;
    let (mut workspace, mut logits) = ([Line::ZERO; INT8_PLAN.workspace_len(CLASSES.len(), 1)], [0.0; CLASSES.len()]);
    lenet5_int8()?.forward(image[0].as_flattened(), &mut logits, &mut workspace, &Serial)?;
    Ok(logits)
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    loop {}
}
