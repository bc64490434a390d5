//! Links only if no panic can be reached from what infer-core does on a board, whatever the weights: the panic handler
//! calls a function that does not exist, and the linker looks for it only where the handler is used.
#![no_std]
#![no_main]

use core::{hint::black_box, panic::PanicInfo};
use cortex_m_rt::entry;
use firmware::{Error, LENET5_WEIGHTS, camera};
use infer_core::{
    alexnet::{self, AlexNet},
    classify::{Prediction, top_k},
    lenet5::{self, LeNet5},
    packed::{Backend, Line, LinearWeights, PackedAlexNet, Serial},
};

#[entry]
fn main() -> ! {
    static mut IMAGE: lenet5::Image = [[[0.0; lenet5::SIDE]; lenet5::SIDE]; 1];
    static mut WORKSPACE: lenet5::Workspace = lenet5::Workspace::new();
    // The optimiser knows neither the weights nor what becomes of the answer.
    let _ = black_box(run(black_box(LENET5_WEIGHTS), IMAGE, WORKSPACE));
    // AlexNet too, though this board's memory would not hold it: what counts here is what is linked.
    let memory = black_box((&[][..], &[][..], &mut [][..], &mut [][..], &mut [][..]));
    let _ = black_box(run_alexnet(memory));
    loop {}
}

type Memory = (
    &'static [u8],
    &'static [alexnet::Image],
    &'static mut [alexnet::Workspace],
    &'static mut [Line],
    &'static mut [[f32; alexnet::CLASSES]],
);

/// The plain network and the packed one, from the same weights.
fn run_alexnet((weights, images, workspace, lines, logits): Memory) -> Option<Prediction> {
    let network = AlexNet::from_safetensors(weights).ok()?;
    let best = top_k::<1, _>(&network.forward(images.first()?, workspace.first_mut()?)).first().copied();
    let (packed, workspace) = lines.split_at_mut_checked(PackedAlexNet::packed_len(LinearWeights::F16))?;
    PackedAlexNet::pack(&network, LinearWeights::F16, packed).ok()?;
    let network = PackedAlexNet::from_packed(packed, Backend::best()).ok()?;
    network.forward(images, logits, workspace, &Serial).ok()?;
    let network = PackedAlexNet::from_safetensors(weights, Backend::best()).ok()?;
    network.forward(images, logits, workspace, &Serial).ok()?;
    best
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
