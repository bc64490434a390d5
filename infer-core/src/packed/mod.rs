//! Any network prepared for speed: weights packed ahead of time, kernels chosen for the CPU, batches, and tasks for as many
//! threads as the caller has. Still no heap: packed weights and workspace are the caller's memory.
//!
//! ```text
//! table of layers ── Plan::new, by the compiler ─▶ Plan
//!                                                    │
//! weights ── pack ─▶ packed memory (or a file to be mapped) ── from_packed ─▶ Network ── forward ─▶ logits
//! ```
//!
//! How a layer is computed follows from its sizes. AlexNet's, for images of `[row][column][channel]`:
//!
//! | layer | by | multiplications saved |
//! |---|---|---|
//! | conv1 | 4×4 pixels laid into 16 channels, then Winograd F(6×6, 3×3) | 4.3 of 5.3 |
//! | conv2 | Winograd F(5×5, 5×5) | 6.7 of 7.7 |
//! | conv3 – conv5 | Winograd F(4×4, 3×3) | 3 of 4 |
//! | linear1 – linear3 | matrix products that read each weight once a batch | |
//!
//! The unpacked networks need no second copy of their weights, but are several times slower.

mod error;
mod forward;
mod memory;
mod pack;
mod plan;
mod winograd;

#[cfg(test)]
mod tests;

pub use error::PackedError;
pub use kernels::{Backend, Line, Parallel, Serial};
pub use plan::{Cost, Plan};

use crate::describe::{Description, MAX_LAYERS};
use crate::safetensors::{Dtype, SafeTensors, WeightsError};
use crate::weights::Weights;
use core::fmt;
use core::ops::Range;
use forward::{Engine, LayerWeights, finish, rectified, store};
use heapless::Vec;
use kernels::{BLOCK, Kernels, numbers_mut};
use memory::{Sections, check_classes, read_header};
use plan::{CHUNK, Entry, Grid, Step};

/// The networks that come with this crate.
pub static NETWORKS: &[&Plan] = &[
    &crate::alexnet::PLAN,
    &crate::alexnet_imagenet::PLAN,
    &crate::alexnet_2012::PLAN,
    &crate::alexnet_low_rank::rank64::PLAN,
    &crate::alexnet_low_rank::rank128::PLAN,
    &crate::alexnet_low_rank::rank256::PLAN,
    &crate::lenet5::PLAN,
];

/// Number format of the stored weights of linear layers. Arithmetic is f32 in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LinearWeights {
    /// `f32`, as they are.
    F32,
    /// Rounded to half-width floats: half the memory, and one and a half times AlexNet's speed for single images, which are
    /// bound by the reading of these weights. Logits change by less than a thousandth of the largest.
    F16,
}

impl LinearWeights {
    /// Both.
    pub const ALL: &'static [Self] = &[Self::F32, Self::F16];

    /// Bytes of a weight.
    pub(crate) const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    /// Tag of the format in the header of packed memory.
    const fn tag(self) -> u8 {
        match self {
            Self::F32 => 1,
            Self::F16 => 2,
        }
    }
}

/// IEEE 754 binary16 (`f16`).
impl fmt::Display for LinearWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        })
    }
}

/// A network with packed weights, which are borrowed, and kernels for this CPU.
///
/// ```no_run
/// use infer_core::alexnet::{AlexNet, Image, PLAN};
/// use infer_core::packed::{Backend, Line, LinearWeights, Network, PackedError, Serial};
/// use infer_core::tensor::FloatArray;
///
/// # fn classify(network: &AlexNet, images: &[Image]) -> Result<Vec<f32>, PackedError> {
/// let weights = network.weights();
/// let mut packed = vec![Line::ZERO; PLAN.packed_len(weights.classes(), LinearWeights::F32)];
/// Network::pack(&PLAN, &weights, LinearWeights::F32, &mut packed)?;
///
/// let network = Network::from_packed(&PLAN, &packed, Backend::best())?;
/// let mut workspace = vec![Line::ZERO; network.workspace_len(images.len())];
/// let mut logits = vec![0.0; network.classes() * images.len()];
/// let images = images.as_flattened().as_flattened().as_flattened();
/// network.forward(images, &mut logits, &mut workspace, &Serial)?;
/// # Ok(logits)
/// # }
/// ```
///
/// On Linux, weights in pages of 2 MB come from memory faster, by which a single image takes a tenth less: the package
/// `alexnet-large-pages` is an allocator that asks for them.
#[derive(Debug, Clone)]
pub struct Network<'w> {
    plan: &'static Plan,
    kernels: &'static Kernels,
    classes: usize,
    linear_weights: LinearWeights,
    layers: Vec<LayerWeights<'w>, MAX_LAYERS>,
}

impl<'w> Network<'w> {
    /// Packs weights into `packed`, which must be [`Plan::packed_len`] lines. The result is the same for every backend and
    /// target, and may be written to a file ([`Line::bytes`]) and used from there ([`Line::from_bytes`]).
    ///
    /// # Errors
    /// [`Network`](PackedError::Network) for the weights of another network, [`Classes`](PackedError::Classes),
    /// [`Length`](PackedError::Length), [`Overflow`](PackedError::Overflow), or [`TooLarge`](PackedError::TooLarge) for
    /// half-width weights.
    pub fn pack(
        plan: &'static Plan,
        weights: &Weights<'_>,
        linear: LinearWeights,
        packed: &mut [Line],
    ) -> Result<(), PackedError> {
        if !core::ptr::eq(plan.description(), weights.description()) {
            return Err(PackedError::Network { expected: plan.description().name });
        }
        let classes = check_classes(weights.classes())?;
        let (expected, found) = (plan.packed_len(classes, linear), packed.len());
        if found != expected {
            return Err(PackedError::Length { expected, found });
        }
        pack::pack(plan, weights, linear, packed)
    }

    /// The network of a file of packed weights, the tensor [`Description::packed_tensor`] and no other, bytes which begin at a
    /// multiple of 64 of the file; they stay where they are: in a file that is mapped into memory, say.
    ///
    /// # Errors
    /// [`File`](PackedError::File), [`Misaligned`](PackedError::Misaligned), [`NotFinite`](PackedError::NotFinite), and those
    /// of [`from_packed`](Self::from_packed).
    pub fn from_safetensors(plan: &'static Plan, file: &'w [u8], backend: Backend) -> Result<Self, PackedError> {
        let network = Self::from_safetensors_unscanned(plan, file, backend)?;
        network.check_finite()?;
        Ok(network)
    }

    /// Like [`from_safetensors`](Self::from_safetensors), for weights that were looked through before: their values are not read,
    /// and one that is not finite makes logits meaningless. All else is checked.
    ///
    /// # Errors
    /// As [`from_safetensors`](Self::from_safetensors), but for [`NotFinite`](PackedError::NotFinite).
    pub fn from_safetensors_unscanned(
        plan: &'static Plan,
        file: &'w [u8],
        backend: Backend,
    ) -> Result<Self, PackedError> {
        let name = plan.description().packed_tensor;
        // Room for as many as unpacked weights have, so that those get a better error than that there are too many.
        let file = SafeTensors::<'w, { 2 * MAX_LAYERS }>::parse(file)?;
        let tensor = file.tensor(name).ok_or(WeightsError::Missing { tensor: name })?;
        if tensor.dtype != Dtype::U8 {
            return Err(WeightsError::Dtype { tensor: name, expected: Dtype::U8, found: tensor.dtype }.into());
        }
        file.only(&[name])?;
        if !tensor.bytes.len().is_multiple_of(Line::SIZE) {
            return Err(PackedError::NotPacked);
        }
        let lines = Line::from_bytes(tensor.bytes).ok_or(PackedError::Misaligned)?;
        Self::from_packed(plan, lines, backend)
    }

    /// The network of packed weights, which stay where they are. Nothing but their header is looked at: where they come from
    /// elsewhere than [`pack`](Self::pack), [`check_finite`](Self::check_finite) looks at the rest.
    ///
    /// # Errors
    /// [`NotPacked`](PackedError::NotPacked), [`Version`](PackedError::Version), [`Network`](PackedError::Network),
    /// [`Plan`](PackedError::Plan), [`Classes`](PackedError::Classes), [`Storage`](PackedError::Storage),
    /// [`Length`](PackedError::Length), or [`Unavailable`](PackedError::Unavailable).
    pub fn from_packed(plan: &'static Plan, packed: &'w [Line], backend: Backend) -> Result<Self, PackedError> {
        let (classes, linear_weights) = read_header(packed, plan)?;
        let (expected, found) = (plan.packed_len(classes, linear_weights), packed.len());
        if found != expected {
            return Err(PackedError::Length { expected, found });
        }
        let kernels = backend.kernels().ok_or(PackedError::Unavailable { backend })?;
        let mut sections = Sections(packed.get(1..).unwrap_or_default());
        let layers = plan.steps().iter().map(|step| {
            let count = step.weights_len(classes);
            let weights = match step.storage(linear_weights) {
                None => return LayerWeights::NONE,
                Some(LinearWeights::F32) => forward::Weights::F32(sections.take(count)),
                Some(LinearWeights::F16) => forward::Weights::F16(sections.take(count)),
            };
            LayerWeights { weights, bias: sections.take(step.padded(classes)) }
        });
        Ok(Self { plan, kernels, classes, linear_weights, layers: layers.collect() })
    }

    /// Looks for weights that are NaN or infinite. Reads all of them.
    ///
    /// # Errors
    /// [`NotFinite`](PackedError::NotFinite).
    pub fn check_finite(&self) -> Result<(), PackedError> {
        for (step, LayerWeights { weights, bias }) in self.plan.steps().iter().zip(&self.layers) {
            let Some([weight_name, bias_name]) = step.layer.tensors else { continue };
            let found = match weights {
                forward::Weights::F32(weights) => memory::first_not_finite(weights),
                forward::Weights::F16(weights) => memory::first_not_finite(weights),
            };
            if found.is_some() {
                return Err(PackedError::NotFinite { tensor: weight_name });
            }
            if memory::first_not_finite(bias).is_some() {
                return Err(PackedError::NotFinite { tensor: bias_name });
            }
        }
        Ok(())
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

    /// The backend whose kernels are used.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.kernels.backend()
    }

    /// Number format of the linear layers' stored weights.
    #[must_use]
    pub fn linear_weights(&self) -> LinearWeights {
        self.linear_weights
    }

    /// Lines of workspace that a batch of that many images needs.
    #[must_use]
    pub fn workspace_len(&self, batch: usize) -> usize {
        self.plan.workspace_len(self.classes, batch)
    }

    /// The logits of each image, a row of [`classes`](Self::classes) for each. The values of an image are in channel, row,
    /// column order, one image behind the other. Weights are read once for all of them where that pays: an image costs least
    /// in batches of eight and more. `workspace` may hold anything.
    ///
    /// A NaN or infinity in an image makes that image's logits meaningless, no others.
    ///
    /// # Errors
    /// [`Images`](PackedError::Images), [`Logits`](PackedError::Logits) or [`Workspace`](PackedError::Workspace).
    pub fn forward(
        &self,
        images: &[f32],
        logits: &mut [f32],
        workspace: &mut [Line],
        parallel: &impl Parallel,
    ) -> Result<(), PackedError> {
        self.forward_observed(images, logits, workspace, parallel, &mut |_| ())
    }

    /// The same as [`forward`](Self::forward), and calls `done` with the number of a layer whenever it is done: to measure how
    /// long each one takes. The layers of one image may come several times, when the batch is worked on in parts.
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
    ) -> Result<(), PackedError> {
        self.forward_with_outputs(images, logits, workspace, parallel, &mut |layer, _| done(layer))
    }

    /// The same as [`forward`](Self::forward), and passes the outputs of each layer but the last on, with the layer's number, to find
    /// their range, say. They are in the layout of the kernels, with zeros that fill channels up: feature maps image by image,
    /// vectors all at once.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_with_outputs(
        &self,
        images: &[f32],
        logits: &mut [f32],
        workspace: &mut [Line],
        parallel: &impl Parallel,
        done: &mut impl FnMut(usize, &[f32]),
    ) -> Result<(), PackedError> {
        let Self { plan, classes, .. } = *self;
        let image = plan.image_len();
        // The sizes of a network are not zero, but that is not for the compiler to see.
        let (batch, rest) = (images.len().checked_div(image), images.len().checked_rem(image));
        let (Some(batch), Some(0)) = (batch, rest) else {
            return Err(PackedError::Images { image, found: images.len() });
        };
        let expected = batch.saturating_mul(classes);
        if logits.len() != expected {
            return Err(PackedError::Logits { expected, found: logits.len() });
        }
        if batch == 0 {
            return Ok(());
        }
        let (expected, found) = (self.workspace_len(batch), workspace.len());
        if found < expected {
            return Err(PackedError::Workspace { expected, found });
        }
        let parts = plan.parts(classes, batch);
        let mut rest = numbers_mut::<f32>(workspace);
        let mut part = |length| rest.split_off_mut(..length).unwrap_or_default();
        let (prepared, products) = (part(parts.prepared), part(parts.products));
        let (even, odd) = (part(parts.even), part(parts.odd));
        let (pooled, features) = (part(parts.pooled), part(parts.features));

        let mut pass =
            Pass { network: self, engine: Engine::new(self.kernels, parallel), prepared, products, even, odd, done };
        let (chunked, linear) = (plan.chunked, plan.linear);
        let (one, several) = ((image, plan.pooled_len()), CHUNK * image);
        let features_len = plan.features_len();
        if linear == 0 {
            pass.linears(batch, images, logits);
            return Ok(pass.engine.finish()?);
        }
        let chunks = images.chunks(several.max(1)).zip(features.chunks_mut((CHUNK * features_len).max(1)));
        for (images, features) in chunks {
            let count = images.len().checked_div(image).unwrap_or_default();
            let each = images.chunks_exact(image.max(1));
            if chunked == 0 {
                pass.maps(0..linear, count, images, features);
            } else if chunked == linear {
                for (image, features) in each.zip(features.chunks_exact_mut(features_len.max(1))) {
                    pass.maps(0..linear, 1, image, features);
                }
            } else {
                for (image, pooled) in each.zip(pooled.chunks_exact_mut(one.1.max(1))) {
                    pass.maps(0..chunked, 1, image, pooled);
                }
                pass.maps(chunked..linear, count, pooled, features);
            }
        }
        pass.linears(batch, features, logits);
        Ok(pass.engine.finish()?)
    }
}

/// A forward pass: its memory, and what runs it. Outputs of layers lie in `even` and `odd` by turns.
struct Pass<'a, 'w, P, D> {
    network: &'a Network<'w>,
    engine: Engine<'a, P>,
    prepared: &'a mut [f32],
    products: &'a mut [f32],
    even: &'a mut [f32],
    odd: &'a mut [f32],
    done: &'a mut D,
}

impl<P: Parallel, D: FnMut(usize, &[f32])> Pass<'_, '_, P, D> {
    /// Some layers of `count` images that are no vectors, from `input` to `output`.
    fn maps(&mut self, layers: Range<usize>, count: usize, input: &[f32], output: &mut [f32]) {
        let Network { plan, layers: weights, .. } = self.network;
        let mut place = Place::Elsewhere;
        if layers.start == 0 && !matches!(plan.entry, Entry::Plain) {
            self.engine.enter(&plan.entry, input, self.even);
            place = Place::Even;
        }
        let steps = plan.steps().iter().zip(weights).enumerate();
        for (number, (step, weights)) in steps.skip(layers.start).take(layers.len()) {
            let last = number + 1 == layers.end;
            let scratch = (&mut *self.prepared, &mut *self.products);
            let (input, target, next): (&[f32], &mut [f32], _) = match (place, last) {
                (Place::Elsewhere, false) => (input, self.even, Place::Even),
                (Place::Even, false) => (self.even, self.odd, Place::Odd),
                (Place::Odd, false) => (self.odd, self.even, Place::Even),
                (Place::Elsewhere, true) => (input, output, Place::Elsewhere),
                (Place::Even, true) => (self.even, output, Place::Elsewhere),
                (Place::Odd, true) => (self.odd, output, Place::Elsewhere),
            };
            self.engine.maps(step, weights, count, input, scratch, target);
            let Grid { side, pixel, len, .. } = step.output;
            for image in target.chunks(len.max(1)).take(count) {
                (self.done)(number, image.get(..side * side * pixel).unwrap_or_default());
            }
            place = next;
        }
    }

    /// The linear layers of a batch of vectors.
    fn linears(&mut self, batch: usize, input: &[f32], logits: &mut [f32]) {
        let Network { plan, layers: weights, classes, .. } = self.network;
        let mut place = Place::Elsewhere;
        let steps = plan.steps().iter().zip(weights).enumerate();
        for (number, (step, LayerWeights { weights, bias })) in steps.skip(plan.linear) {
            let (input, target, next): (&[f32], &mut [f32], _) = match place {
                Place::Elsewhere => (input, self.even, Place::Even),
                Place::Even => (self.even, self.odd, Place::Odd),
                Place::Odd => (self.odd, self.even, Place::Even),
            };
            let Step { input: grid, last, .. } = step;
            self.engine.linear(*weights, grid, batch, input, self.products);
            let outputs: &[f32] = if *last {
                finish(self.products, bias, batch, |row, block, values| {
                    // What fills the last block up belongs to no class.
                    let row = logits.get_mut(row * classes..(row + 1) * classes).unwrap_or_default();
                    let logits = row.get_mut(block * BLOCK..).unwrap_or_default();
                    logits.iter_mut().zip(values).for_each(|(logit, value)| *logit = value);
                });
                &[]
            } else {
                let (stride, relu) = (step.output_len(*classes), step.layer.relu());
                finish(self.products, bias, batch, |row, block, values| {
                    let values = if relu { rectified(values) } else { values };
                    store(target, stride, row, block, values);
                });
                target.get(..stride * batch).unwrap_or_default()
            };
            (self.done)(number, outputs);
            place = next;
        }
    }
}

/// Where the input of a layer lies.
#[derive(Debug, Clone, Copy)]
enum Place {
    Elsewhere,
    Even,
    Odd,
}
