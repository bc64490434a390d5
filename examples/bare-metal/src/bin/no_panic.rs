//! Links only if no panic can be reached from what infer-core does on a board, whatever the weights: the panic handler
//! calls a function that does not exist, and the linker looks for it only where the handler is used.
#![no_std]
#![no_main]

use core::{hint::black_box, panic::PanicInfo};
use cortex_m_rt::entry;
use firmware::{Error, camera};
use infer_core::{
    alexnet::{self, AlexNet},
    classify::{Prediction, top_k},
    int8::{self, Int8Backend},
    lenet5::{self, LeNet5},
    packed::{Backend, Line, LinearWeights, Network, Plan, Serial},
    preprocess::{PreprocessError, Resize, normalise_channels, resize_channels, rgb},
    weights::Weights,
};

mod streams {
    infer_core::network! {
        /// Groups and normalisation, as in the AlexNet of 2012.
        Streams "streams": 3 x 20;
        conv1: conv 4, kernel 3, stride 2;
        norm1: local_response_norm;
        conv2: conv 4, kernel 3, groups 2;
        linear1: linear 3 classes;
    }
}

#[entry]
fn main() -> ! {
    static mut IMAGE: lenet5::Image = [[[0.0; lenet5::SIDE]; lenet5::SIDE]; 1];
    static mut WORKSPACE: lenet5::Workspace = lenet5::Workspace::new();
    static mut COLOURS: [[[f32; 28]; 28]; 3] = [[[0.0; 28]; 28]; 3];
    // The optimiser knows neither the weights nor what becomes of the answer.
    let _ = black_box(run(black_box(&[][..]), IMAGE, WORKSPACE));
    // AlexNet too, though this board's memory would not hold it, and both packed: what counts here is what is linked.
    let _ = black_box(run_alexnet(black_box((&[][..], &[][..], &mut [][..]))));
    let _ = black_box(run_streams(black_box((&[][..], &[][..], &mut [][..]))));
    for plan in black_box([&alexnet::INT8_PLAN, &lenet5::INT8_PLAN]) {
        let _ = black_box(run_int8(plan, black_box((&[][..], &[][..], &mut [][..], &mut [][..]))));
    }
    for plan in black_box([&alexnet::PLAN, &lenet5::PLAN]) {
        let _ = black_box(run_packed(plan, black_box((&[][..], &[][..], &mut [][..], &mut [][..]))));
    }
    let _ = black_box(run_colours(black_box((Resize::ShorterSide(32), 0, 0, &[][..])), COLOURS));
    loop {}
}

/// A photograph in colour, cut out of its middle.
fn run_colours(
    (resize, width, height, pixels): (Resize, usize, usize, &[[u8; 3]]),
    image: &mut [[[f32; 28]; 28]; 3],
) -> Result<(), PreprocessError> {
    let pixel =
        |x: usize, y: usize| rgb(pixels.get(y.wrapping_mul(width).wrapping_add(x)).copied().unwrap_or_default());
    resize_channels(resize, width, height, pixel, image)?;
    normalise_channels(image, &[0.5; 3], &[0.25; 3]);
    Ok(())
}

fn run_alexnet(
    (weights, images, workspace): (&[u8], &[alexnet::Image], &mut [alexnet::Workspace]),
) -> Option<Prediction> {
    let network: AlexNet = AlexNet::from_safetensors(weights).ok()?;
    top_k::<1, _>(&network.forward(images.first()?, workspace.first_mut()?)).first().copied()
}

fn run_streams(
    (weights, images, workspace): (&[u8], &[streams::Image], &mut [streams::Workspace]),
) -> Option<Prediction> {
    let network: streams::Streams = streams::Streams::from_safetensors(weights).ok()?;
    top_k::<1, _>(&network.forward(images.first()?, workspace.first_mut()?)).first().copied()
}

/// Packing, opening and running, from memory and from a file.
fn run_packed(
    plan: &'static Plan,
    (file, images, lines, logits): (&[u8], &[f32], &mut [Line], &mut [f32]),
) -> Option<()> {
    let weights = Weights::from_safetensors(plan.description(), file).ok()?;
    let length = plan.packed_len(weights.classes(), LinearWeights::F16);
    let (packed, workspace) = lines.split_at_mut_checked(length)?;
    Network::pack(plan, &weights, LinearWeights::F16, packed).ok()?;
    let network = Network::from_packed(plan, packed, Backend::best()).ok()?;
    network.forward(images, logits, workspace, &Serial).ok()?;
    let network = Network::from_safetensors(plan, file, Backend::best()).ok()?;
    network.forward(images, logits, workspace, &Serial).ok()
}

/// Quantising, opening and running in 8-bit integers, from memory and from a file.
fn run_int8(
    plan: &'static int8::Plan,
    (file, images, lines, logits): (&[u8], &[f32], &mut [Line], &mut [f32]),
) -> Option<()> {
    let weights = Weights::from_safetensors(plan.description(), file).ok()?;
    let (packed, workspace) = lines.split_at_mut_checked(plan.packed_len(weights.classes()))?;
    let (transformed, workspace) = workspace.split_at_mut_checked(plan.transformed_len())?;
    int8::Network::pack(plan, &weights, int8::Ranges { input: 1.0, outputs: images }, packed).ok()?;
    let network = int8::Network::from_packed(plan, packed, transformed, Int8Backend::best()).ok()?;
    network.check_weights().ok()?;
    network.forward(images, logits, workspace, &Serial).ok()?;
    let network = int8::Network::from_safetensors(plan, file, &mut [], Int8Backend::best()).ok()?;
    network.forward_quantised(&[network.quantise(*images.first()?)], logits, workspace, &Serial).ok()
}

fn run(
    weights: &[u8],
    image: &mut lenet5::Image,
    workspace: &mut lenet5::Workspace,
) -> Result<Option<Prediction>, Error> {
    let network: LeNet5 = LeNet5::from_safetensors(weights)?;
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
