//! Arm's Cortex-M: prints to the debugger (here QEMU) by semihosting, and so goes the exit status.

use core::fmt;
use cortex_m::peripheral::{Peripherals, SYST, syst::SystClkSource};
use cortex_m_rt::{ExceptionFrame, STACK_PAINT_VALUE, exception};
use cortex_m_semihosting::{debug, hprintln};

/// Makes a function that returns a result the program.
macro_rules! start {
    ($run:path) => {
        #[cortex_m_rt::entry]
        fn main() -> ! {
            $crate::board::finish($run())
        }
    };
}
pub(crate) use start;

/// Prints a line.
pub fn print(line: fmt::Arguments<'_>) {
    hprintln!("{}", line);
}

/// Ends the program with exit status 0, or 1.
pub fn stop(success: bool) -> ! {
    loop {
        debug::exit(if success { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    }
}

/// Handler of faults, a stack that overflows among them.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    hprintln!("hard fault at {:#010x}", frame.pc());
    stop(false)
}

/// Counter of executed instructions: the system timer, where QEMU runs with `-icount shift=0`, so that an instruction is a
/// nanosecond.
pub struct Counter(SYST);

impl Counter {
    /// Frequency of the board's clock in MHz: a tick of it, about 40 instructions, is how exact a count is.
    const CLOCK: u64 = if cfg!(board_mps3) { 32 } else { 25 };

    /// The timer's largest value, after which it begins again: 24 bits, over 500 million instructions.
    const LONGEST: u32 = (1 << 24) - 1;

    /// Starts the timer.
    ///
    /// # Panics
    /// Where it was started before.
    pub fn start() -> Self {
        let mut timer = Peripherals::take().expect("the timer is in use").SYST;
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(Self::LONGEST);
        timer.clear_current();
        timer.enable_counter();
        Self(timer)
    }

    /// Instructions that `work` executes.
    pub fn count<T>(&self, work: impl FnOnce() -> T) -> (u32, T) {
        let start = SYST::get_current();
        let result = work();
        let ticks = start.wrapping_sub(SYST::get_current()) & Self::LONGEST;
        ((u64::from(ticks) * 1000 / Self::CLOCK) as u32, result)
    }
}

/// Bytes of flash and of statics that the program takes.
pub fn flash_and_statics() -> (usize, usize) {
    unsafe extern "C" {
        // Of cortex-m-rt's linker script: the first byte of flash; where flash holds the values that statics begin with; the first
        // static and one past those that begin with values, and one past all.
        static __vector_table: u32;
        static __sidata: u32;
        static __sdata: u32;
        static __edata: u32;
        static __ebss: u32;
    }
    let (first, values) = ((&raw const __vector_table).addr(), (&raw const __sidata).addr());
    let (statics, with_values, end) =
        ((&raw const __sdata).addr(), (&raw const __edata).addr(), (&raw const __ebss).addr());
    (values - first + with_values - statics, end - statics)
}

/// Memory for the stack, its lowest word and one past its top. cortex-m-rt paints it before `main`.
pub fn stack() -> [*mut u32; 2] {
    const { assert!(STACK_PAINT_VALUE == super::PAINT) };
    unsafe extern "C" {
        // Of cortex-m-rt's linker script.
        static mut _stack_start: u32;
        static mut _stack_end: u32;
    }
    [&raw mut _stack_end, &raw mut _stack_start]
}

/// Address of the last word of the stack.
pub fn stack_pointer() -> usize {
    let pointer;
    // SAFETY: reading a register has no effect.
    unsafe { core::arch::asm!("mov {}, sp", out(reg) pointer) };
    pointer
}
