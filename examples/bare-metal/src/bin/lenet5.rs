//! LeNet-5 in 8-bit integers on the board, its trained weights linked into flash: camera → preprocess → forward → top classes.
#![no_std]
#![no_main]

#[path = "../board/mod.rs"]
mod board;

use board::println;
use cortex_m_rt::entry;
use firmware::{CLASSES, Error, LENET5_INT8_WEIGHTS, camera, lenet5_int8};
use infer_core::{
    int8::{Line, Serial},
    lenet5::{INT8_PLAN, Image, SIDE},
};

/// Memory of a forward pass.
type Workspace = [Line; INT8_PLAN.workspace_len(CLASSES.len(), 1)];

#[entry]
fn main() -> ! {
    // `entry` makes exclusive references of these.
    static mut IMAGE: Image = [[[0.0; SIDE]; SIDE]; 1];
    static mut WORKSPACE: Workspace = [Line::ZERO; INT8_PLAN.workspace_len(CLASSES.len(), 1)];
    board::finish(run(IMAGE, WORKSPACE))
}

fn run(image: &mut Image, workspace: &mut Workspace) -> Result<(), Error> {
    println!("LeNet-5 in 8-bit integers");
    println!("weights: {} bytes at {:p}", LENET5_INT8_WEIGHTS.len(), LENET5_INT8_WEIGHTS.as_ptr());
    println!("workspace: {} bytes at {:p}", size_of::<Workspace>(), workspace);
    println!("image: {} bytes at {:p}", size_of::<Image>(), image);

    let network = lenet5_int8()?;
    camera::take_picture(&mut image[0])?;
    let mut logits = [0.0; CLASSES.len()];
    network.forward(image.as_flattened().as_flattened(), &mut logits, workspace, &Serial)?;
    board::report_int8(&logits);
    Ok(())
}
