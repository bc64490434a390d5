//! A network of its own without operating system and heap: weights in flash, memory in statics. Exit status 0: both answers are right.
#![no_std]
#![no_main]

use infer_core::{classify::top_k, include_aligned, preprocess::gray_frame};

infer_core::network! {
    /// Tells horizontal (0) from vertical (1) stripes in gray images of 8×8 pixels.
    Stripes "stripes": 1 x 8;
    conv1: conv 4, kernel 3;
    pool1: max_pool kernel 2, stride 2;
    linear1: linear 2 classes;
}

static WEIGHTS: &[u8] = include_aligned!("stripes.safetensors");

fn classify(camera: &[u8]) -> Option<usize> {
    let network: Stripes = Stripes::from_safetensors_unscanned(WEIGHTS).ok()?;
    let (mut image, mut workspace) = ([[[0.0; SIDE]; SIDE]], Workspace::new());
    gray_frame(camera, &mut image[0]).ok()?;
    Some(top_k::<1, CLASSES>(&network.forward(&image, &mut workspace)).first()?.class)
}

#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    let stripes = |step| core::array::from_fn::<u8, { SIDE * SIDE }, _>(|i| if i / step % 4 < 2 { 250 } else { 10 });
    i32::from([1, SIDE].map(|step| classify(&stripes(step))) != [Some(1), Some(0)])
}

#[link(name = "c")]
unsafe extern "C" {}

#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {} // Linux's precompiled `core` asks for it; a board's does not.

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
