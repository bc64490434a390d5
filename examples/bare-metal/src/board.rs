//! The board: what it prints goes to the debugger (here QEMU) by Arm semihosting, and so does the exit status. A module of
//! each program, since a program has one panic handler.
#![allow(dead_code, unused_imports)] // A program uses what it needs.

use core::panic::PanicInfo;
use cortex_m::peripheral::{Peripherals, SYST, syst::SystClkSource};
pub use cortex_m_rt::entry;
use cortex_m_rt::{ExceptionFrame, STACK_PAINT_VALUE, exception};
use cortex_m_semihosting::debug;
pub use cortex_m_semihosting::hprintln;
use infer_core::classify::top_k;

/// Prints the logits, one a line and with all digits, the best classes and the stack used.
pub fn report<const CLASSES: usize>(logits: &[f32; CLASSES]) {
    for (class, logit) in logits.iter().enumerate() {
        hprintln!("logit {} {}", class, logit);
    }
    for (place, best) in top_k::<3, CLASSES>(logits).iter().enumerate() {
        hprintln!("top {}: class {}, probability {:.3}", place + 1, best.class, best.probability);
    }
    hprintln!("stack used: {} bytes", stack_used());
}

/// Ends the program with exit status 0, or 1 after printing the error.
pub fn finish(result: Result<(), firmware::Error>) -> ! {
    let status = match result {
        Ok(()) => debug::EXIT_SUCCESS,
        Err(error) => {
            hprintln!("error: {}", error);
            debug::EXIT_FAILURE
        }
    };
    stop(status)
}

#[panic_handler]
fn panic(panic: &PanicInfo) -> ! {
    hprintln!("{}", panic);
    stop(debug::EXIT_FAILURE)
}

/// Handler of faults, a stack that overflows among them.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    hprintln!("hard fault at {:#010x}", frame.pc());
    stop(debug::EXIT_FAILURE)
}

fn stop(status: debug::ExitStatus) -> ! {
    loop {
        debug::exit(status);
    }
}

/// Counter of executed instructions: the system timer, where QEMU runs with `-icount shift=0` (an instruction is a nanosecond)
/// and the board's clock is the 25 MHz of the MPS2 boards.
pub struct Counter(SYST);

impl Counter {
    /// Instructions between two ticks of the timer, which is how exact a count is.
    const TICK: u32 = 40;

    /// The timer's largest value, after which it begins again: 24 bits, 671 million instructions.
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

    pub fn now(&self) -> u32 { SYST::get_current() }

    /// Instructions that `work` executes.
    pub fn count<T>(&self, work: impl FnOnce() -> T) -> (u32, T) {
        let start = SYST::get_current();
        let result = work();
        let ticks = start.wrapping_sub(SYST::get_current()) & Self::LONGEST;
        (Self::TICK * ticks, result)
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

/// The most stack in use since the start, in bytes: from its lowest word that has lost the paint that cortex-m-rt puts
/// on before `main`.
fn stack_used() -> usize {
    unsafe extern "C" {
        // Of cortex-m-rt's linker script: one past the top of the stack, and the lowest word it may use.
        static _stack_start: u32;
        static _stack_end: u32;
    }
    let (top, mut word) = (&raw const _stack_start, &raw const _stack_end);
    // SAFETY: all words from `_stack_end` to `_stack_start` are RAM set aside for the stack.
    while word < top && unsafe { word.read_volatile() } == STACK_PAINT_VALUE {
        word = word.wrapping_add(1);
    }
    top.addr() - word.addr()
}
