//! Counts the instructions of opening LeNet-5, of resizing pictures for it and of its forward pass, the stack of opening and of a
//! forward pass together, and the memory that the program takes.
#![no_std]
#![no_main]

#[path = "../board/mod.rs"]
mod board;

use board::{Counter, println, stack_of};
use core::hint::black_box;
use firmware::{
    CLASSES, Error, LENET5_INT8_WEIGHTS, LENET5_WEIGHTS,
    camera::{HEIGHT, WIDTH, take_picture},
    lenet5_int8,
};
use infer_core::{
    int8::{Int8Error, Line, Network, Serial},
    lenet5::{INT8_PLAN, Image, LeNet5, SIDE, Workspace},
    preprocess::{gray, resize_bilinear},
};

board::start!(run);

fn run() -> Result<(), Error> {
    let (mut image, mut workspace) = ([[[0.0; SIDE]; SIDE]; 1], Workspace::new());
    let counter = Counter::start();

    let (open, network) = counter.count(|| LeNet5::from_safetensors(black_box(LENET5_WEIGHTS)));
    let network: LeNet5<'_> = network?;
    count("instructions of opening LeNet-5", open);
    let byte = |x: usize, y: usize| gray((x ^ y) as u8);
    let (bytes, done) = counter.count(|| resize_bilinear(WIDTH, HEIGHT, byte, black_box(&mut image[0])));
    done?;
    count("instructions of resizing 320x240 gray pixels", bytes);
    let (picture, done) = counter.count(|| take_picture(black_box(&mut image[0])));
    done?;
    count("instructions of resizing 320x240 RGB pixels", picture);
    let (instructions, logits) = counter.count(|| forward(&network, black_box(&image), &mut workspace));
    count("instructions of f32", instructions);
    let (stack, again) = stack_of(|| open_and_run(black_box(&image), &mut workspace));
    again?;
    count("stack of f32", stack as u32);
    count("workspace of f32", Workspace::SIZE as u32);

    let network = black_box(lenet5_int8()?);
    let pixels = image[0].as_flattened();
    let pixels: [i16; SIDE * SIDE] =
        core::array::from_fn(|i| pixels.get(i).map_or(0, |pixel| network.quantise(*pixel)));
    let (mut memory, mut answer) = ([Line::ZERO; INT8_PLAN.workspace_len(CLASSES, 1)], [0.0; CLASSES]);
    let (instructions, done) = counter.count(|| forward_int8(&network, black_box(&pixels), &mut answer, &mut memory));
    done?;
    count("instructions of int8", instructions);
    let (stack, done) = stack_of(|| open_and_run_int8(black_box(&pixels), &mut answer, &mut memory));
    done?;
    count("stack of int8", stack as u32);
    count("workspace of int8", size_of_val(&memory) as u32);
    count("weights of int8", LENET5_INT8_WEIGHTS.len() as u32);
    let (flash, statics) = board::flash_and_statics();
    count("weights of f32", LENET5_WEIGHTS.len() as u32);
    count("flash", flash as u32);
    count("statics", statics as u32);
    board::report_bits(&answer);
    board::report(&logits);
    Ok(())
}

#[inline(never)]
fn forward(network: &LeNet5<'_>, image: &Image, workspace: &mut Workspace) -> [f32; CLASSES] {
    network.forward(image, workspace)
}

#[inline(never)]
fn forward_int8(
    network: &Network<'_>,
    pixels: &[i16],
    logits: &mut [f32],
    workspace: &mut [Line],
) -> Result<(), Int8Error> {
    network.forward_quantised(pixels, logits, workspace, &Serial)
}

#[inline(never)]
fn open_and_run(image: &Image, workspace: &mut Workspace) -> Result<[f32; CLASSES], Error> {
    let network: LeNet5<'_> = LeNet5::from_safetensors(LENET5_WEIGHTS)?;
    Ok(network.forward(image, workspace))
}

#[inline(never)]
fn open_and_run_int8(pixels: &[i16], logits: &mut [f32], workspace: &mut [Line]) -> Result<(), Error> {
    Ok(lenet5_int8()?.forward_quantised(pixels, logits, workspace, &Serial)?)
}

/// Prints a number of instructions or bytes.
fn count(what: &str, number: u32) {
    println!("{what}: {number}");
}
