//! AlexNet on the board, its 187 MB of weights in external memory, where the network reads them: nothing is copied.
//!
//! The weights file must be at [`WEIGHTS`] and its length at [`LENGTH`]. In QEMU, the loader puts them there; on a board,
//! a boot loader does, or the file lies in flash that is mapped into memory.
#![no_std]
#![no_main]

#[path = "../board/mod.rs"]
mod board;

use board::println;
use cortex_m_rt::entry;
use firmware::{Error, camera};
use infer_core::alexnet::{AlexNet, Image, SIDE, Workspace};

/// The weights file: the first byte of the board's DDR memory.
const WEIGHTS: *const u8 = 0x6000_0000 as *const u8;

/// The file's length in bytes, a word: 256 MiB further.
const LENGTH: *const u32 = 0x7000_0000 as *const u32;

#[entry]
fn main() -> ! {
    // `entry` makes exclusive references of these.
    static mut IMAGE: Image = [[[0.0; SIDE]; SIDE]; 1];
    static mut WORKSPACE: Workspace = Workspace::new();
    board::finish(run(IMAGE, WORKSPACE))
}

fn run(image: &mut Image, workspace: &mut Workspace) -> Result<(), Error> {
    // Zeroed memory, where nothing was loaded, makes an empty file, which is refused; a length beyond the space for the
    // file would reach past it.
    // SAFETY: both are in DDR, which is readable, and which this program never writes to.
    let weights = unsafe {
        let length = LENGTH.read_volatile() as usize;
        core::slice::from_raw_parts(WEIGHTS, length.min(LENGTH.addr() - WEIGHTS.addr()))
    };
    println!("AlexNet");
    println!("weights: {} bytes at {:p}", weights.len(), weights.as_ptr());
    println!("workspace: {} bytes at {:p}", Workspace::SIZE, workspace);
    println!("image: {} bytes at {:p}", size_of::<Image>(), image);

    let network = AlexNet::<10>::from_safetensors(weights)?;
    camera::take_picture(&mut image[0])?;
    let logits = network.forward(image, workspace);
    board::report(&logits);
    Ok(())
}
