//! Counts the instructions of opening LeNet-5, of resizing pictures for it and of its forward pass, and the memory that the
//! program takes.
#![no_std]
#![no_main]

#[path = "../board/mod.rs"]
mod board;

use board::{Counter, println};
use core::hint::black_box;
use firmware::{
    Error, LENET5_WEIGHTS,
    camera::{HEIGHT, WIDTH, take_picture},
};
use infer_core::{
    int8::{Int8Backend, Line, Network, Serial},
    lenet5::{INT8_PLAN, LeNet5, SIDE, Workspace},
    preprocess::{gray, resize_bilinear},
};

board::start!(run);

fn run() -> Result<(), Error> {
    // On the stack, whose use is printed.
    let (mut image, mut workspace) = ([[[0.0; SIDE]; SIDE]; 1], Workspace::new());
    let counter = Counter::start();

    let (open, network) = counter.count(|| LeNet5::<10>::from_safetensors(black_box(LENET5_WEIGHTS)));
    let network = network?;
    let byte = |x: usize, y: usize| gray((x ^ y) as u8);
    let (bytes, done) = counter.count(|| resize_bilinear(WIDTH, HEIGHT, byte, black_box(&mut image[0])));
    done?;
    let (picture, done) = counter.count(|| take_picture(black_box(&mut image[0])));
    done?;
    let (forward, logits) = counter.count(|| network.forward(black_box(&image), &mut workspace));

    println!("instructions: open LeNet-5 {}", open);
    println!("instructions: resize {}x{} gray to {}x{} {}", WIDTH, HEIGHT, SIDE, SIDE, bytes);
    println!("instructions: resize {}x{} RGB to {}x{} {}", WIDTH, HEIGHT, SIDE, SIDE, picture);
    println!("instructions: forward pass {}", forward);
    let mut integers = [Line::ZERO; INT8_PLAN.packed_len(10)];
    firmware::quantise(&mut integers)?;
    let network = Network::from_packed(&INT8_PLAN, black_box(&integers), Int8Backend::best())?;
    let pixels = image[0].as_flattened();
    let pixels: [i16; SIDE * SIDE] =
        core::array::from_fn(|i| pixels.get(i).map_or(0, |pixel| network.quantise(*pixel)));
    let (mut memory, mut answer) = ([Line::ZERO; INT8_PLAN.workspace_len(10, 1)], [0.0; 10]);
    let (forward, done) =
        counter.count(|| network.forward_quantised(black_box(&pixels), &mut answer, &mut memory, &Serial));
    done?;
    println!("instructions: forward pass in int8 {}", forward);
    println!("int8: weights {} bytes, workspace {}", size_of_val(&integers), size_of_val(&memory));
    for (class, logit) in answer.iter().enumerate() {
        println!("int8 logit {} {:08x}", class, logit.to_bits());
    }
    let (flash, statics) = board::flash_and_statics();
    println!("flash used: {} bytes, of which weights {}; statics: {} bytes", flash, LENET5_WEIGHTS.len(), statics);
    board::report(&logits);
    Ok(())
}
