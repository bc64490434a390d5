//! Counts the instructions of opening LeNet-5, of resizing a picture for it, and of its forward pass.
#![no_std]
#![no_main]

#[path = "../board.rs"]
mod board;

use board::Counter;
use core::hint::black_box;
use cortex_m_rt::entry;
use cortex_m_semihosting::hprintln;
use firmware::{
    Error, LENET5_WEIGHTS,
    camera::{HEIGHT, WIDTH, take_picture},
};
use infer_core::{
    lenet5::{LeNet5, SIDE, Workspace},
    preprocess::{gray, resize_bilinear},
};

#[entry]
fn main() -> ! {
    board::finish(run())
}

fn run() -> Result<(), Error> {
    // On the stack, whose use is printed: all memory that the program needs.
    let (mut image, mut workspace) = ([[[0.0; SIDE]; SIDE]; 1], Workspace::new());
    let Some(counter) = Counter::start() else { return Ok(()) };

    let (open, network) = counter.count(|| LeNet5::<10>::from_safetensors(black_box(LENET5_WEIGHTS)));
    let network = network?;
    let byte = |x: usize, y: usize| gray((x ^ y) as u8);
    let (bytes, done) = counter.count(|| resize_bilinear(WIDTH, HEIGHT, byte, black_box(&mut image[0])));
    done?;
    let (picture, done) = counter.count(|| take_picture(black_box(&mut image[0])));
    done?;
    let (forward, logits) = counter.count(|| network.forward(black_box(&image), &mut workspace));

    for (name, count) in [
        ("open", open),
        ("resize of 320x240 bytes", bytes),
        ("resize of a 320x240 RGB picture", picture),
        ("LeNet-5 forward", forward),
    ] {
        hprintln!("{:10} instructions: {}", count, name);
    }
    board::report(&logits);
    Ok(())
}
