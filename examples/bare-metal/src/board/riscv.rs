//! RISC-V, 32 or 64 bits, as QEMU's `virt`: a serial port, and a device that ends the program.

use super::virt::Serial;
pub use super::virt::{flash_and_statics, stack};
use core::arch::{asm, global_asm};
use core::fmt::{self, Write};

// Lets floating point through where there is any, fills the stack with paint and calls the program; faults end it.
global_asm!(
    ".section .text.start, \"ax\"",
    ".globl _start",
    "_start:",
    "li t0, 0x2000", // the floating-point unit's state is `initial`
    "csrs mstatus, t0",
    "la t0, vector",
    "csrw mtvec, t0",
    "la t0, _stack_end",
    "la sp, _stack_start",
    "li t1, 0xCCCCCCCC",
    "1:",
    "sw t1, 0(t0)",
    "addi t0, t0, 4",
    "bltu t0, sp, 1b",
    "call program",
    ".balign 4",
    "vector:",
    "j fault",
);

/// Makes a function that returns a result the program.
macro_rules! start {
    ($run:path) => {
        /// Where the start-up code goes on.
        // SAFETY: the start-up code calls this name, and nothing else has it.
        #[unsafe(no_mangle)]
        extern "C" fn program() -> ! {
            $crate::board::finish($run())
        }
    };
}
pub(crate) use start;

/// Prints a line.
pub fn print(line: fmt::Arguments<'_>) {
    let _ = writeln!(Serial(0x1000_0000 as *mut u8), "{line}");
}

/// Ends the program with exit status 0, or 1.
pub fn stop(success: bool) -> ! {
    loop {
        // SAFETY: the device that ends the program takes these words.
        unsafe { (0x10_0000 as *mut u32).write_volatile(if success { 0x5555 } else { 0x1_3333 }) };
    }
}

/// Address of the last word of the stack.
pub fn stack_pointer() -> usize {
    let pointer;
    // SAFETY: reading a register has no effect.
    unsafe { asm!("mv {}, sp", out(reg) pointer) };
    pointer
}

/// Handler of faults.
// SAFETY: the start-up code names it, and nothing else has it.
#[unsafe(no_mangle)]
extern "C" fn fault() -> ! {
    let (cause, at): (usize, usize);
    // SAFETY: these registers say what happened, and reading them has no effect.
    unsafe { asm!("csrr {}, mcause", "csrr {}, mepc", out(reg) cause, out(reg) at) };
    print(format_args!("fault {cause} at {at:#x}"));
    stop(false)
}

/// Counter of executed instructions, where QEMU runs with `-icount shift=0`.
pub struct Counter(());

impl Counter {
    /// The CPU's counter, which always runs.
    pub fn start() -> Self {
        Self(())
    }

    /// Instructions that `work` executes.
    pub fn count<T>(&self, work: impl FnOnce() -> T) -> (u32, T) {
        let start = instructions();
        let result = work();
        (instructions().wrapping_sub(start), result)
    }
}

fn instructions() -> u32 {
    let count: usize;
    // SAFETY: reading the counter has no effect.
    unsafe { asm!("csrr {}, minstret", out(reg) count) };
    count as u32
}
