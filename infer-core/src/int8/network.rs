//! An int8 network: opened from packed memory or a file, and run.

use super::forward::{Engine, Pass};
use super::memory::{Section, read_header};
use super::plan::Step;
use super::{Int8Error, NETWORKS, Plan, Ranges, pack};
use crate::describe::Description;
use crate::safetensors::{self, Dtype, WeightsError};
use crate::weights::Weights;
use kernels::{Int8Backend, Int8Kernels, Int8Tile, Line, Parallel};

/// A network with int8 weights, which are borrowed, and kernels for this CPU.
///
/// ```no_run
/// use infer_core::int8::{Int8Backend, Int8Error, Line, Network, Serial};
/// use infer_core::lenet5::INT8_PLAN;
///
/// # fn classify(file: &[u8], image: &[f32; 784]) -> Result<[f32; 10], Int8Error> {
/// let network = Network::from_safetensors(&INT8_PLAN, file, &mut [], Int8Backend::best())?;
/// let mut workspace = [Line::ZERO; INT8_PLAN.workspace_len(10, 1)];
/// let mut logits = [0.0; 10];
/// network.forward(image, &mut logits, &mut workspace, &Serial)?;
/// # Ok(logits)
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Network<'w> {
    pub(super) plan: &'static Plan,
    pub(super) kernels: &'static Int8Kernels,
    pub(super) classes: usize,
    /// Factor of the image's pixels.
    pub(super) factor: f32,
    /// Packed memory behind the header line.
    packed: &'w [Line],
    transformed: &'w [Line],
}

impl<'w> Network<'w> {
    /// Quantises f32 weights into `packed`, which must be [`Plan::packed_len`] lines. The result is the same on every target, and
    /// may be written to a file ([`Line::bytes`]) and used from there.
    ///
    /// # Errors
    /// [`Network`](Int8Error::Network) for the weights of another network, [`Classes`](Int8Error::Classes),
    /// [`Length`](Int8Error::Length), [`Ranges`](Int8Error::Ranges), [`NotFinite`](Int8Error::NotFinite), or
    /// [`Factor`](Int8Error::Factor) where a scale is beyond the range of floats.
    pub fn pack(
        plan: &'static Plan,
        weights: &Weights<'_>,
        ranges: Ranges<'_>,
        packed: &mut [Line],
    ) -> Result<(), Int8Error> {
        if !core::ptr::eq(plan.description(), weights.description()) {
            return Err(Int8Error::Network { expected: plan.description().name });
        }
        pack::pack(plan, weights, ranges, packed)
    }

    /// The network of a file of int8 weights, the tensor [`Description::int8_tensor`] and no other, bytes which begin at a multiple
    /// of 64 of the file; they stay where they are: in a file that is mapped into memory, or in flash. `transformed` is as in
    /// [`from_packed`](Self::from_packed).
    ///
    /// # Errors
    /// [`File`](Int8Error::File), [`Misaligned`](Int8Error::Misaligned), [`Weight`](Int8Error::Weight), and those of
    /// [`from_packed`](Self::from_packed).
    pub fn from_safetensors(
        plan: &'static Plan,
        file: &'w [u8],
        transformed: &'w mut [Line],
        backend: Int8Backend,
    ) -> Result<Self, Int8Error> {
        let network = Self::from_safetensors_unscanned(plan, file, transformed, backend)?;
        network.check_weights()?;
        Ok(network)
    }

    /// Like [`from_safetensors`](Self::from_safetensors), for weights that were looked through before: they are not read, and
    /// one that is out of range makes logits meaningless. All else is checked.
    ///
    /// # Errors
    /// As [`from_safetensors`](Self::from_safetensors), but for [`Weight`](Int8Error::Weight).
    pub fn from_safetensors_unscanned(
        plan: &'static Plan,
        file: &'w [u8],
        transformed: &'w mut [Line],
        backend: Int8Backend,
    ) -> Result<Self, Int8Error> {
        Self::from_packed(plan, lines_of(plan, file)?, transformed, backend)
    }

    /// The network of packed weights, which stay where they are. All is looked at but the weights themselves: where they come
    /// from elsewhere than [`pack`](Self::pack), [`check_weights`](Self::check_weights) looks at those.
    ///
    /// The weights of Winograd convolutions are transformed into `transformed`, of [`Plan::transformed_len`] lines: none for a plan
    /// without such convolutions.
    ///
    /// # Errors
    /// [`Transformed`](Int8Error::Transformed) where that memory has another length,
    /// [`NotInt8`](Int8Error::NotInt8), [`Version`](Int8Error::Version), [`Network`](Int8Error::Network),
    /// [`Plan`](Int8Error::Plan), [`Classes`](Int8Error::Classes), [`Length`](Int8Error::Length), [`Factor`](Int8Error::Factor),
    /// [`Parameter`](Int8Error::Parameter), [`Unavailable`](Int8Error::Unavailable) or [`NoVectors`](Int8Error::NoVectors).
    pub fn from_packed(
        plan: &'static Plan,
        packed: &'w [Line],
        transformed: &'w mut [Line],
        backend: Int8Backend,
    ) -> Result<Self, Int8Error> {
        let (classes, factor) = read_header(packed, plan)?;
        let (expected, found) = (plan.packed_len(classes), packed.len());
        if found != expected {
            return Err(Int8Error::Length { expected, found });
        }
        let (expected, found) = (plan.transformed_len(), transformed.len());
        if found != expected {
            return Err(Int8Error::Transformed { expected, found });
        }
        let kernels = backend.kernels().ok_or(Int8Error::Unavailable { backend })?;
        if expected > 0 && !Int8Tile::AVAILABLE {
            return Err(Int8Error::NoVectors);
        }
        let packed = packed.get(1..).unwrap_or_default();
        let (mut rest, mut memory) = (packed, &mut *transformed);
        for step in plan.steps() {
            let section = Section::take(&mut rest, &mut &[][..], step, classes); // nothing is transformed yet
            section.check(step, classes)?;
            section.transform(&mut memory, step, kernels)?;
        }
        Ok(Self { plan, kernels, classes, factor, packed, transformed })
    }

    /// The layers, and their sections: found anew whenever they are wanted, since many of them would fill the memory of small boards.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&'static Step, Section<'w>)> + use<'w> {
        let (mut packed, mut transformed, classes) = (self.packed, self.transformed, self.classes);
        self.plan.steps().iter().map(move |step| (step, Section::take(&mut packed, &mut transformed, step, classes)))
    }

    /// Looks for weights that are out of range. Reads all of them.
    ///
    /// # Errors
    /// [`Weight`](Int8Error::Weight).
    pub fn check_weights(&self) -> Result<(), Int8Error> {
        self.sections().try_for_each(|(step, section)| section.check_weights(step, self.classes))
    }

    /// Plan by which it is packed and run.
    #[must_use]
    pub fn plan(&self) -> &'static Plan {
        self.plan
    }

    /// The network as a table.
    #[must_use]
    pub fn description(&self) -> &'static Description {
        self.plan.description()
    }

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The backend whose kernels are used. It has no influence on the logits.
    #[must_use]
    pub fn backend(&self) -> Int8Backend {
        self.kernels.backend()
    }

    /// Lines of workspace that a batch of that many images needs.
    #[must_use]
    pub fn workspace_len(&self, batch: usize) -> usize {
        self.plan.workspace_len(self.classes, batch)
    }

    /// A pixel of the network's input, normalised where the network wants it so, as the integer that
    /// [`forward_quantised`](Self::forward_quantised) takes. NaN becomes 0.
    #[must_use]
    pub fn quantise(&self, pixel: f32) -> i16 {
        quantise(pixel, self.factor, self.plan.input_limit)
    }

    /// The logits of each image, a row of [`classes`](Self::classes) for each. The values of an image are in channel, row,
    /// column order, one image behind the other. `workspace` may hold anything.
    ///
    /// # Errors
    /// [`Images`](Int8Error::Images), [`Logits`](Int8Error::Logits) or [`Workspace`](Int8Error::Workspace).
    pub fn forward(
        &self,
        images: &[f32],
        logits: &mut [f32],
        workspace: &mut [Line],
        parallel: &impl Parallel,
    ) -> Result<(), Int8Error> {
        self.forward_observed(images, logits, workspace, parallel, &mut |_| ())
    }

    /// The same as [`forward`](Self::forward), and calls `done` with the number of a layer whenever it is done: to measure how
    /// long each one takes. Layers before the linear ones come once for each image.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_observed(
        &self,
        images: &[f32],
        logits: &mut [f32],
        workspace: &mut [Line],
        parallel: &impl Parallel,
        done: &mut impl FnMut(usize),
    ) -> Result<(), Int8Error> {
        let (factor, limit) = (self.factor, self.plan.input_limit);
        self.run(images, |pixel| quantise(pixel, factor, limit), logits, workspace, parallel, done)
    }

    /// The same as [`forward`](Self::forward) for images of integers, each made by [`quantise`](Self::quantise): for CPUs
    /// without floats, whose pixels can go through a table of 256 entries. Integers beyond the range are clipped to it.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_quantised(
        &self,
        images: &[i16],
        logits: &mut [f32],
        workspace: &mut [Line],
        parallel: &impl Parallel,
    ) -> Result<(), Int8Error> {
        let limit = self.plan.input_limit;
        self.run(images, |pixel: i16| pixel.max(-limit).min(limit), logits, workspace, parallel, &mut |_| ())
    }

    fn run<T: Copy + Sync>(
        &self,
        images: &[T],
        pixel: impl Fn(T) -> i16 + Sync,
        logits: &mut [f32],
        workspace: &mut [Line],
        parallel: &impl Parallel,
        done: &mut impl FnMut(usize),
    ) -> Result<(), Int8Error> {
        let Self { plan, classes, .. } = *self;
        let image = plan.description().input().values();
        // The sizes of a network are not zero, but that is not for the compiler to see.
        let (batch, rest) = (images.len().checked_div(image), images.len().checked_rem(image));
        let (Some(batch), Some(0)) = (batch, rest) else {
            return Err(Int8Error::Images { image, found: images.len() });
        };
        let expected = batch.saturating_mul(classes);
        if logits.len() != expected {
            return Err(Int8Error::Logits { expected, found: logits.len() });
        }
        if batch == 0 {
            return Ok(());
        }
        let (expected, found) = (self.workspace_len(batch), workspace.len());
        if found < expected {
            return Err(Int8Error::Workspace { expected, found });
        }
        let engine = Engine::new(self.kernels, parallel);
        let mut pass = Pass::new(self, &engine, batch, workspace, done);
        pass.maps(images.chunks_exact(image.max(1)), pixel);
        pass.linears(batch, logits);
        Ok(engine.finish()?)
    }
}

/// The plan by which the int8 weights of a file were packed, of [`NETWORKS`].
///
/// # Errors
/// [`File`](Int8Error::File) where there are none in the file, [`Misaligned`](Int8Error::Misaligned),
/// [`NotInt8`](Int8Error::NotInt8), [`Version`](Int8Error::Version), [`Plan`](Int8Error::Plan),
/// [`Classes`](Int8Error::Classes) or [`Factor`](Int8Error::Factor).
pub fn plan_of(file: &[u8]) -> Result<&'static Plan, Int8Error> {
    let mut reason = Int8Error::NotInt8;
    for plan in NETWORKS {
        match lines_of(plan, file) {
            Ok(lines) => match read_header(lines, plan) {
                Ok(_) => return Ok(plan),
                Err(error) => reason = error,
            },
            // Another network, unless it is the last one.
            Err(error @ Int8Error::File(WeightsError::Missing { .. })) => {
                if reason == Int8Error::NotInt8 {
                    reason = error;
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(reason)
}

/// The packed memory in a file.
fn lines_of<'w>(plan: &Plan, file: &'w [u8]) -> Result<&'w [Line], Int8Error> {
    let name = plan.description().int8_tensor;
    let tensor = safetensors::single(file, name)?;
    if tensor.dtype != Dtype::U8 {
        return Err(WeightsError::Dtype { tensor: name, expected: Dtype::U8, found: tensor.dtype }.into());
    }
    if !tensor.bytes.len().is_multiple_of(Line::SIZE) {
        return Err(Int8Error::NotInt8);
    }
    let lines = Line::from_bytes(tensor.bytes).ok_or(Int8Error::Misaligned)?;
    Ok(lines)
}

/// `round(pixel · factor)` within ±`limit`, ties to even; 0 for NaN.
fn quantise(pixel: f32, factor: f32, limit: i16) -> i16 {
    /// A float of this size has no room for fractions, so that adding it rounds; the integer is in its lowest bits.
    const ROUND: f32 = (3_u32 << 22) as f32;
    let limit = f32::from(limit);
    let value = pixel * factor;
    let number = if value.is_nan() { 0.0 } else { value };
    let clipped = if number > limit { limit } else { number };
    let clipped = if clipped < -limit { -limit } else { clipped };
    (clipped + ROUND).to_bits() as i16
}
