//! LeNet-5 in 8-bit integers on the board, its trained weights linked into flash: camera → preprocess → forward → top classes.
#![no_std]
#![no_main]

#[path = "../board/mod.rs"]
mod board;

use board::println;
use cortex_m_rt::entry;
use firmware::{CLASSES, Error, LENET5_INT8_WEIGHTS, NAMES, camera, lenet5_int8};
use infer_core::{
    classify::top_k,
    int8::{Line, Serial},
    lenet5::{INT8_PLAN, Image, SIDE},
};

/// Memory of a forward pass.
type Workspace = [Line; INT8_PLAN.workspace_len(CLASSES, 1)];

#[entry]
fn main() -> ! {
    // `entry` makes exclusive references of these.
    static mut IMAGE: Image = [[[0.0; SIDE]; SIDE]; 1];
    static mut WORKSPACE: Workspace = [Line::ZERO; INT8_PLAN.workspace_len(CLASSES, 1)];
    board::finish(run(IMAGE, WORKSPACE))
}

fn run(image: &mut Image, workspace: &mut Workspace) -> Result<(), Error> {
    println!("LeNet-5 in 8-bit integers");
    println!("weights: {} bytes at {:p}", LENET5_INT8_WEIGHTS.len(), LENET5_INT8_WEIGHTS.as_ptr());
    println!("workspace: {} bytes at {:p}", size_of::<Workspace>(), workspace);
    println!("image: {} bytes at {:p}", size_of::<Image>(), image);

    let network = lenet5_int8()?;
    camera::take_picture(&mut image[0])?;
    let mut logits = [0.0; CLASSES];
    network.forward(image.as_flattened().as_flattened(), &mut logits, workspace, &Serial)?;
    board::report_bits(&logits);
    board::report_best(&logits);
    let best = top_k::<1, CLASSES>(&logits).first().map(|best| best.class);
    if let Some((names, class)) = NAMES.zip(best) {
        println!("picture: {}", names[class]);
    }
    Ok(())
}
