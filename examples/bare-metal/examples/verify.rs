//! Reads what a program on the board printed and compares its logits with those of this machine:
//! `… | cargo run --example verify -- lenet5`, `-- lenet5-int8` for a program of 8-bit integers alone, or `-- alexnet alexnet.safetensors`.

use firmware::{CLASSES, NAMES, camera};
use infer_core::{alexnet, classify::top_k};
use memmap2::Mmap;
use std::{error::Error, fs::File, io, str::FromStr};

/// The greatest difference of two logits, as a part of the largest absolute logit.
const TOLERANCE: f32 = 1e-4;

/// The class of the camera's picture.
const CLASS: &str = "Trouser";

type Logits = [f32; CLASSES];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let printed = io::read_to_string(io::stdin())?;
    match arguments[..] {
        ["lenet5"] => {
            let here = firmware::logits()?;
            compare(&here, &read(&printed, "logit ")?)?;
            expect_class(&here)?;
            compare_bits(&printed)
        }
        ["lenet5-int8"] => compare_bits(&printed),
        ["alexnet", file] => compare(&alexnet(file)?, &read(&printed, "logit ")?),
        _ => Err("usage: verify lenet5 | verify lenet5-int8 | verify alexnet FILE".into()),
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

/// The numbers in lines that begin so, one of each class.
fn read<T: FromStr>(printed: &str, prefix: &str) -> Result<[T; CLASSES], Box<dyn Error>>
where
    T::Err: Error + 'static,
{
    let lines = printed.lines().filter_map(|line| line.strip_prefix(prefix)?.split_once(' '));
    let numbers = lines.map(|(_, number)| number.trim().parse()).collect::<Result<Vec<T>, _>>()?;
    let all = numbers.try_into();
    Ok(all.map_err(|found: Vec<T>| format!("expected {CLASSES} lines of \"{prefix}\", found {}", found.len()))?)
}

/// Compares the logits of f32, which must be close, and the classes.
fn compare(here: &Logits, there: &Logits) -> Result<(), Box<dyn Error>> {
    let largest = here.iter().fold(0.0, |largest: f32, logit| largest.max(logit.abs()));
    let difference = here.iter().zip(there).fold(0.0, |most: f32, (a, b)| most.max((a - b).abs()));
    let [best, found] = [here, there].map(|logits| top_k::<1, CLASSES>(logits)[0].class);
    println!(
        "largest absolute logit {largest}, largest difference {difference:e}, top class {best} here, {found} there"
    );
    println!("f32: {} of 10 logits have this machine's bits", there.iter().zip(here).filter(|(a, b)| a == b).count());
    // Written so that NaN fails too.
    let close = difference <= TOLERANCE * largest && largest > 0.0;
    if close && best == found { Ok(()) } else { Err("the board's logits are not this machine's".into()) }
}

/// Compares the printed logits of 8-bit integers, which must be the same.
fn compare_bits(printed: &str) -> Result<(), Box<dyn Error>> {
    let (here, there) = (firmware::int8_logits()?, read::<Bits>(printed, "int8 logit ")?);
    let bits = here.map(|logit| Bits(logit.to_bits()));
    println!("int8: {} of 10 logits have this machine's bits", there.iter().zip(&bits).filter(|(a, b)| a == b).count());
    if there != bits {
        return Err("the board's int8 logits are not this machine's".into());
    }
    expect_class(&here)
}

/// Fails where the best class has a name, and not that of the camera's picture.
fn expect_class(logits: &Logits) -> Result<(), Box<dyn Error>> {
    let name = NAMES.map(|names| names[top_k::<1, CLASSES>(logits)[0].class]);
    match name.filter(|name| *name != CLASS) {
        Some(name) => Err(format!("the camera's picture is {name}, and should be {CLASS}").into()),
        None => Ok(()),
    }
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
