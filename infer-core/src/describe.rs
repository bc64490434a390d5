//! Description of a network as a table: its layers in order, each with its sizes and costs. The [`network!`](crate::network)
//! macro makes the table of a network's list, and everything else follows from it.

use crate::layers::output_size;

/// The most layers of a network.
pub const MAX_LAYERS: usize = 32;

/// Numbers of classes that a network may tell apart.
pub const CLASSES: core::ops::RangeInclusive<usize> = 2..=10_000;

/// Sizes of what flows between layers: feature maps of `channels`×`side`×`side`, or a vector of `channels` values, whose
/// side is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Maps {
    /// Channels, or values of a vector.
    pub channels: usize,
    /// Height and width.
    pub side: usize,
}

impl Maps {
    /// Values in all.
    #[must_use]
    pub const fn values(self) -> usize {
        self.channels * self.side * self.side
    }
}

/// Kind of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`Conv2d`](crate::layers::Conv2d), then ReLU.
    Conv {
        /// Height and width of the filters.
        kernel: usize,
        /// Step from one position to the next.
        stride: usize,
        /// Rows and columns of zeros around the input.
        padding: usize,
        /// Parts into which the channels of input and output are cut; the outputs of one see the inputs of the same one alone.
        groups: usize,
    },
    /// [`LocalResponseNorm`](crate::layers::LocalResponseNorm).
    LocalResponseNorm,
    /// [`MaxPool2d`](crate::layers::MaxPool2d).
    MaxPool {
        /// Height and width of the window.
        kernel: usize,
        /// Step from one position to the next.
        stride: usize,
        /// Whether half of the outputs are dropped in training.
        dropout: bool,
    },
    /// [`Linear`](crate::layers::Linear).
    Linear {
        /// Whether ReLU follows. None follows the last layer, which tells the classes apart, and the first factor of a
        /// weight of low rank, which is a product of two matrices.
        relu: bool,
        /// Whether half of the outputs are dropped in training.
        dropout: bool,
    },
}

/// A layer and its sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// Its name, as `conv1`.
    pub name: &'static str,
    /// Names of its weight and bias in weights files; none where it has no weights.
    pub tensors: Option<[&'static str; 2]>,
    /// Kind of the layer.
    pub kind: Kind,
    /// Sizes of its input.
    pub input: Maps,
    /// Sizes of its output.
    pub output: Maps,
}

impl Layer {
    /// Height and width of the filters or windows; 1 for a linear layer, which is a convolution of a single position, and for
    /// local response normalisation.
    #[must_use]
    pub const fn kernel(&self) -> usize {
        match self.kind {
            Kind::Conv { kernel, .. } | Kind::MaxPool { kernel, .. } => kernel,
            Kind::LocalResponseNorm | Kind::Linear { .. } => 1,
        }
    }

    /// Step from one position to the next.
    #[must_use]
    pub const fn stride(&self) -> usize {
        match self.kind {
            Kind::Conv { stride, .. } | Kind::MaxPool { stride, .. } => stride,
            Kind::LocalResponseNorm | Kind::Linear { .. } => 1,
        }
    }

    /// Rows and columns of zeros around the input.
    #[must_use]
    pub const fn padding(&self) -> usize {
        match self.kind {
            Kind::Conv { padding, .. } => padding,
            Kind::LocalResponseNorm | Kind::MaxPool { .. } | Kind::Linear { .. } => 0,
        }
    }

    /// Groups of channels of a convolution; 1 for any other layer.
    #[must_use]
    pub const fn groups(&self) -> usize {
        match self.kind {
            Kind::Conv { groups, .. } => groups,
            Kind::LocalResponseNorm | Kind::MaxPool { .. } | Kind::Linear { .. } => 1,
        }
    }

    /// Channels of the input that an output channel of a convolution sees: those of its group.
    #[must_use]
    pub const fn group_channels(&self) -> usize {
        match self.input.channels.checked_div(self.groups()) {
            Some(channels) => channels,
            None => 0,
        }
    }

    /// Whether ReLU follows.
    #[must_use]
    pub const fn relu(&self) -> bool {
        match self.kind {
            Kind::Conv { .. } => true,
            Kind::LocalResponseNorm | Kind::MaxPool { .. } => false,
            Kind::Linear { relu, .. } => relu,
        }
    }

    /// Whether half of the outputs are dropped in training.
    #[must_use]
    pub const fn dropout(&self) -> bool {
        match self.kind {
            Kind::Conv { .. } | Kind::LocalResponseNorm => false,
            Kind::MaxPool { dropout, .. } | Kind::Linear { dropout, .. } => dropout,
        }
    }

    /// Products of weights that one output value sums; none for a layer without weights.
    #[must_use]
    pub const fn fan_in(&self) -> usize {
        match self.kind {
            Kind::Conv { kernel, .. } => self.group_channels() * kernel * kernel,
            Kind::LocalResponseNorm | Kind::MaxPool { .. } => 0,
            Kind::Linear { .. } => self.input.values(),
        }
    }

    /// Sizes of the weight, outputs first, as PyTorch's; of a linear layer only the first two count.
    #[must_use]
    pub const fn weight_sizes(&self) -> [usize; 4] {
        match self.kind {
            Kind::Linear { .. } => [self.output.channels, self.input.values(), 1, 1],
            Kind::Conv { kernel, .. } => [self.output.channels, self.group_channels(), kernel, kernel],
            Kind::LocalResponseNorm | Kind::MaxPool { .. } => [0; 4],
        }
    }

    /// Dimensions of the weight.
    #[must_use]
    pub const fn weight_rank(&self) -> usize {
        match self.kind {
            Kind::Conv { .. } => 4,
            Kind::Linear { .. } => 2,
            Kind::LocalResponseNorm | Kind::MaxPool { .. } => 0,
        }
    }

    /// Trainable values: the weight's and the bias's.
    #[must_use]
    pub const fn parameters(&self) -> usize {
        match self.tensors {
            Some(_) => self.output.channels * (self.fan_in() + 1),
            None => 0,
        }
    }

    /// Multiply-adds of the layer's formula for one image; a layer without weights has none.
    #[must_use]
    pub const fn multiply_adds(&self) -> usize {
        self.output.values() * self.fan_in()
    }
}

/// A network: its name, and its layers in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// Its name in weights files (the metadata `architecture`) and on command lines, as `alexnet`.
    pub name: &'static str,
    /// Its name in texts, as `AlexNet`.
    pub title: &'static str,
    /// The tensor of a safetensors file that holds its packed weights, as `alexnet.packed`.
    pub packed_tensor: &'static str,
    /// The tensor of a safetensors file that holds its int8 weights, as `alexnet.int8`.
    pub int8_tensor: &'static str,
    /// The tensors of its weights file.
    pub tensors: &'static [&'static str],
    /// Its layers, the last one for the default number of classes.
    pub layers: &'static [Layer],
}

impl Description {
    /// Sizes of an image.
    #[must_use]
    pub const fn input(&self) -> Maps {
        match self.layers {
            [first, ..] => first.input,
            [] => Maps { channels: 0, side: 0 },
        }
    }

    /// The number of classes where none is named.
    #[must_use]
    pub const fn classes(&self) -> usize {
        match self.layers {
            [.., last] => last.output.channels,
            [] => 0,
        }
    }

    /// Whether half of what the linear layers begin with is dropped in training.
    #[must_use]
    pub fn drops_features(&self) -> bool {
        self.layers.iter().any(|layer| matches!(layer.kind, Kind::MaxPool { dropout: true, .. }))
    }

    /// The layers of the network that tells so many classes apart.
    pub fn layers(&self, classes: usize) -> impl Iterator<Item = Layer> + use<> {
        let layers = self.layers;
        layers.iter().enumerate().map(move |(i, layer)| {
            let mut layer = *layer;
            if i + 1 == layers.len() {
                layer.output.channels = classes;
            }
            layer
        })
    }

    /// Trainable values.
    #[must_use]
    pub fn parameters(&self, classes: usize) -> usize {
        self.layers(classes).map(|layer| layer.parameters()).sum()
    }

    /// Multiply-adds of a forward pass of one image.
    #[must_use]
    pub fn multiply_adds(&self, classes: usize) -> usize {
        self.layers(classes).map(|layer| layer.multiply_adds()).sum()
    }
}

/// Finds the network that a weights file is for: the one that its metadata `architecture` name, or, where they name none, the one
/// whose packed or int8 weights it holds, or else the one of which the file has the most tensors, of equals the one of which it
/// lacks the fewest, and of those, which differ in sizes alone, the one of which the most tensors are as long as the file's. `length` is the number of values of a tensor of the file.
///
/// `None` where no network has that name, or the file has no tensor of any.
pub fn network_of<'n>(
    networks: impl IntoIterator<Item = &'n Description> + Clone,
    architecture: Option<&str>,
    length: impl Fn(&str) -> Option<usize>,
) -> Option<&'n Description> {
    if let Some(name) = architecture {
        return networks.into_iter().find(|network| network.name == name);
    }
    let whole = |network: &&Description| {
        [network.packed_tensor, network.int8_tensor].into_iter().any(|tensor| length(tensor).is_some())
    };
    if let Some(network) = networks.clone().into_iter().find(whole) {
        return Some(network);
    }
    let ranked = networks.into_iter().map(|network| {
        let present = network.tensors.iter().filter(|name| length(name).is_some()).count();
        let fits = |layer: &&Layer| {
            layer.tensors.is_some_and(|[weight, _]| length(weight) == Some(layer.output.channels * layer.fan_in()))
        };
        let fitting = network.layers.iter().filter(fits).count();
        ((present, core::cmp::Reverse(network.tensors.len()), fitting), network)
    });
    let best = ranked.max_by_key(|(rank, _)| *rank);
    best.filter(|((present, ..), _)| *present > 0).map(|(_, network)| network)
}

/// One line of a network's list, before its sizes are known.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Line {
    pub name: &'static str,
    pub tensors: Option<[&'static str; 2]>,
    /// Channels of the output; none of a layer without weights, which keeps those of its input.
    pub outputs: Option<usize>,
    pub kind: Kind,
    /// Message of the compiler where the layer does not fit behind those before it.
    pub misfit: &'static str,
}

/// The layers of a list, each with the sizes that follow from those before it. Does not compile where one does not fit.
#[doc(hidden)]
#[must_use]
pub const fn chain<const N: usize>(input: Maps, lines: [Line; N]) -> [Layer; N] {
    assert!(0 < N && N <= MAX_LAYERS, "a network has 1 to 32 layers");
    let nothing =
        Layer { name: "", tensors: None, kind: Kind::Linear { relu: false, dropout: false }, input, output: input };
    let mut layers = [nothing; N];
    let mut maps = input;
    let mut flat = false;
    // Whether no value can be negative.
    let mut rectified = false;
    let mut dropped = false;
    let mut i = 0;
    while i < N {
        let Line { name, tensors, outputs, kind, misfit } = lines[i];
        let channels = match outputs {
            Some(outputs) => outputs,
            None => maps.channels,
        };
        let side = match kind {
            // No window fits into a vector.
            Kind::Conv { .. } | Kind::LocalResponseNorm | Kind::MaxPool { .. } if flat => 0,
            Kind::Conv { groups, .. } if !divides(groups, maps.channels) || !divides(groups, channels) => 0,
            Kind::Conv { kernel, stride, padding, .. } => output_size(maps.side, kernel, stride, padding),
            Kind::LocalResponseNorm => maps.side * rectified as usize,
            Kind::MaxPool { kernel, stride, .. } => output_size(maps.side, kernel, stride, 0),
            Kind::Linear { .. } => 1,
        };
        flat = matches!(kind, Kind::Linear { .. });
        assert!(flat || !dropped, "a max pool with dropout stands before a linear layer");
        dropped = matches!(kind, Kind::MaxPool { dropout: true, .. });
        rectified = rectified || matches!(kind, Kind::Conv { .. });
        let output = Maps { channels, side };
        if output.values() == 0 {
            panic!("{}", misfit);
        }
        layers[i] = Layer { name, tensors, kind, input: maps, output };
        maps = output;
        i += 1;
    }
    layers
}

/// Whether so many groups divide so many channels.
const fn divides(groups: usize, channels: usize) -> bool {
    groups > 0 && channels.is_multiple_of(groups)
}

/// Rows and columns that must be computed of a layer's output: of one before a pool, those that the pool looks at.
pub(crate) const fn computed_side(layers: &[Layer], i: usize) -> usize {
    let mut next = i + 1;
    while next < layers.len() {
        match layers[next].kind {
            Kind::MaxPool { kernel, stride, .. } => return (layers[next].output.side - 1) * stride + kernel,
            // It looks at one position at a time.
            Kind::LocalResponseNorm => next += 1,
            Kind::Conv { .. } | Kind::Linear { .. } => break,
        }
    }
    layers[i].output.side
}

/// Floats of the memory that every second layer writes its output into, the first one's where `odd` is 0. The last
/// layer's output goes elsewhere.
#[doc(hidden)]
#[must_use]
pub const fn scratch(layers: &[Layer], odd: usize) -> usize {
    let mut largest = 0;
    let mut i = odd;
    while i + 1 < layers.len() {
        if layers[i].output.values() > largest {
            largest = layers[i].output.values();
        }
        i += 2;
    }
    largest
}
