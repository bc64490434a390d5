//! Products of Winograd convolutions.

use super::tiles::{POSITIONS, ROW, Sizes, release};
use crate::int8::INT8_PANEL;
use crate::int8::winograd::Int8Products;
use crate::layout::BLOCK;
use core::arch::asm;
use core::mem::offset_of;

/// Products of some tiles of a Winograd convolution with two panels of weights, in one plane after the other.
#[repr(C)]
struct Planes {
    planes: usize,
    /// From the inputs, the weights, the starting values and the sums of one plane to the next, in bytes.
    next: [usize; 4],
    steps: usize,
    width: usize,
    /// Bytes of the weights of a step.
    weights: usize,
    /// From the first panel of weights to the second.
    panel: usize,
}

impl Planes {
    /// The sums of all planes: those of a tile are 32 beside each other.
    ///
    /// # Safety
    /// The CPU has AMX, its use is permitted, and the tiles' sizes are set. In each plane, as many inputs as those say, `step` bytes apart,
    /// two panels of weights and 32 starting values can be read, and 32 sums of each tile written.
    #[inline(always)]
    unsafe fn compute(mut self, input: *const u8, step: usize, weights: *const i8, start: *const i32, sums: *mut i32) {
        // SAFETY: as the caller says.
        unsafe {
            asm!(
                "2:", // a plane
                "xor {steps:e}, {steps:e}", // from one row of starting values to the next: none
                "tileloadd tmm0, [{start} + {steps}]",
                "tileloadd tmm1, [{start} + {steps} + 64]",
                "mov {a}, {input}",
                "mov {b}, {weights}",
                "mov {c}, {weights}",
                "add {c}, [{call} + {panel}]",
                "mov {steps}, [{call} + {step_count}]",
                "3:", // a step
                "tileloadd tmm4, [{a} + {step}]",
                "tileloadd tmm6, [{b} + {line}]",
                "tileloadd tmm7, [{c} + {line}]",
                "tdpbusd tmm0, tmm4, tmm6",
                "tdpbusd tmm1, tmm4, tmm7",
                "add {a}, [{call} + {width}]",
                "add {b}, [{call} + {weights_step}]",
                "add {c}, [{call} + {weights_step}]",
                "dec {steps}",
                "jnz 3b",
                "mov {a:e}, {stride}",
                "tilestored [{sums} + {a}], tmm0",
                "tilestored [{sums} + {a} + 64], tmm1",
                "add {input}, [{call} + {input_next}]",
                "add {weights}, [{call} + {weights_next}]",
                "add {start}, [{call} + {start_next}]",
                "add {sums}, [{call} + {sums_next}]",
                "dec qword ptr [{call} + {planes}]",
                "jnz 2b",
                planes = const offset_of!(Planes, planes),
                input_next = const offset_of!(Planes, next),
                weights_next = const offset_of!(Planes, next) + size_of::<usize>(),
                start_next = const offset_of!(Planes, next) + 2 * size_of::<usize>(),
                sums_next = const offset_of!(Planes, next) + 3 * size_of::<usize>(),
                step_count = const offset_of!(Planes, steps),
                width = const offset_of!(Planes, width),
                weights_step = const offset_of!(Planes, weights),
                panel = const offset_of!(Planes, panel),
                stride = const BLOCK * size_of::<i32>(),
                call = in(reg) &raw mut self,
                input = inout(reg) input => _,
                step = in(reg) step,
                weights = inout(reg) weights => _,
                start = inout(reg) start => _,
                sums = inout(reg) sums => _,
                line = in(reg) ROW,
                steps = out(reg) _,
                a = out(reg) _,
                b = out(reg) _,
                c = out(reg) _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack)
            );
        }
    }
}

/// Bytes of a tile's rows into which the channels are divided: up to 64, as many as can be.
fn width(channels: usize) -> usize {
    (4..=ROW).rev().step_by(4).find(|width| channels.is_multiple_of(*width)).unwrap_or(4)
}

/// Products of a Winograd convolution, see [`Int8Products`].
///
/// # Safety
/// The sizes of `products` hold (see [`Int8Products::fits`]), the CPU has AMX, and its use is permitted.
#[inline(always)]
pub(super) unsafe fn products(products: Int8Products<'_>) {
    let Int8Products { inputs, inputs_plane, channels, tiles, weights, weights_plane, start, start_plane, .. } =
        products;
    let (sums, sums_plane) = (products.sums, products.sums_plane);
    let width = width(channels);
    for first in (0..tiles).step_by(POSITIONS) {
        let call = Planes {
            planes: products.planes,
            next: [inputs_plane, weights_plane, start_plane * 4, sums_plane * 4],
            steps: channels / width,
            width,
            weights: width * INT8_PANEL,
            panel: channels * INT8_PANEL,
        };
        // Both registers of weights are for whole steps.
        let sizes = Sizes::new((tiles - first).min(POSITIONS), width, width);
        // SAFETY: `fits` says that each plane has the inputs of all tiles, the weights and starting values of two panels, and room for
        // the sums of all tiles and panels.
        unsafe {
            let (inputs, sums) = (inputs.as_ptr().add(first * channels), sums.as_mut_ptr().add(first * BLOCK));
            sizes.set();
            call.compute(inputs, channels, weights.as_ptr(), start.as_ptr(), sums);
            release();
        }
    }
}
