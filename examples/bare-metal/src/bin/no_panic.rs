//! Links only if no panic can be reached from what infer-core does on a board, whatever the weights: the panic handler
//! calls a function that does not exist, and the linker looks for it only where the handler is used.
#![no_std]
#![no_main]

use core::{hint::black_box, panic::PanicInfo};
use cortex_m_rt::entry;
use firmware::{Error, LENET5_WEIGHTS, camera};
use infer_core::{
    classify::{Prediction, top_k},
    lenet5::{self, LeNet5},
};

#[entry]
fn main() -> ! {
    static mut IMAGE: lenet5::Image = [[[0.0; lenet5::SIDE]; lenet5::SIDE]; 1];
    static mut WORKSPACE: lenet5::Workspace = lenet5::Workspace::new();
    // The optimiser knows neither the weights nor what becomes of the answer.
    let _ = black_box(run(black_box(LENET5_WEIGHTS), IMAGE, WORKSPACE));
    loop {}
}

fn run(
    weights: &[u8],
    image: &mut lenet5::Image,
    workspace: &mut lenet5::Workspace,
) -> Result<Option<Prediction>, Error> {
    let network = LeNet5::from_safetensors(weights)?;
    camera::take_picture(&mut image[0])?;
    let logits = network.forward(image, workspace);
    Ok(top_k::<1, _>(&logits).first().copied())
}

unsafe extern "C" {
    /// Defined nowhere: a linker that names it says that a panic can be reached.
    fn a_panic_can_be_reached() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    // SAFETY: never executed, since the program does not link while this is reachable.
    unsafe { a_panic_can_be_reached() }
}
