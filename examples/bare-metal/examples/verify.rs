//! Reads what a program on the board printed and compares its logits with those of this machine:
//! `… | cargo run --example verify -- lenet5`, or `-- alexnet alexnet.safetensors`. LeNet-5's are of f32, of 8-bit integers, or both.

use firmware::{CLASSES, LENET5_WEIGHTS, camera, lenet5_int8};
use infer_core::{
    alexnet,
    classify::top_k,
    int8::{Line, Serial},
    lenet5,
};
use memmap2::Mmap;
use std::{error::Error, fs::File, io, str::FromStr};

/// The greatest difference of two logits, as a part of the largest absolute logit.
const TOLERANCE: f32 = 1e-4;

/// The class of the camera's picture, where LeNet-5's weights are those in `model/`.
const CLASS: Option<&str> = match (option_env!("WEIGHTS"), option_env!("INT8_WEIGHTS")) {
    (None, None) => Some("Trouser"),
    _ => None,
};

type Logits = [f32; CLASSES.len()];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let printed = io::read_to_string(io::stdin())?;
    let floats: Option<Logits> = read(&printed, "logit ")?;
    let integers: Option<[Bits; CLASSES.len()]> = read(&printed, "int8 logit ")?;
    match arguments[..] {
        ["lenet5"] => {
            if floats.is_none() && integers.is_none() {
                return Err("the board printed no logits".into());
            }
            if let Some(found) = floats {
                compare(&lenet5()?, &found, CLASS)?;
            }
            if let Some(found) = integers {
                compare_bits(&int8()?, &found)?;
            }
            Ok(())
        }
        ["alexnet", file] => compare(&alexnet(file)?, &floats.ok_or("the board printed no logits")?, None),
        _ => Err("usage: verify lenet5 | verify alexnet FILE".into()),
    }
}

/// The bits of a float, printed in hexadecimal.
#[derive(Debug, PartialEq)]
struct Bits(u32);

impl FromStr for Bits {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u32::from_str_radix(text, 16).map(Self)
    }
}

/// The numbers in lines that begin so, one of each class; `None` where there are no such lines.
fn read<T: FromStr>(printed: &str, prefix: &str) -> Result<Option<[T; CLASSES.len()]>, Box<dyn Error>>
where
    T::Err: Error + 'static,
{
    let lines = printed.lines().filter_map(|line| line.strip_prefix(prefix)?.split_once(' '));
    let numbers = lines.map(|(_, number)| number.trim().parse()).collect::<Result<Vec<T>, _>>()?;
    if numbers.is_empty() {
        return Ok(None);
    }
    let all = numbers
        .try_into()
        .map_err(|found: Vec<T>| format!("expected {} lines of \"{prefix}\", found {}", CLASSES.len(), found.len()))?;
    Ok(Some(all))
}

/// Compares the logits of f32, which must be close, and the classes.
fn compare(here: &Logits, there: &Logits, class: Option<&str>) -> Result<(), Box<dyn Error>> {
    let largest = here.iter().fold(0.0, |largest: f32, logit| largest.max(logit.abs()));
    let difference = here.iter().zip(there).fold(0.0, |most: f32, (a, b)| most.max((a - b).abs()));
    let best = [here, there].map(|logits| top_k::<1, { CLASSES.len() }>(logits)[0].class);
    println!(
        "largest absolute logit {largest}, largest difference {difference:e}, top class {} here, {} there",
        best[0], best[1]
    );
    println!("f32: {} of 10 logits have this machine's bits", there.iter().zip(here).filter(|(a, b)| a == b).count());
    // Written so that NaN fails too.
    let close = difference <= TOLERANCE * largest && largest > 0.0;
    if !close || best[0] != best[1] {
        return Err("the board's logits are not this machine's".into());
    }
    expect(class, best[0])
}

/// Compares the logits of 8-bit integers, which must be the same.
fn compare_bits(here: &Logits, there: &[Bits; CLASSES.len()]) -> Result<(), Box<dyn Error>> {
    let bits = here.map(|logit| Bits(logit.to_bits()));
    println!("int8: {} of 10 logits have this machine's bits", there.iter().zip(&bits).filter(|(a, b)| a == b).count());
    if *there != bits {
        return Err("the board's int8 logits are not this machine's".into());
    }
    expect(CLASS, top_k::<1, { CLASSES.len() }>(here)[0].class)
}

/// Fails where the best class is not the one of a name.
fn expect(class: Option<&str>, found: usize) -> Result<(), Box<dyn Error>> {
    match class.filter(|class| *class != CLASSES[found]) {
        Some(class) => Err(format!("the camera's picture is {}, and should be {class}", CLASSES[found]).into()),
        None => Ok(()),
    }
}

fn lenet5() -> Result<Logits, firmware::Error> {
    let mut image = [[[0.0; lenet5::SIDE]; lenet5::SIDE]; 1];
    camera::take_picture(&mut image[0])?;
    let network: lenet5::LeNet5<'_> = lenet5::LeNet5::from_safetensors(LENET5_WEIGHTS)?;
    Ok(network.forward(&image, &mut lenet5::Workspace::new()))
}

/// The logits of int8, by the fastest kernels of this machine.
fn int8() -> Result<Logits, firmware::Error> {
    let mut image = [[[0.0; lenet5::SIDE]; lenet5::SIDE]; 1];
    camera::take_picture(&mut image[0])?;
    let network = lenet5_int8()?;
    let (mut workspace, mut logits) = (vec![Line::ZERO; network.workspace_len(1)], [0.0; CLASSES.len()]);
    network.forward(image[0].as_flattened(), &mut logits, &mut workspace, &Serial)?;
    Ok(logits)
}

fn alexnet(file: &str) -> Result<Logits, Box<dyn Error>> {
    let weights = File::open(file).map_err(|e| format!("{file}: {e}"))?;
    // SAFETY: the file is this program's alone while it runs.
    let weights = unsafe { Mmap::map(&weights)? };
    let network = alexnet::AlexNet::<10>::from_safetensors(&weights).map_err(|e| format!("{file}: {e}"))?;
    let mut image = Box::new([[[0.0; alexnet::SIDE]; alexnet::SIDE]; 1]);
    camera::take_picture(&mut image[0])?;
    Ok(network.forward(&image, &mut Box::default()))
}
