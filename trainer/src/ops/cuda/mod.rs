//! The fast way on CUDA: a tower of convolutions, ReLUs and poolings as one operation, its feature maps in memory of its
//! own, in the order of the kernels.
//!
//! Only the images, the weights and the last feature maps are copied between dfdx and these kernels.

mod dropout;
mod kernels;

use cudarc::driver::{CudaSlice, DevicePtr};
use dfdx::{
    shapes::HasShape,
    tensor::{Cuda, CudaError, PutTape, SplitTape, Tape},
};

pub use dropout::mask;
use kernels::{Factor, Layout, Sizes};

use crate::cuda::{
    engine::{Address, Engine, address},
    exchange::{Copied, Written},
};

use super::{Images, Plane, Stage, Tower, Window};

/// Side of the largest pooling window: the number of a tap is kept in a byte.
const MAX_POOL: usize = 16;

/// The sizes of one stage.
#[derive(Debug, Clone, Copy)]
struct StageSizes {
    convolution: Sizes,
    filters: u32,
    pool: Option<(Sizes, Layout)>,
}

impl StageSizes {
    fn maps(self) -> (u32, u32) {
        (self.filters, self.convolution.positions())
    }
}

/// What the backward pass needs of one stage.
struct Record {
    sizes: StageSizes,
    weight: Copied<(usize, usize, usize, usize)>,
    /// Output of the ReLU, or of the pooling where there is one.
    output: Address,
    /// The taps that the pooling chose.
    choices: Option<CudaSlice<u8>>,
    /// The memory of `output`; the last stage's is a gradient of dfdx'.
    _memory: Option<CudaSlice<f32>>,
}

/// What [`plan`] looks at of a stage: filters, window, pooling.
type Outline = (usize, Window, Option<Window>);

/// The sizes of all stages and of the last maps, where this way of computing can do them: one input channel, unpadded
/// poolings, the last stage with one.
fn plan(
    (batch, mut channels, mut height, mut width): (usize, usize, usize, usize),
    stages: &[Outline],
) -> Option<(Vec<StageSizes>, (usize, usize))> {
    let (_, _, Some(_)) = stages.last()? else { return None };
    if channels != 1 {
        return None;
    }
    let mut plan = Vec::new();
    for (index, (filters, window, pool)) in stages.iter().enumerate() {
        let plane = Plane::new(height, width, *window);
        let convolution = Sizes::new(batch, channels, plane)?;
        (channels, height, width) = (*filters, plane.rows, plane.columns);
        let pool = match pool {
            None => None,
            Some(window) if window.padding > 0 || window.kernel > MAX_POOL => return None,
            Some(window) => {
                let plane = Plane::new(height, width, *window);
                let positions = plane.positions();
                let sizes = Sizes::new(batch, channels, plane)?;
                (height, width) = (plane.rows, plane.columns);
                // The last one's values go to dfdx, image after image.
                let layout = if index + 1 == stages.len() {
                    Layout { of_channel: positions, of_image: channels * positions }
                } else {
                    Layout { of_channel: batch * positions, of_image: positions }
                };
                Some((sizes, layout))
            }
        };
        plan.push(StageSizes { convolution, filters: u32::try_from(*filters).ok()?, pool });
    }
    Some((plan, (height, width)))
}

/// A tower as one operation; each stage by itself where that cannot be.
///
/// # Errors
/// The device's own.
pub fn tower<T: Tape<f32, Cuda>>(call: Tower<Cuda, T>) -> Result<Images<Cuda, T>, CudaError> {
    let outline = |stage: &Stage<Cuda>| (stage.weight.shape().0, stage.window, stage.pool);
    let outlines: Vec<_> = call.stages.iter().map(outline).collect();
    let shape = *call.input.shape();
    let plan = if call.input_gradient { None } else { plan(shape, &outlines) };
    let (Some((plan, (rows, columns))), Some((filters, ..))) = (plan, outlines.last()) else {
        return call.one_by_one();
    };
    let Tower { input: images, stages, .. } = call;
    let device = images.device().clone();
    let engine = Engine::of(&device)?;
    let (images, mut tape) = images.split_tape();
    let mut images = Copied::new(images)?;

    let mut values = Written::new(&device, &(shape.0, *filters, rows, columns))?;
    let target = values.address()?;
    let mut records: Vec<Record> = Vec::new();
    for (index, (sizes, stage)) in plan.into_iter().zip(&stages).enumerate() {
        let source = match records.last() {
            None => images.address()?,
            Some(record) => record.output,
        };
        let target = (index + 1 == stages.len()).then_some(target);
        records.push(forward(&engine, sizes, source, stage, target)?);
        if !T::OWNS_TAPE {
            records.drain(..records.len() - 1);
        }
    }
    let output = values.tensor();

    let ghosts: Vec<_> = stages.iter().map(|stage| (stage.weight.ghost(), stage.bias.ghost())).collect();
    let output_ghost = output.ghost();
    tape.add_backward_op(move |gradients| {
        // The last stage's output lies in `values`.
        let _values = &values;
        let mut gradient = *gradients.get_or_alloc_mut(&output_ghost)?.device_ptr();
        let mut memory = None;
        for (index, (weight, bias)) in ghosts.iter().enumerate().rev() {
            let source = if index == 0 { images.address()? } else { records[index - 1].output };
            let targets =
                [*gradients.get_or_alloc_mut(weight)?.device_ptr(), *gradients.get_or_alloc_mut(bias)?.device_ptr()];
            memory = backward(&engine, &mut records[index], source, index > 0, gradient, memory, targets)?;
            gradient = memory.as_ref().map_or(0, address);
        }
        Ok(())
    });
    Ok(output.put_tape(tape))
}

/// One stage. Its output goes to `target`, or else into memory of its own.
fn forward(
    engine: &Engine,
    sizes: StageSizes,
    source: Address,
    stage: &Stage<Cuda>,
    target: Option<Address>,
) -> Result<Record, CudaError> {
    let mut weight = Copied::new(stage.weight.clone())?;
    let mut bias = Copied::new(stage.bias.clone())?;
    let (convolution, (filters, positions)) = (sizes.convolution, sizes.maps());
    let unfolded = engine.allocate::<f32>(product(convolution.taps(), positions))?;
    let maps = engine.allocate::<f32>(product(filters, positions))?;
    let factors = [
        Factor { values: weight.address()?, columns: convolution.taps(), transposed: false },
        Factor { values: address(&unfolded), columns: positions, transposed: false },
    ];
    // SAFETY: `source` is the images or the output of the stage before, which `plan` gave this size; the weight is filters ×
    // taps by the stage's type; the others were just allocated with their sizes.
    unsafe {
        engine.unfold(convolution, source, address(&unfolded))?;
        engine.product((filters, convolution.taps(), positions), factors[0], factors[1], 0.0, address(&maps))?;
    }
    drop(unfolded);

    let Some((pool, layout)) = sizes.pool else {
        // SAFETY: a value of `bias` for each filter, by the stage's type, and `maps` as allocated.
        unsafe { engine.bias_relu((filters, positions), bias.address()?, address(&maps)) }?;
        return Ok(Record { sizes, weight, output: address(&maps), choices: None, _memory: Some(maps) });
    };
    let count = product(filters, pool.positions());
    let choices = engine.allocate::<u8>(count)?;
    let memory = if target.is_none() { Some(engine.allocate::<f32>(count)?) } else { None };
    let output = target.or(memory.as_ref().map(address)).unwrap_or_default();
    // SAFETY: as above; the output and the choices have a place for each position, and `target` is dfdx' memory for a tensor
    // of exactly that many values.
    unsafe {
        engine.bias_relu_pool(pool, layout, [bias.address()?, address(&maps), output, *choices.device_ptr()])?;
    }
    Ok(Record { sizes, weight, output, choices: Some(choices), _memory: memory })
}

/// The gradients of one stage, from that of its output (`gradient`, which is `memory` where that is there): the weight's and
/// the bias' are added to `targets`, the input's is returned where it is wanted.
fn backward(
    engine: &Engine,
    record: &mut Record,
    source: Address,
    input_wanted: bool,
    gradient: Address,
    memory: Option<CudaSlice<f32>>,
    targets: [Address; 2],
) -> Result<Option<CudaSlice<f32>>, CudaError> {
    let (convolution, (filters, positions)) = (record.sizes.convolution, record.sizes.maps());
    let taps = convolution.taps();
    let map_gradient = match (record.sizes.pool, &record.choices, memory) {
        (Some((pool, layout)), Some(choices), memory) => {
            let maps = engine.allocate::<f32>(product(filters, positions))?;
            let addresses = [record.output, *choices.device_ptr(), gradient, address(&maps)];
            // SAFETY: the forward pass made the output and the choices with these sizes, the gradient is as large as the
            // output, and `maps` was just allocated.
            unsafe { engine.pool_relu_backward(pool, layout, addresses) }?;
            drop(memory);
            maps
        }
        (_, _, Some(maps)) => {
            // SAFETY: the forward pass made the output with this size, and its gradient is as large.
            unsafe { engine.relu_backward((filters, positions), record.output, address(&maps)) }?;
            maps
        }
        // The last stage has a pooling, and every other one gets its gradient in memory of its own.
        (_, _, None) => return Ok(None),
    };
    let unfolded = engine.allocate::<f32>(product(taps, positions))?;
    let maps = Factor { values: address(&map_gradient), columns: positions, transposed: false };
    let windows = Factor { values: address(&unfolded), columns: positions, transposed: true };
    // SAFETY: `targets` are dfdx' memory for gradients of the weight, filters × taps, and the bias, filters; `source` and the
    // others are as in the forward pass.
    unsafe {
        engine.bias_gradient((filters, positions), address(&map_gradient), targets[1])?;
        engine.unfold(convolution, source, address(&unfolded))?;
        engine.product((filters, positions, taps), maps, windows, 1.0, targets[0])?;
    }
    if !input_wanted {
        return Ok(None);
    }
    let weight = Factor { values: record.weight.address()?, columns: taps, transposed: true };
    let input = engine.allocate::<f32>(product(convolution.channels(), convolution.inputs()))?;
    // SAFETY: as above; what was unfolded is no longer needed, and the product is as large.
    unsafe {
        engine.product((taps, filters, positions), weight, maps, 0.0, address(&unfolded))?;
        engine.fold(convolution, address(&unfolded), address(&input))?;
    }
    Ok(Some(input))
}

/// A number of values, which may lie beyond 2³².
fn product(rows: u32, length: u32) -> usize {
    rows as usize * length as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(kernel: usize, stride: usize, padding: usize) -> Window {
        Window { kernel, stride, padding }
    }

    fn alexnet() -> [Outline; 5] {
        let pool = Some(window(3, 2, 0));
        [
            (96, window(11, 4, 1), pool),
            (256, window(5, 1, 2), pool),
            (384, window(3, 1, 1), None),
            (384, window(3, 1, 1), None),
            (256, window(3, 1, 1), pool),
        ]
    }

    #[test]
    fn alexnet_is_computed_so_up_to_the_largest_batch() {
        let (stages, last) = plan((256, 1, 224, 224), &alexnet()).unwrap();
        assert_eq!(last, (5, 5));
        let maps: Vec<_> = stages.iter().map(|sizes| sizes.maps()).collect();
        assert_eq!(
            maps,
            [(96, 256 * 54 * 54), (256, 256 * 26 * 26), (384, 256 * 144), (384, 256 * 144), (256, 256 * 144)]
        );
        let layouts =
            stages.iter().filter_map(|sizes| sizes.pool).map(|(_, layout)| (layout.of_channel, layout.of_image));
        assert!(layouts.eq([(256 * 676, 676), (256 * 144, 144), (25, 6400)]));
        assert!(plan((8192, 1, 224, 224), &alexnet()).is_some());
    }

    #[test]
    fn what_the_kernels_are_not_written_for_is_left_to_others() {
        assert!(plan((1, 3, 224, 224), &alexnet()).is_none());
        assert!(plan((1, 1, 224, 224), &alexnet()[..4]).is_none());
        assert!(plan((1, 1, 224, 224), &[]).is_none());
        assert!(plan((1, 1, 28, 28), &[(4, window(3, 1, 1), Some(window(3, 2, 1)))]).is_none());
        assert!(plan((1, 1, 28, 28), &[(4, window(3, 1, 1), Some(window(17, 2, 0)))]).is_none());
    }
}
