//! AlexNet prepared for speed: weights packed ahead of time, kernels chosen for the CPU, batches, and tasks for as many
//! threads as the caller has. Still no heap: packed weights and workspace are the caller's memory.
//!
//! ```text
//! AlexNet ── pack ─▶ packed weights (memory, or a file to be mapped) ── from_packed ─▶ PackedAlexNet ── forward ─▶ logits
//! ```
//!
//! How the layers are computed, for images of `[row][column][channel]`:
//!
//! | layer | by | multiplications saved |
//! |---|---|---|
//! | conv1 | 4×4 pixels laid into 16 channels, then Winograd F(6×6, 3×3) | 4.3 of 5.3 |
//! | conv2 | Winograd F(5×5, 5×5) | 6.7 of 7.7 |
//! | conv3 – conv5 | Winograd F(4×4, 3×3) | 3 of 4 |
//! | linear1 – linear3 | matrix products that read each weight once a batch | |
//!
//! The unpacked [`AlexNet`] needs no second copy of its weights, but is many times slower.

mod forward;
mod layer;
mod layout;
mod pack;

#[cfg(test)]
mod tests;

pub use crate::arch::{Backend, Line, Parallel, Serial};
pub use layer::Layer;

use crate::alexnet::{self, AlexNet, CLASSES, Image};
use crate::arch::{BLOCK, Kernels, numbers_mut};
use crate::safetensors::{Dtype, SafeTensors, WeightsError};
use core::fmt;
use forward::{ConvWeights, Engine, Weights, scratch_len, with_bias};
use layout::{CONV1, CONV2, CONV3, CONV4, CONV5, CONVS, LAST_SIDE, LINEARS, Sections, packed_len, read_header};

/// What the weights of linear1, linear2 and linear3 are stored as. Arithmetic is f32 in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinearWeights {
    /// As they are.
    F32,
    /// Rounded to half-width floats: half the memory, and one and a half times the speed for single images, which are bound by the
    /// reading of these weights. Logits change by less than a thousandth of the largest.
    F16,
}

impl LinearWeights {
    /// Both.
    pub const ALL: [Self; 2] = [Self::F32, Self::F16];

    /// Bytes of a weight.
    pub(crate) const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// As `f16`.
impl fmt::Display for LinearWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        })
    }
}

/// Why a network could not be packed, opened or run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PackedError {
    /// The file is not a safetensors file of packed weights.
    File(WeightsError),
    /// The packed weights in the file do not begin at a multiple of 64 bytes in memory.
    Misaligned,
    /// The packed memory does not begin as it should.
    NotPacked,
    /// The memory was packed by another version of this crate.
    Version {
        /// This crate's.
        expected: u32,
        /// The memory's.
        found: u32,
    },
    /// The network that was packed tells another number of classes apart; see [`crate::CLASSES`].
    Classes {
        /// This crate's.
        expected: u32,
        /// The memory's.
        found: u32,
    },
    /// The packed memory has another length.
    Length {
        /// In lines.
        expected: usize,
        /// In lines.
        found: usize,
    },
    /// A weight is beyond the range of half-width floats, 65,504.
    TooLarge {
        /// Its tensor.
        tensor: &'static str,
        /// Its place there, row-major.
        index: usize,
    },
    /// The CPU lacks the instructions of the backend that was asked for.
    Unavailable {
        /// The backend.
        backend: Backend,
    },
    /// There are not as many images as there is room for logits.
    Batch {
        /// Images.
        images: usize,
        /// Logits.
        logits: usize,
    },
    /// The workspace is too small for the batch.
    Workspace {
        /// In lines.
        expected: usize,
        /// In lines.
        found: usize,
    },
}

impl fmt::Display for PackedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::File(error) => error.fmt(f),
            Self::Misaligned => {
                write!(f, "the packed weights do not begin at a multiple of {} bytes", Line::SIZE)
            }
            Self::NotPacked => f.write_str("this is not a packed AlexNet"),
            Self::Version { expected, found } => {
                write!(
                    f,
                    "packed in version {found} of the layout, where this program reads version {expected}: pack again"
                )
            }
            Self::Classes { expected, found } => {
                write!(f, "packed weights for {found} classes, where this program tells {expected} apart")
            }
            Self::Length { expected, found } => write!(
                f,
                "packed weights of {} bytes, where {} were expected",
                found.saturating_mul(Line::SIZE),
                expected.saturating_mul(Line::SIZE)
            ),
            Self::TooLarge { tensor, index } => {
                write!(f, "{tensor}: value {index} is beyond the range of half-width floats")
            }
            Self::Unavailable { backend } => write!(f, "this CPU has no {backend} instructions"),
            Self::Batch { images, logits } => write!(f, "{images} images, but room for the logits of {logits}"),
            Self::Workspace { expected, found } => {
                write!(f, "a workspace of {found} lines, where the batch needs {expected}")
            }
        }
    }
}

impl core::error::Error for PackedError {}

impl From<WeightsError> for PackedError {
    fn from(error: WeightsError) -> Self {
        Self::File(error)
    }
}

/// AlexNet with packed weights, which are borrowed, and kernels for this CPU.
///
/// ```no_run
/// use infer_core::alexnet::{AlexNet, CLASSES, Image};
/// use infer_core::packed::{Backend, Line, LinearWeights, PackedAlexNet, PackedError, Serial};
///
/// # fn classify(network: &AlexNet, images: &[Image]) -> Result<Vec<[f32; CLASSES]>, PackedError> {
/// let mut weights = vec![Line::ZERO; PackedAlexNet::packed_len(LinearWeights::F32)];
/// PackedAlexNet::pack(network, LinearWeights::F32, &mut weights)?;
///
/// let network = PackedAlexNet::from_packed(&weights, Backend::best())?;
/// let mut workspace = vec![Line::ZERO; PackedAlexNet::workspace_len(images.len())];
/// let mut logits = vec![[0.0; CLASSES]; images.len()];
/// network.forward(images, &mut logits, &mut workspace, &Serial)?;
/// # Ok(logits)
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct PackedAlexNet<'w> {
    kernels: &'static Kernels,
    linear_weights: LinearWeights,
    convs: [ConvWeights<'w>; CONVS.len()],
    linears: [(Weights<'w>, &'w [f32]); LINEARS.len()],
}

/// Images that conv3 to conv5 take at once, so that one reading of their weights serves all of them.
const CHUNK: usize = 8;

/// The parts of the workspace, in floats.
#[derive(Debug, Clone, Copy)]
struct Parts {
    transformed: usize,
    products: usize,
    even: usize,
    odd: usize,
    pooled: usize,
    features: usize,
}

const fn greater(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

impl Parts {
    /// Each part is as large as its largest tenant, in whole lines.
    const fn new(batch: usize) -> Self {
        let chunk = if batch < CHUNK { batch } else { CHUNK };
        let (mut transformed, mut products) = (0, greater(LINEARS[0].padded(), LINEARS[1].padded()) * batch);
        let (mut even, mut odd) = (CONV1.input_side * CONV1.input_side * CONV1.inputs, LINEARS[1].outputs * batch);
        let mut i = 0;
        while i < CONVS.len() {
            let images = if i < 2 { 1 } else { chunk };
            let (a, b) = scratch_len(&CONVS[i], images);
            transformed = greater(transformed, a);
            products = greater(products, b);
            even = greater(even, images * CONVS[i].output_len());
            odd = greater(odd, images * CONVS[i].output_len());
            i += 1;
        }
        even = greater(even, LINEARS[0].outputs * batch);
        Self {
            transformed: transformed.next_multiple_of(Line::FLOATS),
            products: products.next_multiple_of(Line::FLOATS),
            even: even.next_multiple_of(Line::FLOATS),
            odd: odd.next_multiple_of(Line::FLOATS),
            pooled: chunk * CONV3.input_side * CONV3.input_side * CONV3.inputs,
            features: batch * LINEARS[0].inputs,
        }
    }

    const fn total(&self) -> usize {
        self.transformed + self.products + self.even + self.odd + self.pooled + self.features
    }
}

impl<'w> PackedAlexNet<'w> {
    /// Lines of packed weights.
    #[must_use]
    pub const fn packed_len(weights: LinearWeights) -> usize {
        packed_len(weights)
    }

    /// Lines of workspace that a batch of that many images needs.
    #[must_use]
    pub const fn workspace_len(batch: usize) -> usize {
        Line::count(Parts::new(batch).total() * size_of::<f32>())
    }

    /// Packs a network into `packed`, which must be [`packed_len`](Self::packed_len) lines. The result is the same for every
    /// backend and target, and may be written to a file ([`Line::bytes`]) and used from there ([`Line::from_bytes`]).
    ///
    /// # Errors
    /// [`Length`](PackedError::Length), or [`TooLarge`](PackedError::TooLarge) for half-width weights.
    pub fn pack(network: &AlexNet<'_>, weights: LinearWeights, packed: &mut [Line]) -> Result<(), PackedError> {
        let (expected, found) = (packed_len(weights), packed.len());
        if found != expected {
            return Err(PackedError::Length { expected, found });
        }
        pack::pack(network, weights, packed)
    }

    /// The tensor of a safetensors file that holds packed weights: bytes, beginning at a multiple of 64 of the file.
    pub const TENSOR: &'static str = "alexnet.packed";

    /// The network of a file of packed weights, [`TENSOR`](Self::TENSOR) and no other tensor, which stay where they are: in a
    /// file that is mapped into memory, say. Nothing but the file's header is looked at.
    ///
    /// # Errors
    /// [`File`](PackedError::File), [`Misaligned`](PackedError::Misaligned), and those of
    /// [`from_packed`](Self::from_packed).
    pub fn from_safetensors(file: &'w [u8], backend: Backend) -> Result<Self, PackedError> {
        let name = Self::TENSOR;
        // Room for as many as unpacked weights have, so that those get a better error than that there are too many.
        let file = SafeTensors::<'w, { 2 * alexnet::TENSORS.len() }>::parse(file)?;
        let tensor = file.tensor(name).ok_or(WeightsError::Missing { tensor: name })?;
        if tensor.dtype != Dtype::U8 {
            return Err(WeightsError::Dtype { tensor: name, expected: Dtype::U8, found: tensor.dtype }.into());
        }
        file.only(&[name])?;
        if !tensor.bytes.len().is_multiple_of(Line::SIZE) {
            return Err(PackedError::NotPacked);
        }
        Self::from_packed(Line::from_bytes(tensor.bytes).ok_or(PackedError::Misaligned)?, backend)
    }

    /// The network of packed weights, which stay where they are. Nothing but their header is looked at.
    ///
    /// # Errors
    /// [`NotPacked`](PackedError::NotPacked), [`Version`](PackedError::Version), [`Classes`](PackedError::Classes),
    /// [`Length`](PackedError::Length), or [`Unavailable`](PackedError::Unavailable).
    pub fn from_packed(packed: &'w [Line], backend: Backend) -> Result<Self, PackedError> {
        let linear_weights = read_header(packed)?;
        let (expected, found) = (packed_len(linear_weights), packed.len());
        if found != expected {
            return Err(PackedError::Length { expected, found });
        }
        let kernels = backend.kernels().ok_or(PackedError::Unavailable { backend })?;
        let mut sections = Sections(packed.get(1..).unwrap_or_default());
        let convs = CONVS
            .map(|conv| ConvWeights { weights: sections.take(conv.weights_len()), bias: sections.take(conv.outputs) });
        let linears = LINEARS.map(|linear| {
            let count = linear.padded() * linear.inputs;
            let weights = match linear_weights {
                LinearWeights::F32 => Weights::F32(sections.take(count)),
                LinearWeights::F16 => Weights::F16(sections.take(count)),
            };
            (weights, sections.take(linear.padded()))
        });
        Ok(Self { kernels, linear_weights, convs, linears })
    }

    /// The backend whose kernels are used.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.kernels.backend()
    }

    /// What the linear layers' weights are stored as.
    #[must_use]
    pub fn linear_weights(&self) -> LinearWeights {
        self.linear_weights
    }

    /// The logits of each image. Weights are read once for all of them where that pays: an image costs least in batches of
    /// eight and more. `workspace` may hold anything.
    ///
    /// A NaN or infinity in an image makes that image's logits meaningless, no others.
    ///
    /// # Errors
    /// [`Batch`](PackedError::Batch) or [`Workspace`](PackedError::Workspace).
    pub fn forward(
        &self,
        images: &[Image],
        logits: &mut [[f32; CLASSES]],
        workspace: &mut [Line],
        parallel: &impl Parallel,
    ) -> Result<(), PackedError> {
        self.forward_observed(images, logits, workspace, parallel, &mut |_| ())
    }

    /// The same as [`forward`](Self::forward), and calls `done` whenever a layer is: to measure how long each one takes. The
    /// layers of one image may come several times, when the batch is worked on in parts.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_observed(
        &self,
        images: &[Image],
        logits: &mut [[f32; CLASSES]],
        workspace: &mut [Line],
        parallel: &impl Parallel,
        done: &mut impl FnMut(Layer),
    ) -> Result<(), PackedError> {
        let batch = images.len();
        if logits.len() != batch {
            return Err(PackedError::Batch { images: batch, logits: logits.len() });
        }
        if batch == 0 {
            return Ok(());
        }
        let (expected, found) = (Self::workspace_len(batch), workspace.len());
        if found < expected {
            return Err(PackedError::Workspace { expected, found });
        }
        let parts = Parts::new(batch);
        let mut rest = numbers_mut::<f32>(workspace);
        let mut part = |length| rest.split_off_mut(..length).unwrap_or_default();
        let (transformed, products) = (part(parts.transformed), part(parts.products));
        let (even, odd) = (part(parts.even), part(parts.odd));
        let (pooled, features) = (part(parts.pooled), part(parts.features));

        let engine = Engine { kernels: self.kernels, parallel };
        let [conv1, conv2, conv3, conv4, conv5] = self.convs;
        let mut conv = |layer, weights, images, input: &[f32], output: &mut [f32]| {
            engine.conv(layer, weights, images, input, (transformed, products), output);
        };
        let chunk_features = CHUNK * LAST_SIDE * LAST_SIDE * CONV5.outputs;
        for (images, features) in images.chunks(CHUNK).zip(features.chunks_mut(chunk_features)) {
            let pooled_len = CONV3.input_side * CONV3.input_side * CONV3.inputs;
            for (image, pooled) in images.iter().zip(pooled.chunks_exact_mut(pooled_len)) {
                engine.space_to_depth(image, even);
                conv(&CONV1, conv1, 1, even, odd);
                done(Layer::Conv1);
                engine.max_pool(&CONV1, 1, odd, even);
                done(Layer::Pool1);
                conv(&CONV2, conv2, 1, even, odd);
                done(Layer::Conv2);
                engine.max_pool(&CONV2, 1, odd, pooled);
                done(Layer::Pool2);
            }
            conv(&CONV3, conv3, images.len(), pooled, even);
            done(Layer::Conv3);
            conv(&CONV4, conv4, images.len(), even, odd);
            done(Layer::Conv4);
            conv(&CONV5, conv5, images.len(), odd, even);
            done(Layer::Conv5);
            engine.max_pool(&CONV5, images.len(), even, features);
            done(Layer::Pool5);
        }

        let [(weights1, bias1), (weights2, bias2), (weights3, bias3)] = self.linears;
        let products = &mut products[..];
        engine.linear(weights1, LINEARS[0].inputs, batch, features, products);
        with_bias(products, bias1, batch, |row, block, values| store(even, LINEARS[0].outputs, row, block, values));
        done(Layer::Linear1);
        engine.linear(weights2, LINEARS[1].inputs, batch, even, products);
        with_bias(products, bias2, batch, |row, block, values| store(odd, LINEARS[1].outputs, row, block, values));
        done(Layer::Linear2);
        engine.linear(weights3, LINEARS[2].inputs, batch, odd, products);
        with_bias(products, bias3, batch, |row, block, values| {
            // What fills the last block up belongs to no class.
            let logits = logits.get_mut(row).and_then(|logits| logits.get_mut(block * BLOCK..)).unwrap_or_default();
            logits.iter_mut().zip(values).for_each(|(logit, value)| *logit = value);
        });
        done(Layer::Linear3);
        Ok(())
    }
}

/// Stores a block of a row of `[rows][outputs]` after ReLU.
fn store(output: &mut [f32], outputs: usize, row: usize, block: usize, values: [f32; BLOCK]) {
    let start = row * outputs + block * BLOCK;
    if let Some(output) = output.get_mut(start..start + BLOCK) {
        output.copy_from_slice(&values.map(|value| if value < 0.0 { 0.0 } else { value }));
    }
}
