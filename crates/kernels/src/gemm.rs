//! The matrix product that does nearly all of the arithmetic: of the linear layers, and of the Winograd convolutions once
//! their inputs are transformed.

use crate::layout::BLOCK;
use crate::vector::{Vector, Weight};

/// `C[o][r][l] = Σ over k of A[r][k] · W[o][k][l]` for every block `o` of 32 outputs `l`, and every row `r`.
#[derive(Debug)]
pub struct Gemm<'a, W> {
    /// `A`: rows of `depth` values, `stride` apart.
    pub a: &'a [f32],
    /// From one row of `A` to the next.
    pub stride: usize,
    /// `W`: `[blocks][depth][32]`; their length says how many blocks there are.
    pub weights: &'a [W],
    /// Terms of each sum.
    pub depth: usize,
    /// Rows of `A`, at least one.
    pub rows: usize,
    /// `C`: `[blocks][rows][32]`
    pub c: &'a mut [f32],
}

impl<W> Gemm<'_, W> {
    /// Whether `A` holds all rows, `W` whole blocks, and `C` as many.
    #[inline]
    pub(crate) fn fits(&self) -> bool {
        let needed = self.rows.checked_sub(1).and_then(|last| last.checked_mul(self.stride)?.checked_add(self.depth));
        let block = self.depth.checked_mul(BLOCK).filter(|block| *block > 0);
        let whole = block.filter(|block| self.weights.len().is_multiple_of(*block));
        let results =
            whole.and_then(|block| self.weights.len().checked_div(block)?.checked_mul(self.rows.checked_mul(BLOCK)?));
        results.is_some_and(|results| results <= self.c.len()) && needed.is_some_and(|needed| needed <= self.a.len())
    }
}

/// Depth of a block of weights, in inputs: 16 KB of f32, half of a small L1 cache.
const DEPTH: usize = 128;

/// Blocks of weights that a single row reads beside each other, where there are as many. A CPU fetches ahead within a page of memory, and
/// so more at a time from several places: weights of linear layers came in two thirds of the time.
pub const BESIDE: usize = 4;

/// The same for more rows, as long as these are no more than `FEW`, whose weights come from far away, too. (Of more rows, the outputs would
/// not stay in the first cache.)
const PAIR: usize = 2;
const FEW: usize = 32;

/// Bytes that the weights of a single row are fetched ahead of their use.
const AHEAD: usize = 2048;

/// `C[o][r] = Σ over k of A[r][k] · W[o][k]` for all blocks `o` of 32 outputs and rows `r`, see [`Gemm`].
///
/// A block of weights, `DEPTH` deep, serves all rows before that of the next outputs is read, and while it does, the one that
/// lies right behind it is fetched into the cache (the second one: in the first, both would not fit). `REGISTERS` vectors
/// hold a row of outputs, or a half of it, and up to `ROWS` rows are computed at once, so that the register file is filled
/// by `REGISTERS · ROWS` accumulators, `REGISTERS` vectors of weights and one input. A single row, which uses each weight once, takes
/// blocks whole, `WHOLE` vectors each, and as many beside each other as there are registers for.
///
/// # Safety
/// The sizes of `product` hold (see [`Gemm::fits`]), and the CPU has the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn gemm<V: Vector, W: Weight, const REGISTERS: usize, const ROWS: usize, const WHOLE: usize>(
    product: Gemm<'_, W>,
) {
    const { assert!(BLOCK.is_multiple_of(REGISTERS * V::LANES) && BLOCK == WHOLE * V::LANES) };
    let Gemm { a, stride, weights, depth, rows, c } = product;
    if depth == 0 || rows == 0 {
        return;
    }
    if rows == 1 {
        // SAFETY: `fits` says that `a` holds a row.
        return unsafe {
            let a = a.get_unchecked(..depth);
            match REGISTERS * ROWS / WHOLE {
                0 | 1 => single::<V, W, WHOLE, 1>(a, weights, c),
                2 | 3 => single::<V, W, WHOLE, 2>(a, weights, c),
                _ => single::<V, W, WHOLE, BESIDE>(a, weights, c),
            }
        };
    }
    // Groups of rows as equal as can be: 3 + 2 + 2 rather than 3 + 3 + 1, as a single row waits for its own sums.
    let groups = rows.div_ceil(ROWS);
    let (small, larger) = (rows / groups, rows % groups);
    // At least one: `fits` says so, but not to the compiler, which would keep a panic.
    let (block, outputs) = ((BLOCK * depth).max(1), (BLOCK * rows).max(1));
    // Bytes behind a block of weights that each four steps down this one fetch.
    let fetch = (4 * REGISTERS * V::LANES * size_of::<W>()).div_ceil(groups);
    let beside = if rows <= FEW { PAIR } else { 1 };
    for (weights, c) in weights.chunks((beside * block).max(1)).zip(c.chunks_mut((beside * outputs).max(1))) {
        let mut start = 0;
        while start < depth {
            let depth = DEPTH.min(depth - start);
            for (weights, c) in weights.chunks_exact(block).zip(c.chunks_exact_mut(outputs)) {
                // SAFETY: `start` is below the depth of the chunk of weights.
                let weights = unsafe { weights.as_ptr().add(start * BLOCK) };
                let mut next = weights.wrapping_add(depth * BLOCK).cast::<u8>();
                let mut row = 0;
                for group in 0..groups {
                    let count = small + usize::from(group < larger);
                    let mut lane = 0;
                    while lane < BLOCK {
                        // SAFETY: rows `row..row + count` are within `rows`, depths `start..start + depth` within the whole, and
                        // `fits` says that `a` and `c` hold them; `weights` holds `depth` more rows of a block, of which
                        // `REGISTERS` vectors begin at `lane`.
                        unsafe {
                            let a = a.as_ptr().add(row * stride + start);
                            let c = c.as_mut_ptr().add(row * BLOCK + lane);
                            let weights = weights.add(lane);
                            let tile = ProductTile { a, stride, weights, depth, c, first: start == 0, next, fetch };
                            match count {
                                1 => tile.compute::<V, REGISTERS, 1>(),
                                2 if ROWS >= 2 => tile.compute::<V, REGISTERS, 2>(),
                                3 if ROWS >= 3 => tile.compute::<V, REGISTERS, 3>(),
                                4 if ROWS >= 4 => tile.compute::<V, REGISTERS, 4>(),
                                5 if ROWS >= 5 => tile.compute::<V, REGISTERS, 5>(),
                                6 if ROWS >= 6 => tile.compute::<V, REGISTERS, 6>(),
                                7 if ROWS >= 7 => tile.compute::<V, REGISTERS, 7>(),
                                8 if ROWS >= 8 => tile.compute::<V, REGISTERS, 8>(),
                                9 if ROWS >= 9 => tile.compute::<V, REGISTERS, 9>(),
                                _ => (),
                            }
                        }
                        next = next.wrapping_add(fetch * depth / 4);
                        lane += REGISTERS * V::LANES;
                    }
                    row += count;
                }
            }
            start += depth;
        }
    }
}

/// `C[o] = Σ over k of A[k] · W[o][k]` for all blocks `o`, `BLOCKS` of them at a time.
///
/// # Safety
/// `weights` holds whole blocks as deep as `a`, which is not empty, `c` as many; the CPU has the instructions of `V`.
#[inline(always)]
unsafe fn single<V: Vector, W: Weight, const WHOLE: usize, const BLOCKS: usize>(
    a: &[f32],
    weights: &[W],
    c: &mut [f32],
) {
    // At least one, as above.
    let (block, blocks) = ((BLOCK * a.len()).max(1), (BLOCKS * BLOCK * a.len()).max(1));
    for (weights, c) in weights.chunks(blocks).zip(c.chunks_mut(BLOCKS * BLOCK)) {
        if weights.len() == blocks {
            // SAFETY: there are as many blocks, and their outputs.
            unsafe { beside::<V, W, WHOLE, BLOCKS>(a, weights.as_ptr(), c.as_mut_ptr()) };
        } else {
            for (weights, c) in weights.chunks_exact(block).zip(c.chunks_exact_mut(BLOCK)) {
                // SAFETY: there is a block, and its outputs.
                unsafe { beside::<V, W, WHOLE, 1>(a, weights.as_ptr(), c.as_mut_ptr()) };
            }
        }
    }
}

/// The same for `BLOCKS` blocks.
///
/// # Safety
/// `weights` can be read for `BLOCKS` blocks as deep as `a`, and `c` be written for their outputs; the CPU has the instructions of `V`.
#[inline(always)]
unsafe fn beside<V: Vector, W: Weight, const WHOLE: usize, const BLOCKS: usize>(
    a: &[f32],
    weights: *const W,
    c: *mut f32,
) {
    // SAFETY: all offsets are within what the caller says can be read and written.
    unsafe {
        let mut sums = [[V::splat(0.0); WHOLE]; BLOCKS];
        for (k, input) in a.iter().enumerate() {
            let input = V::splat(*input);
            for (block, sums) in sums.iter_mut().enumerate() {
                let weights = weights.add((block * a.len() + k) * BLOCK);
                for line in 0..(BLOCK * size_of::<W>()).div_ceil(64) {
                    V::prefetch(weights.cast::<u8>().wrapping_add(AHEAD + line * 64));
                }
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = input.mul_add(W::load::<V>(weights.add(v * V::LANES)), *sum);
                }
            }
        }
        for (block, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                sum.store(c.add(block * BLOCK + v * V::LANES));
            }
        }
    }
}

/// Operands of one pass of the innermost loop: some rows, one block of outputs, one block of depth.
struct ProductTile<W> {
    a: *const f32,
    stride: usize,
    weights: *const W,
    depth: usize,
    c: *mut f32,
    first: bool,
    next: *const u8,
    fetch: usize,
}

impl<W: Weight> ProductTile<W> {
    /// # Safety
    /// `a` can be read for `ROWS` rows of `depth` values `stride` apart, `weights` for `depth` rows of 32, `c` be written for
    /// `ROWS` rows of 32; the CPU has the instructions of `V`.
    #[inline(always)]
    unsafe fn compute<V: Vector, const REGISTERS: usize, const ROWS: usize>(self) {
        // SAFETY: all offsets are within what the caller says can be read and written.
        unsafe {
            let mut sums = [[V::splat(0.0); REGISTERS]; ROWS];
            if !self.first {
                for (r, sums) in sums.iter_mut().enumerate() {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        *sum = V::load(self.c.add(r * BLOCK + v * V::LANES));
                    }
                }
            }
            let mut a = self.a;
            let mut weights = self.weights;
            let mut next = self.next;
            for _ in 0..self.depth / 4 {
                let mut line = 0;
                while line < self.fetch {
                    V::prefetch(next.wrapping_add(line));
                    line += 64;
                }
                next = next.wrapping_add(self.fetch);
                for step in 0..4 {
                    multiply_add(&mut sums, a.add(step), self.stride, weights.add(step * BLOCK));
                }
                a = a.add(4);
                weights = weights.add(4 * BLOCK);
            }
            for step in 0..self.depth % 4 {
                multiply_add(&mut sums, a.add(step), self.stride, weights.add(step * BLOCK));
            }
            for (r, sums) in sums.iter().enumerate() {
                for (v, sum) in sums.iter().enumerate() {
                    sum.store(self.c.add(r * BLOCK + v * V::LANES));
                }
            }
        }
    }
}

/// One step down: `sums[r] += a[r · stride] · weights` for each row.
///
/// # Safety
/// As [`ProductTile::compute`], for one step.
#[inline(always)]
unsafe fn multiply_add<V: Vector, W: Weight, const REGISTERS: usize, const ROWS: usize>(
    sums: &mut [[V; REGISTERS]; ROWS],
    a: *const f32,
    stride: usize,
    weights: *const W,
) {
    // SAFETY: the caller says that the inputs and weights of this step can be read.
    unsafe {
        let mut lanes = [V::splat(0.0); REGISTERS];
        for (v, lanes) in lanes.iter_mut().enumerate() {
            *lanes = W::load::<V>(weights.add(v * V::LANES));
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            let input = V::splat(*a.add(r * stride));
            for (sum, lanes) in sums.iter_mut().zip(lanes) {
                *sum = input.mul_add(lanes, *sum);
            }
        }
    }
}
