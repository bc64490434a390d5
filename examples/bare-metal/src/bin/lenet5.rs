//! LeNet-5 on the board, its weights linked into flash: camera → preprocess → forward → top classes.
#![no_std]
#![no_main]

#[path = "../board/mod.rs"]
mod board;

use board::println;
use cortex_m_rt::entry;
use firmware::{Error, LENET5_WEIGHTS, camera};
use infer_core::lenet5::{Image, LeNet5, SIDE, Workspace};

#[entry]
fn main() -> ! {
    // `entry` makes exclusive references of these.
    static mut IMAGE: Image = [[[0.0; SIDE]; SIDE]; 1];
    static mut WORKSPACE: Workspace = Workspace::new();
    board::finish(run(IMAGE, WORKSPACE))
}

fn run(image: &mut Image, workspace: &mut Workspace) -> Result<(), Error> {
    println!("LeNet-5");
    println!("weights: {} bytes at {:p}", LENET5_WEIGHTS.len(), LENET5_WEIGHTS.as_ptr());
    println!("workspace: {} bytes at {:p}", Workspace::SIZE, workspace);
    println!("image: {} bytes at {:p}", size_of::<Image>(), image);

    let network = LeNet5::<10>::from_safetensors(LENET5_WEIGHTS)?;
    camera::take_picture(&mut image[0])?;
    let logits = network.forward(image, workspace);
    board::report(&logits);
    Ok(())
}
