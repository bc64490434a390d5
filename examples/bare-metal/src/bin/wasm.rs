//! LeNet-5 in WebAssembly: functions that a web page would call, which `wasm.mjs` calls in Node.
#![no_std]
#![no_main]

use core::panic::PanicInfo;
use firmware::{Error, LENET5_WEIGHTS, camera::take_picture};
use infer_core::{
    int8::{Int8Backend, Line, Network, Serial},
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

/// Bytes of the linked weights.
#[unsafe(no_mangle)]
pub extern "C" fn weights() -> usize {
    LENET5_WEIGHTS.len()
}

fn f32_logits() -> Result<[f32; 10], Error> {
    let mut image = [[[0.0; SIDE]; SIDE]; 1];
    take_picture(&mut image[0])?;
    Ok(LeNet5::<10>::from_safetensors(LENET5_WEIGHTS)?.forward(&image, &mut Workspace::new()))
}

fn int8_logits() -> Result<[f32; 10], Error> {
    let mut image = [[[0.0; SIDE]; SIDE]; 1];
    take_picture(&mut image[0])?;
    let mut weights = [Line::ZERO; INT8_PLAN.packed_len(10)];
    firmware::quantise(&mut weights)?;
    let network = Network::from_packed(&INT8_PLAN, &weights, &mut [], Int8Backend::best())?;
    let (mut workspace, mut logits) = ([Line::ZERO; INT8_PLAN.workspace_len(10, 1)], [0.0; 10]);
    network.forward(image[0].as_flattened(), &mut logits, &mut workspace, &Serial)?;
    Ok(logits)
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    loop {}
}
