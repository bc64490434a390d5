//! LeNet-5 on the board, its weights linked into flash: camera → preprocess → forward → top classes.
#![no_std]
#![no_main]

#[path = "../board.rs"]
mod board;

use cortex_m_rt::entry;
use cortex_m_semihosting::hprintln;
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
    hprintln!("LeNet-5");
    hprintln!("weights: {} bytes at {:p}", LENET5_WEIGHTS.len(), LENET5_WEIGHTS.as_ptr());
    hprintln!("workspace: {} bytes at {:p}", Workspace::SIZE, workspace);
    hprintln!("image: {} bytes at {:p}", size_of::<Image>(), image);

    let network = LeNet5::<10>::from_safetensors(LENET5_WEIGHTS)?;
    camera::take_picture(&mut image[0])?;
    let logits = network.forward(image, workspace);
    board::report(&logits);
    Ok(())
}
