//! Reads what a program on the board printed and compares its logits with those of this machine:
//! `… | cargo run --example verify -- lenet5`, or `-- alexnet alexnet.safetensors`.

use firmware::{LENET5_WEIGHTS, camera};
use infer_core::{
    alexnet,
    classify::top_k,
    int8::{Int8Backend, Line, Network, Serial},
    lenet5,
};
use memmap2::Mmap;
use std::{error::Error, fs::File, io};

/// The greatest difference of two logits, as a part of the largest absolute logit.
const TOLERANCE: f32 = 1e-4;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let expected = match arguments[..] {
        ["lenet5"] => lenet5(LENET5_WEIGHTS)?,
        ["alexnet", file] => alexnet(file)?,
        _ => return Err("usage: verify lenet5 | verify alexnet FILE".into()),
    };
    let printed = io::read_to_string(io::stdin())?;
    let found = printed.lines().filter_map(|line| line.strip_prefix("logit ")?.split_once(' '));
    let found = found.map(|(_, logit)| logit.trim().parse()).collect::<Result<Vec<f32>, _>>()?;
    let found: [f32; 10] =
        found.try_into().map_err(|found: Vec<f32>| format!("expected 10 logits, found {}", found.len()))?;

    let largest = expected.iter().fold(0.0, |largest: f32, logit| largest.max(logit.abs()));
    let difference = expected.iter().zip(&found).fold(0.0, |most: f32, (a, b)| most.max((a - b).abs()));
    let (here, there) = (top_k::<1, 10>(&expected)[0].class, top_k::<1, 10>(&found)[0].class);
    println!(
        "largest absolute logit {largest}, largest difference {difference:e}, top class {here} here, {there} there"
    );
    println!("f32: {} of 10 logits have this machine's bits", found.iter().zip(&expected).filter(|(a, b)| a == b).count());
    let prefix = "int8 logit ";
    let integers = printed.lines().filter_map(|line| line.strip_prefix(prefix)?.split_once(' '));
    let integers: Vec<_> = integers.map(|(_, bits)| u32::from_str_radix(bits.trim(), 16)).collect::<Result<_, _>>()?;
    if !integers.is_empty() {
        let here = int8()?.map(f32::to_bits);
        println!(
            "int8: {} of 10 logits have this machine's bits",
            integers.iter().zip(&here).filter(|(a, b)| a == b).count()
        );
        if integers[..] != here {
            return Err("the board's int8 logits are not this machine's".into());
        }
    }
    // Written so that NaN fails too.
    let close = difference <= TOLERANCE * largest && largest > 0.0;
    if close && here == there { Ok(()) } else { Err("the board's logits are not this machine's".into()) }
}

fn lenet5(weights: &[u8]) -> Result<[f32; 10], firmware::Error> {
    let mut image = [[[0.0; lenet5::SIDE]; lenet5::SIDE]; 1];
    camera::take_picture(&mut image[0])?;
    Ok(lenet5::LeNet5::<10>::from_safetensors(weights)?.forward(&image, &mut lenet5::Workspace::new()))
}

/// The logits of int8, by the fastest kernels of this machine.
fn int8() -> Result<[f32; 10], firmware::Error> {
    let mut weights = [Line::ZERO; lenet5::INT8_PLAN.packed_len(10)];
    firmware::quantise(&mut weights)?;
    let network = Network::from_packed(&lenet5::INT8_PLAN, &weights, &mut [], Int8Backend::best())?;
    let mut image = [[[0.0; lenet5::SIDE]; lenet5::SIDE]; 1];
    camera::take_picture(&mut image[0])?;
    let (mut workspace, mut logits) = (vec![Line::ZERO; network.workspace_len(1)], [0.0; 10]);
    network.forward(image[0].as_flattened(), &mut logits, &mut workspace, &Serial)?;
    Ok(logits)
}

fn alexnet(file: &str) -> Result<[f32; 10], Box<dyn Error>> {
    let weights = File::open(file).map_err(|e| format!("{file}: {e}"))?;
    // SAFETY: the file is this program's alone while it runs.
    let weights = unsafe { Mmap::map(&weights)? };
    let network = alexnet::AlexNet::<10>::from_safetensors(&weights).map_err(|e| format!("{file}: {e}"))?;
    let mut image = Box::new([[[0.0; alexnet::SIDE]; alexnet::SIDE]; 1]);
    camera::take_picture(&mut image[0])?;
    Ok(network.forward(&image, &mut Box::default()))
}
