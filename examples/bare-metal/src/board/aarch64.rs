//! Arm, 64 bits, as QEMU's `virt`: a serial port, and the exit status by semihosting.

use super::virt::Serial;
pub use super::virt::{flash_and_statics, stack};
use core::arch::{asm, global_asm};
use core::fmt::{self, Write};

// Lets floating point and NEON through, maps memory onto itself (the first gigabyte devices, the second one RAM, as addresses
// that are no multiples want it), fills the stack with paint and calls the program; faults end it.
global_asm!(
    ".section .text.start, \"ax\"",
    ".globl _start",
    "_start:",
    "mov x0, #(3 << 20)",
    "msr cpacr_el1, x0",
    "adr x0, vectors",
    "msr vbar_el1, x0",
    "ldr x0, =0x44ff00", // memory of kind 0: devices; of kind 1: not cached; of kind 2: not cached either
    "msr mair_el1, x0",
    "adr x0, memory_map",
    "msr ttbr0_el1, x0",
    "ldr x0, =0x800019", // addresses of 39 bits, tables of 4 KB; no second table
    "msr tcr_el1, x0",
    "isb",
    "mrs x0, sctlr_el1",
    "orr x0, x0, #1",
    "msr sctlr_el1, x0",
    "isb",
    "ldr x0, =_stack_end",
    "ldr x1, =_stack_start",
    "mov sp, x1",
    "mov w2, #0xCCCCCCCC",
    "1:",
    "str w2, [x0], #4",
    "cmp x0, x1",
    "b.lo 1b",
    "bl program",
    ".ltorg",
    ".balign 4096",
    "memory_map:",
    ".quad 0x401",      // devices
    ".quad 0x40000705", // RAM
    ".fill 510, 8, 0",
    ".balign 2048",
    "vectors:",
    ".rept 16",
    "b fault",
    ".balign 128",
    ".endr",
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
    let _ = writeln!(Serial(0x0900_0000 as *mut u8), "{line}");
}

/// Ends the program with exit status 0, or 1.
pub fn stop(success: bool) -> ! {
    // The program ended by itself, and its status.
    let reason: [u64; 2] = [0x20026, u64::from(!success)];
    loop {
        // SAFETY: semihosting's call to exit reads these two words.
        unsafe { asm!("hlt #0xf000", in("x0") 0x20, in("x1") reason.as_ptr()) };
    }
}

/// Address of the last word of the stack.
pub fn stack_pointer() -> usize {
    let pointer;
    // SAFETY: reading a register has no effect.
    unsafe { asm!("mov {}, sp", out(reg) pointer) };
    pointer
}

/// Handler of faults.
// SAFETY: the start-up code names it, and nothing else has it.
#[unsafe(no_mangle)]
extern "C" fn fault() -> ! {
    let (cause, at): (u64, u64);
    // SAFETY: these registers say what happened, and reading them has no effect.
    unsafe { asm!("mrs {}, esr_el1", "mrs {}, elr_el1", out(reg) cause, out(reg) at) };
    print(format_args!("fault {cause:#x} at {at:#x}"));
    stop(false)
}

/// Counter of executed instructions: the timer, where QEMU runs with `-icount shift=0`, so that an instruction is a nanosecond.
pub struct Counter(());

impl Counter {
    /// The CPU's timer, which always runs.
    pub fn start() -> Self {
        Self(())
    }

    /// Instructions that `work` executes. A tick of the timer, 16 of them, is how exact that is.
    pub fn count<T>(&self, work: impl FnOnce() -> T) -> (u32, T) {
        let start = nanoseconds();
        let result = work();
        ((nanoseconds() - start) as u32, result)
    }
}

fn nanoseconds() -> u64 {
    let (ticks, frequency): (u64, u64);
    // SAFETY: reading the timer has no effect.
    unsafe { asm!("isb", "mrs {}, cntvct_el0", "mrs {}, cntfrq_el0", out(reg) ticks, out(reg) frequency) };
    ticks * 1_000_000_000 / frequency.max(1)
}
