//! The board: output, exit status, panics, the counter of instructions and the memory used. A module of each program, since a
//! program has one panic handler. What differs from machine to machine has a file for each.
#![allow(dead_code, unused_imports, unused_macros)] // A program uses what it needs.

#[cfg(target_arch = "aarch64")]
#[path = "aarch64.rs"]
mod machine;
#[cfg(target_arch = "arm")]
#[path = "cortex_m.rs"]
mod machine;
#[cfg(any(target_arch = "riscv32", target_arch = "riscv64"))]
#[path = "riscv.rs"]
mod machine;
#[cfg(any(target_arch = "aarch64", target_arch = "riscv32", target_arch = "riscv64"))]
mod virt;

use core::{fmt, panic::PanicInfo};
use infer_core::classify::top_k;
pub(crate) use machine::start;
pub use machine::{Counter, flash_and_statics, print, stop};
use machine::{stack, stack_pointer};

/// Word that memory for the stack is filled with.
const PAINT: u32 = 0xCCCC_CCCC;

/// Prints a line.
macro_rules! println {
    ($($text:tt)*) => { $crate::board::print(format_args!($($text)*)) };
}
pub(crate) use println;

/// Prints the logits, one a line and with all digits, the best classes and the stack used.
pub fn report<const CLASSES: usize>(logits: &[f32; CLASSES]) {
    for (class, logit) in logits.iter().enumerate() {
        println!("logit {class} {logit}");
    }
    report_best(logits);
}

/// Prints the best classes and the stack used.
pub fn report_best<const CLASSES: usize>(logits: &[f32; CLASSES]) {
    for (place, best) in top_k::<3, CLASSES>(logits).iter().enumerate() {
        println!("top {}: class {}, probability {:.3}", place + 1, best.class, best.probability);
    }
    println!("stack used: {} bytes", stack_used());
}

/// Prints the bits of logits in 8-bit integers, one a line.
pub fn report_bits(logits: &[f32]) {
    for (class, logit) in logits.iter().enumerate() {
        println!("int8 logit {class} {:08x}", logit.to_bits());
    }
}

/// The most stack in use since the start, in bytes: from its lowest word that has lost the paint that start-up code puts on.
pub fn stack_used() -> usize {
    let [lowest, top] = stack();
    top.addr() - unpainted(lowest, top).addr()
}

/// The most stack that `work` uses, in bytes, beyond what is in use already.
#[inline(never)]
pub fn stack_of<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let ([lowest, _], now) = (stack(), stack_pointer());
    let mut word = lowest;
    while word.addr() + 64 < now {
        // SAFETY: memory for the stack below what is in use, which nothing else has.
        unsafe { word.write_volatile(PAINT) };
        word = word.wrapping_add(1);
    }
    let result = work();
    (now - unpainted(lowest, word).addr(), result)
}

/// The first word of memory for the stack that is not as it was painted, or `end`.
fn unpainted(mut word: *mut u32, end: *mut u32) -> *mut u32 {
    // SAFETY: all words up to `end` are memory for the stack.
    while word < end && unsafe { word.read_volatile() } == PAINT {
        word = word.wrapping_add(1);
    }
    word
}

/// Ends the program with exit status 0, or 1 after printing the error.
pub fn finish(result: Result<(), firmware::Error>) -> ! {
    if let Err(error) = result {
        println!("error: {error}");
        stop(false)
    }
    stop(true)
}

#[panic_handler]
fn panic(panic: &PanicInfo) -> ! {
    println!("{panic}");
    stop(false)
}
