//! Devices that QEMU's machines `virt` have in common: a serial port that takes a byte at a time, and memory as `boards/virt.x` lays it out.

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

unsafe extern "C" {
    static _start_of_program: u32;
    static _start_of_data: u32;
    static _end_of_data: u32;
    static _end_of_statics: u32;
    static mut _stack_end: u32;
    static mut _stack_start: u32;
}

/// Bytes of flash and of statics that the program takes. (Here all is RAM, in the order that it would have there.)
pub fn flash_and_statics() -> (usize, usize) {
    let (program, data) = ((&raw const _start_of_program).addr(), (&raw const _start_of_data).addr());
    ((&raw const _end_of_data).addr() - program, (&raw const _end_of_statics).addr() - data)
}

/// Memory for the stack, its lowest word and one past its top.
pub fn stack() -> [*mut u32; 2] {
    [&raw mut _stack_end, &raw mut _stack_start]
}
