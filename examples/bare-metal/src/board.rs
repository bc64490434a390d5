//! The board: what it prints goes to the debugger (here QEMU) by Arm semihosting, and so does the exit status. A module of
//! each program, since a program has one panic handler.

use core::panic::PanicInfo;
// Linked for its critical section, which printing needs.
use cortex_m as _;
use cortex_m_rt::{ExceptionFrame, STACK_PAINT_VALUE, exception};
use cortex_m_semihosting::{debug, hprintln};
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
