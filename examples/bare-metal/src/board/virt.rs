//! What QEMU's machines `virt` have in common: a serial port that takes a byte at a time, and memory as `boards/virt.x` lays it out.

use core::fmt::{self, Write};

/// A serial port at an address.
pub struct Serial(pub *mut u8);

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // SAFETY: the port's register for output takes any byte.
            unsafe { self.0.write_volatile(byte) };
        }
        Ok(())
    }
}

/// Word that the stack is filled with at the start.
const PAINT: u32 = 0xCCCC_CCCC;

unsafe extern "C" {
    static _start_of_program: u32;
    static _start_of_data: u32;
    static _end_of_data: u32;
    static _end_of_statics: u32;
    static _stack_end: u32;
    static _stack_start: u32;
}

/// Bytes of flash and of statics that the program takes. (Here all is RAM, in the order that it would have there.)
pub fn flash_and_statics() -> (usize, usize) {
    let (program, data) = ((&raw const _start_of_program).addr(), (&raw const _start_of_data).addr());
    ((&raw const _end_of_data).addr() - program, (&raw const _end_of_statics).addr() - data)
}

/// The most stack in use since the start, in bytes: from its lowest word that has lost its paint.
pub fn stack_used() -> usize {
    let (top, mut word) = (&raw const _stack_start, &raw const _stack_end);
    // SAFETY: all words from `_stack_end` to `_stack_start` are RAM set aside for the stack.
    while word < top && unsafe { word.read_volatile() } == PAINT {
        word = word.wrapping_add(1);
    }
    top.addr() - word.addr()
}
