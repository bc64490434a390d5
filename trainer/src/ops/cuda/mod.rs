//! The fast way on CUDA: a tower of convolutions, ReLUs and poolings as one operation, its feature maps in memory of its
//! own, in the order of the kernels; local response normalisation and max-pooling that stand alone.
//!
//! The images and the weights are read where dfdx has them, and the last feature maps are written there.

mod dropout;
mod kernels;
mod local_response_norm;
mod max_pool2d;

use cudarc::driver::{CudaSlice, DevicePtr};
use dfdx::{
    shapes::HasShape,
    tensor::{Cuda, CudaError, PutTape, SplitTape, Tape},
    tensor_ops::ReshapeTo,
};

pub use dropout::mask;
pub use local_response_norm::local_response_norm;
pub use max_pool2d::max_pool2d;

use kernels::{Factor, Kernels, Place, Sizes, Stored, Target, pitch, sums};

use crate::cuda::{
    engine::{Engine, address},
    exchange::{self, Address, Shared},
    program::Program,
};

use super::{Images, Plane, Stage, Tower, Window};

/// Side of the largest pooling window: the number of a tap is kept in a byte.
const MAX_POOL: usize = 16;
/// Taps of the largest windows, of convolutions and poolings: loops over them are unrolled.
const MAX_TAPS: usize = 256;

/// The window of a pooling that changes nothing.
const SINGLE: Window = Window { kernel: 1, stride: 1, padding: 0 };

/// The sizes of one stage.
#[derive(Debug, Clone, Copy)]
struct StageSizes {
    convolution: Sizes,
    filters: u32,
    /// Equal parts of the filters, and of the channels that each of them sees.
    groups: u32,
    /// The pooling, and how its values lie.
    pool: Option<(Sizes, Place)>,
}

impl StageSizes {
    /// Values under the window that a filter sees.
    fn taps(self) -> u32 {
        self.convolution.taps() / self.groups
    }

    /// Filters of a group.
    fn group(self) -> u32 {
        self.filters / self.groups
    }

    /// Rows and columns of the convolution's maps as a matrix.
    fn maps(self) -> (u32, u32) {
        (self.filters, self.convolution.positions())
    }

    /// Place of the stage's output.
    fn output(self) -> Place {
        self.pool.map_or(self.convolution.matrix(), |(_, place)| place)
    }

    /// The gradient of the stage's output as a matrix: rows, columns, and the distance of rows.
    fn gradient(self, last: bool) -> (u32, u32, u32) {
        if last {
            // It is dfdx', image after image without gaps; the plan proved that an image's values can be numbered.
            let image = self.output().of_image as u32;
            return (self.convolution.batch(), image, image);
        }
        let positions = self.pool.map_or(self.maps().1, |(pool, _)| pool.positions());
        (self.filters, positions, pitch(positions))
    }

    /// The programs of the stage's kernels: for the window, for maps, and for the pooling where there is one.
    fn programs(self, stored: Stored) -> Vec<Program> {
        let pool = self.pool.map(|(pool, _)| pool.pool_program(stored));
        [self.convolution.window_program(stored), stored.maps_program()].into_iter().chain(pool).collect()
    }
}

/// Record of one stage for the backward pass.
struct Record {
    sizes: StageSizes,
    kernels: Kernels,
    weight: Shared<(usize, usize, usize, usize)>,
    /// The weight as factors, where these are no `f32`.
    rounded: Option<CudaSlice<u8>>,
    /// Unfolded windows of the convolution, where they are kept.
    windows: Option<CudaSlice<u8>>,
    /// Output of the ReLU, or of the pooling where there is one.
    output: Address,
    /// The taps that the pooling chose.
    choices: Option<CudaSlice<u8>>,
    /// The memory of `output`; the last stage's is a tensor of dfdx'.
    _memory: Option<CudaSlice<f32>>,
}

impl Record {
    /// The weight as a factor.
    fn weight(&self, transposed: bool) -> Factor {
        weight_factor(self.sizes.taps(), &self.weight, self.rounded.as_ref(), transposed)
    }
}

fn weight_factor(
    taps: u32,
    weight: &Shared<(usize, usize, usize, usize)>,
    rounded: Option<&CudaSlice<u8>>,
    transposed: bool,
) -> Factor {
    match rounded {
        Some(rounded) => Factor { values: address(rounded), pitch: pitch(taps), transposed },
        None => Factor { values: weight.address(), pitch: taps, transposed },
    }
}

/// Outline of a stage for [`plan`].
#[derive(Debug, Clone, Copy)]
struct Outline {
    filters: usize,
    /// Channels that a filter sees.
    group: usize,
    window: Window,
    pool: Option<Window>,
}

/// The sizes of all stages and of the last maps, where this way of computing can do them: windows that are not too large.
fn plan(
    (batch, mut channels, mut height, mut width): (usize, usize, usize, usize),
    stages: &[Outline],
) -> Option<(Vec<StageSizes>, (usize, usize))> {
    stages.last()?;
    let mut plan = Vec::new();
    for (index, Outline { filters, group, window, pool }) in stages.iter().enumerate() {
        if window.kernel.checked_mul(window.kernel)? > MAX_TAPS {
            return None;
        }
        let plane = Plane::new(height, width, *window);
        let convolution = Sizes::new(batch, channels, plane)?;
        let groups = u32::try_from(channels.checked_div(*group)?).ok()?;
        (channels, height, width) = (*filters, plane.rows, plane.columns);
        let last = index + 1 == stages.len();
        // The kernel of a pooling writes the last maps as dfdx has them: where there is none, that of single values.
        let pool = match pool.or(last.then_some(SINGLE)) {
            None => None,
            Some(window) if window.kernel > MAX_POOL => return None,
            Some(window) => {
                let plane = Plane::new(height, width, window);
                let positions = plane.positions();
                let sizes = Sizes::new(batch, channels, plane)?;
                (height, width) = (plane.rows, plane.columns);
                // The last one's values go to dfdx, image after image.
                let place = if last {
                    u32::try_from(channels.checked_mul(positions)?).ok()?;
                    Place { of_channel: positions, of_image: channels * positions }
                } else {
                    sizes.matrix()
                };
                Some((sizes, place))
            }
        };
        plan.push(StageSizes { convolution, filters: u32::try_from(*filters).ok()?, groups, pool });
    }
    Some((plan, (height, width)))
}

/// The kernels of all stages, compiled where they are not yet.
fn kernels(engine: &Engine, plan: &[StageSizes]) -> Result<Vec<Kernels>, CudaError> {
    let stored = Stored::of(engine.convolutions);
    let programs: Vec<Program> = plan.iter().flat_map(|sizes| sizes.programs(stored)).collect();
    let mut modules = engine.modules(&programs)?.into_iter();
    let missing = || cudarc::driver::DriverError(cudarc::driver::sys::CUresult::CUDA_ERROR_NOT_FOUND);
    let mut next = || modules.next().ok_or_else(missing);
    let kernels = plan.iter().map(|sizes| {
        let (window, maps) = (next()?, next()?);
        let pool = sizes.pool.map(|_| next()).transpose()?;
        Ok(Kernels { stored, window, pool, maps })
    });
    kernels.collect()
}

/// A tower as one operation; each stage by itself where that cannot be.
///
/// # Errors
/// The device's own.
pub fn tower<T: Tape<f32, Cuda>>(call: Tower<Cuda, T>) -> Result<Images<Cuda, T>, CudaError> {
    let outline = |stage: &Stage<Cuda>| {
        let (filters, group, ..) = *stage.weight.shape();
        Outline { filters, group, window: stage.window, pool: stage.pool }
    };
    let outlines: Vec<_> = call.stages.iter().map(outline).collect();
    let shape = *call.input.shape();
    let (Some((plan, (rows, columns))), Some(Outline { filters, .. })) = (plan(shape, &outlines), outlines.last())
    else {
        return call.one_by_one();
    };
    let Tower { input: images, stages, input_gradient, .. } = call;
    let device = images.device().clone();
    let engine = Engine::of(&device)?;
    let kernels = kernels(&engine, &plan)?;
    let (images, mut tape) = images.try_contiguous()?.split_tape();
    let images_ghost = input_gradient.then(|| images.ghost());
    let images = Shared::new(images)?;
    let ghosts: Vec<_> = stages.iter().map(|stage| (stage.weight.ghost(), stage.bias.ghost())).collect();

    let (output, target) = exchange::uninitialised(&device, &(shape.0, *filters, rows, columns))?;
    let (last, mut records) = (stages.len() - 1, Vec::<Record>::new());
    for (index, ((sizes, kernels), stage)) in plan.into_iter().zip(kernels).zip(stages).enumerate() {
        let source = match records.last() {
            None => (images.address(), sizes.convolution.images()),
            Some(record) => (record.output, record.sizes.output()),
        };
        let target = (index == last).then_some(target);
        records.push(forward(&engine, (sizes, kernels), source, stage, target, T::OWNS_TAPE)?);
        if !T::OWNS_TAPE {
            records.drain(..records.len() - 1);
        }
    }

    let (output_ghost, values) = (output.ghost(), output.clone());
    tape.add_backward_op(move |gradients| {
        // The last stage's output lies in `values`, which nobody changes as long as it is shared.
        let _values = &values;
        let mut gradient = *gradients.get_or_alloc_mut(&output_ghost)?.device_ptr();
        let mut memory = None;
        for (index, (weight, bias)) in ghosts.iter().enumerate().rev() {
            let convolution = records[index].sizes.convolution;
            let source = match index.checked_sub(1).map(|before| &records[before]) {
                None => (images.address(), convolution.images()),
                Some(record) => (record.output, record.sizes.output()),
            };
            let targets =
                [*gradients.get_or_alloc_mut(weight)?.device_ptr(), *gradients.get_or_alloc_mut(bias)?.device_ptr()];
            let input = match &images_ghost {
                _ if index > 0 => InputGradient::New,
                Some(images) => InputGradient::Added(*gradients.get_or_alloc_mut(images)?.device_ptr()),
                None => InputGradient::Unwanted,
            };
            memory = backward(&engine, &mut records[index], source, input, gradient, memory, targets)?;
            gradient = memory.as_ref().map_or(0, address);
        }
        Ok(())
    });
    Ok(output.put_tape(tape))
}

/// One stage of `source`, whose planes lie as is said there. Its output goes to `target`, or else into memory of its own.
fn forward(
    engine: &Engine,
    (sizes, kernels): (StageSizes, Kernels),
    source: (Address, Place),
    stage: Stage<Cuda>,
    target: Option<Address>,
    recorded: bool,
) -> Result<Record, CudaError> {
    let (convolution, (filters, positions)) = (sizes.convolution, sizes.maps());
    let (taps, stored) = (sizes.taps(), kernels.stored);
    let (weight, bias) = (Shared::new(stage.weight)?, Shared::new(stage.bias)?);
    let unfolded = engine.allocate::<u8>(stored.bytes() * matrix(convolution.taps(), positions))?;
    let rounded = match stored {
        Stored::F32 => None,
        Stored::Bf16 | Stored::F16 => Some(engine.allocate::<u8>(stored.bytes() * matrix(filters, taps))?),
    };
    let maps = engine.allocate::<f32>(matrix(filters, positions))?;
    let factors = [
        weight_factor(taps, &weight, rounded.as_ref(), false),
        Factor { values: address(&unfolded), pitch: pitch(positions), transposed: false },
    ];
    let product = Target { values: address(&maps), pitch: pitch(positions), stored: Stored::F32, added: false };
    // SAFETY: the memory was just allocated by these sizes; the weight has filters × taps values and the source planes of all
    // channels, by the shapes that the plan was made of.
    unsafe {
        if let Some(rounded) = &rounded {
            kernels.factors(engine, (filters, taps), [weight.address(), address(rounded)])?;
        }
        kernels.unfold(engine, convolution, source.1, [source.0, address(&unfolded)])?;
        kernels.products(engine, sizes.groups, (sizes.group(), taps, positions), factors, product)?;
    }
    let windows = (recorded && engine.keeps_windows()).then_some(unfolded);
    let rounded = rounded.filter(|_| recorded);

    let Some((pool, place)) = sizes.pool else {
        // SAFETY: a value of `bias` for each filter, by the stage's type, and `maps` as allocated.
        unsafe { kernels.bias_relu(engine, (filters, positions), [bias.address(), address(&maps)]) }?;
        let output = address(&maps);
        return Ok(Record { sizes, kernels, weight, rounded, windows, output, choices: None, _memory: Some(maps) });
    };
    let choices = engine.allocate::<u8>(filters as usize * pool.positions() as usize)?;
    let memory = if target.is_none() { Some(engine.allocate::<f32>(matrix(filters, pool.positions()))?) } else { None };
    let output = target.or(memory.as_ref().map(address)).unwrap_or_default();
    // SAFETY: as above; the output and the choices have a place for each position, and `target` is dfdx' memory for a tensor
    // of exactly that many values.
    unsafe {
        let addresses = [bias.address(), address(&maps), output, address(&choices)];
        kernels.bias_relu_pool(engine, (pool, place), addresses)?;
    }
    Ok(Record { sizes, kernels, weight, rounded, windows, output, choices: Some(choices), _memory: memory })
}

/// Destination of the gradient of a stage's input.
#[derive(Debug, Clone, Copy)]
enum InputGradient {
    Unwanted,
    /// It is written to memory of its own.
    New,
    /// It is added to what is there, which is dfdx'.
    Added(Address),
}

/// The gradients of one stage, from that of its output (`gradient`, which is `memory` where that is there): the weight's and
/// the bias' are added to `targets`, the input's is returned where it is new, and lies as the source does.
fn backward(
    engine: &Engine,
    record: &mut Record,
    source: (Address, Place),
    input_gradient: InputGradient,
    gradient: Address,
    memory: Option<CudaSlice<f32>>,
    targets: [Address; 2],
) -> Result<Option<CudaSlice<f32>>, CudaError> {
    let kept = record.windows.take();
    let (kernels, convolution, (filters, positions)) = (&record.kernels, record.sizes.convolution, record.sizes.maps());
    let (taps, groups, group) = (record.sizes.taps(), record.sizes.groups, record.sizes.group());
    let stored = kernels.stored;
    let factors = |rows, columns| engine.allocate::<u8>(stored.bytes() * matrix(rows, columns));
    let map_gradient = factors(filters, positions)?;
    let parts = sums(stored, positions);
    let partial = engine.allocate::<f32>(filters as usize * parts as usize)?;
    let scaled = stored == Stored::F16;
    let scale = if scaled { Some(engine.zeros::<u32>(1)?) } else { None };
    let largest = scale.as_ref().map_or(0, address);
    // SAFETY: the forward pass made the output and the choices with these sizes, the gradient is as large as the output and
    // lies as it does, and the rest was just allocated; `targets` are dfdx' memory for gradients of the weight, filters × taps,
    // and the bias, filters.
    unsafe {
        if scaled {
            kernels.largest(engine, record.sizes.gradient(memory.is_none()), [gradient, largest])?;
        }
        match (record.sizes.pool, &record.choices) {
            (Some(pool), Some(choices)) => {
                let read = [record.output, address(choices), gradient, largest];
                let addresses = [read[0], read[1], read[2], read[3], address(&map_gradient), address(&partial)];
                kernels.pool_relu_backward(engine, pool, addresses)?;
            }
            _ => {
                let addresses = [record.output, gradient, largest, address(&map_gradient), address(&partial)];
                kernels.relu_backward(engine, (filters, positions), addresses)?;
            }
        }
        kernels.bias_gradient(engine, (filters, parts), [address(&partial), targets[1]])?;
    }
    drop(memory);
    let unfolded = match kept {
        Some(unfolded) => unfolded,
        None => {
            let unfolded = factors(convolution.taps(), positions)?;
            // SAFETY: as in the forward pass.
            unsafe { kernels.unfold(engine, convolution, source.1, [source.0, address(&unfolded)]) }?;
            unfolded
        }
    };
    let maps = Factor { values: address(&map_gradient), pitch: pitch(positions), transposed: false };
    let windows = Factor { values: address(&unfolded), pitch: pitch(positions), transposed: true };
    let count = filters * taps;
    let product = if scaled { Some(engine.allocate::<f32>(count as usize)?) } else { None };
    let values = product.as_ref().map_or(targets[0], address);
    let weight_gradient = Target { values, pitch: taps, stored: Stored::F32, added: !scaled };
    // SAFETY: as above.
    unsafe {
        kernels.products(engine, groups, (group, positions, taps), [maps, windows], weight_gradient)?;
        if scaled {
            kernels.add(engine, count, [largest, values, targets[0]])?;
        }
    }
    let (input, added) = match input_gradient {
        InputGradient::Unwanted => return Ok(None),
        InputGradient::New => (Some(engine.allocate::<f32>(convolution.channels() as usize * source.1.of_channel)?), 0),
        InputGradient::Added(target) => (None, target),
    };
    let target = input.as_ref().map_or(added, address);
    let product = Target { values: address(&unfolded), pitch: pitch(positions), stored, added: false };
    // SAFETY: as above; what was unfolded is no longer needed, and the product is as large. The source of a stage that is not
    // the first lies channel by channel, and so a new gradient has room for all of them; that of the first is dfdx' memory for as
    // many values as its source.
    unsafe {
        kernels.products(engine, groups, (taps, group, positions), [record.weight(true), maps], product)?;
        let place = (source.1, input.is_none());
        kernels.fold(engine, convolution, place, [largest, address(&unfolded), target])?;
    }
    Ok(input)
}

/// Values of a matrix in memory, which may lie beyond 2³².
fn matrix(rows: u32, columns: u32) -> usize {
    rows as usize * pitch(columns) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(kernel: usize, stride: usize, padding: usize) -> Window {
        Window { kernel, stride, padding }
    }

    /// Filters, the channels that each of them sees, window and pooling.
    fn outline((filters, group, window, pool): (usize, usize, Window, Option<Window>)) -> Outline {
        Outline { filters, group, window, pool }
    }

    fn alexnet(channels: usize) -> [Outline; 5] {
        let pool = Some(window(3, 2, 0));
        [
            (96, channels, window(11, 4, 1), pool),
            (256, 96, window(5, 1, 2), pool),
            (384, 256, window(3, 1, 1), None),
            (384, 192, window(3, 1, 1), None),
            (256, 384, window(3, 1, 1), pool),
        ]
        .map(outline)
    }

    #[test]
    fn alexnet_is_computed_so_up_to_the_largest_batch() {
        let (stages, last) = plan((256, 1, 224, 224), &alexnet(1)).unwrap();
        assert_eq!(last, (5, 5));
        let maps: Vec<_> = stages.iter().map(|sizes| sizes.maps()).collect();
        assert_eq!(
            maps,
            [(96, 256 * 54 * 54), (256, 256 * 26 * 26), (384, 256 * 144), (384, 256 * 144), (256, 256 * 144)]
        );
        let groups: Vec<_> = stages.iter().map(|sizes| (sizes.groups, sizes.group(), sizes.taps())).collect();
        assert_eq!(groups, [(1, 96, 121), (1, 256, 2400), (1, 384, 2304), (2, 192, 1728), (1, 256, 3456)]);
        let places = stages.iter().filter_map(|sizes| sizes.pool).map(|(_, place)| (place.of_channel, place.of_image));
        assert!(places.eq([(256 * 676, 676), (256 * 144, 144), (25, 6400)]));
        assert!(plan((8192, 1, 224, 224), &alexnet(1)).is_some());
    }

    #[test]
    fn windows_of_the_same_sizes_have_the_same_programs() {
        let (stages, _) = plan((2, 1, 224, 224), &alexnet(1)).unwrap();
        let mut programs: Vec<_> =
            stages.iter().flat_map(|sizes| sizes.programs(Stored::F32)).map(|program| program.key()).collect();
        programs.sort();
        programs.dedup();
        // Three convolutions of five have the same window, and all maps the same program.
        assert_eq!(programs.len(), 3 + 3 + 1);
    }

    #[test]
    fn what_the_kernels_are_not_written_for_is_left_to_others() {
        let one = |window, pool| [outline((4, 1, window, pool))];
        assert!(plan((1, 3, 224, 224), &alexnet(3)).is_some());
        assert!(plan((1, 1, 28, 28), &one(window(17, 1, 0), Some(window(3, 2, 0)))).is_none());
        assert!(plan((1, 1, 224, 224), &alexnet(1)[..4]).is_some());
        assert!(plan((1, 1, 224, 224), &[]).is_none());
        assert!(plan((1, 1, 28, 28), &one(window(3, 1, 1), Some(window(3, 2, 1)))).is_some());
        assert!(plan((1, 1, 28, 28), &one(window(3, 1, 1), Some(window(17, 2, 0)))).is_none());
    }
}
