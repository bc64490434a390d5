//! The `network!` macro: from a network's list of layers to its type, its loader, its forward pass and its tables.

/// Makes a network of the list of its layers: in the module where it stands, it defines
///
/// - the network's struct, a field for each layer with weights, `from_safetensors`, `forward` and `weights`,
/// - `Image` and `SIDE`, what the network takes; `CLASSES`, how many classes it tells apart where no other number is named;
///   `TENSORS`, the tensors of its weights file,
/// - `Workspace`, the memory of a forward pass,
/// - `LAYERS` and `DESCRIPTION`, the [tables](crate::describe) of its layers,
/// - `PLAN`, how [`packed`](crate::packed) runs it, and `INT8_PLAN`, `INT8_WINOGRAD_PLAN`, `INT4_PLAN` and
///   `INT4_WINOGRAD_PLAN`, how [`int8`](crate::int8) does.
///
/// The list is the network, read from top to bottom: sizes of outputs follow from those of inputs, so that they stand
/// nowhere. ReLU follows each convolution and each linear layer but the last, and those that say `no relu`.
///
/// ```
/// mod small {
///     infer_core::network! {
///         /// A small network for pictures in colour of 32×32.
///         Small "small": 3 x 32;
///         conv1: conv 16, kernel 5, stride 2, padding 2;
///         pool1: max_pool kernel 2, stride 2;
///         conv2: conv 32, kernel 3, padding 1;
///         linear1a: linear 16, no relu;
///         linear1b: linear 64, dropout;
///         linear2: linear 4 classes;
///     }
/// }
/// assert_eq!(small::LAYERS[2].output.values(), 32 * 8 * 8);
/// assert_eq!(small::DESCRIPTION.parameters(4), 16 * 76 + 32 * 145 + 16 * 2049 + 64 * 17 + 4 * 65);
/// ```
///
/// Between the sizes, `stride` is 1, `padding` is 0 and `groups` is 1 where they are not named; `dropout` says that half of the
/// outputs of a linear layer, or of the last pool, are dropped in training, and nothing for a forward pass. `local_response_norm`
/// stands behind a convolution. `no relu` is for the first of two linear layers that are
/// factors of one: 16 vectors of 2048 values and 64 of 16 are fewer weights than 64 of 2048. It has
/// at most 1,032 outputs, so that sums in 8-bit integers cannot overflow.
///
/// The tensors of a layer in weights files begin with its name, `conv1.weight` say, or with another one that stands behind it:
///
/// ```
/// mod streams {
///     infer_core::network! {
///         /// A network of two streams.
///         Streams "streams": 3 x 12;
///         conv1 "features.0": conv 8, kernel 3;
///         norm1: local_response_norm;
///         pool1: max_pool kernel 2, stride 2;
///         conv2 "features.3": conv 8, kernel 3, groups 2;
///         linear1 "classifier": linear 10 classes;
///     }
/// }
/// assert_eq!(streams::TENSORS[..3], ["features.0.weight", "features.0.bias", "features.3.weight"]);
/// assert_eq!(streams::LAYERS[3].weight_sizes(), [8, 4, 3, 3]);
/// ```
/// ```compile_fail
/// mod streams {
///     infer_core::network! {
///         /// 3 groups do not divide the 8 channels of `conv2`.
///         Streams "streams": 3 x 12;
///         conv1 "features.0": conv 8, kernel 3;
///         norm1: local_response_norm;
///         pool1: max_pool kernel 2, stride 2;
///         conv2 "features.3": conv 8, kernel 3, groups 3;
///         linear1 "classifier": linear 10 classes;
///     }
/// }
/// # let _ = streams::LAYERS;
/// ```
///
/// A layer that does not fit behind those before it does not compile, and the message names it:
/// ```compile_fail
/// mod small {
///     infer_core::network! {
///         /// `conv2` has no room: its input is 3×3.
///         Small "small": 1 x 12;
///         conv1: conv 8, kernel 5, stride 3;
///         conv2: conv 8, kernel 5;
///         linear1: linear 10 classes;
///     }
/// }
/// # let _ = small::LAYERS;
/// ```
///
/// A list that more than one macro reads, as that of the trainer's [networks](crate::alexnet!), is the body of a macro that
/// hands it on.
#[macro_export]
macro_rules! network {
    // Where it begins: outputs lie in `even` and `odd` by turns.
    ($(#[$doc:meta])* $name:ident $id:literal: $channels:literal x $side:literal; $($list:tt)*) => {
        $crate::network! { @maps [$(#[$doc])* $name $id $channels $side] [network x even odd] [even odd] [0] {} {} {} {} $($list)* }
    };

    // A convolution.
    (@maps $head:tt [$network:ident $x:ident $even:ident $odd:ident] [$here:ident $there:ident] [$i:expr] {$($lines:tt)*} {$($fields:tt)*}
        {$($tensors:tt)*} {$($steps:tt)*}
        $layer:ident $($prefix:literal)?: conv $outputs:tt, kernel $kernel:tt $(, stride $stride:tt)? $(, padding $padding:tt)?
        $(, groups $groups:tt)?; $($rest:tt)*
    ) => {
        $crate::network! { @maps $head [$network $x $even $odd] [$there $here] [$i + 1]
            { $($lines)* $crate::describe::Line {
                name: stringify!($layer),
                tensors: Some([$crate::network!(@weight $layer $($prefix)?), $crate::network!(@bias $layer $($prefix)?)]),
                outputs: Some($outputs),
                kind: $crate::describe::Kind::Conv {
                    kernel: $kernel,
                    stride: [$($stride,)? 1][0],
                    padding: [$($padding,)? 0][0],
                    groups: [$($groups,)? 1][0],
                },
                misfit: concat!(
                    "layer ", stringify!($layer), " does not fit: its filters are larger than its padded input",
                    $(", or ", $groups, " groups do not divide its channels",)?
                ),
            }, }
            { $($fields)*
                #[doc = concat!("Convolution, ", $outputs, " filters of ", $kernel, "×", $kernel
                    $(, ", stride ", $stride)? $(, ", padding ", $padding)? $(, ", ", $groups, " groups")?, "; ReLU.")]
                $layer [$($prefix)?]: $crate::layers::Conv2d<'w, { LAYERS[$i].input.channels }, { LAYERS[$i].output.channels },
                    { LAYERS[$i].kernel() }, { LAYERS[$i].stride() }, { LAYERS[$i].padding() }, { LAYERS[$i].input.side },
                    { LAYERS[$i].output.side }, { LAYERS[$i].group_channels() }>, }
            { $($tensors)* $crate::network!(@weight $layer $($prefix)?), $crate::network!(@bias $layer $($prefix)?), }
            { $($steps)* let $x = $crate::layers::relu($network.$layer.forward($x, $here.tensor())); }
            $($rest)* }
    };

    // Local response normalisation.
    (@maps $head:tt [$network:ident $x:ident $even:ident $odd:ident] [$here:ident $there:ident] [$i:expr] {$($lines:tt)*} $fields:tt $tensors:tt
        {$($steps:tt)*} $layer:ident: local_response_norm; $($rest:tt)*
    ) => {
        $crate::network! { @maps $head [$network $x $even $odd] [$there $here] [$i + 1]
            { $($lines)* $crate::describe::Line {
                name: stringify!($layer),
                tensors: None,
                outputs: None,
                kind: $crate::describe::Kind::LocalResponseNorm,
                misfit: concat!("layer ", stringify!($layer), " does not fit: no convolution stands before it"),
            }, }
            $fields $tensors
            { $($steps)* let $x = $crate::layers::LocalResponseNorm.forward($x, $here.tensor()); }
            $($rest)* }
    };

    // A max pool.
    (@maps $head:tt [$network:ident $x:ident $even:ident $odd:ident] [$here:ident $there:ident] [$i:expr] {$($lines:tt)*} $fields:tt $tensors:tt
        {$($steps:tt)*} $layer:ident: max_pool kernel $kernel:tt, stride $stride:tt $(, $dropout:ident)?; $($rest:tt)*
    ) => {
        $crate::network! { @maps $head [$network $x $even $odd] [$there $here] [$i + 1]
            { $($lines)* $crate::describe::Line {
                name: stringify!($layer),
                tensors: None,
                outputs: None,
                kind: $crate::describe::Kind::MaxPool {
                    kernel: $kernel,
                    stride: $stride,
                    dropout: $crate::network!(@dropout $($dropout)?),
                },
                misfit: concat!("layer ", stringify!($layer), " does not fit: its windows are larger than its input"),
            }, }
            $fields $tensors
            { $($steps)* let $x = $crate::layers::MaxPool2d::<{ $kernel }, { $stride }, { LAYERS[$i].input.side },
                { LAYERS[$i].output.side }>.forward($x, $here.tensor()); }
            $($rest)* }
    };

    // The first linear layer: behind maps, their values in a row.
    (@maps $head:tt [$network:ident $x:ident $even:ident $odd:ident] $buffers:tt [$i:expr] $lines:tt $fields:tt $tensors:tt {$($steps:tt)*}
        $layer:ident $($prefix:literal)?: linear $($rest:tt)*
    ) => {
        $crate::network! { @vector $head [$network $x $even $odd] $buffers [$i] $lines $fields $tensors
            { $($steps)* let $x: &[f32; LAYERS[$i].input.values()] = $crate::tensor::flatten($x); }
            $layer $($prefix)?: linear $($rest)* }
    };

    // The last linear layer.
    (@vector [$(#[$doc:meta])* $name:ident $id:literal $channels:literal $side:literal] [$network:ident $x:ident $even:ident $odd:ident]
        [$here:ident $there:ident] [$i:expr] {$($lines:tt)*} {$($(#[$about:meta])* $field:ident [$($named:literal)?]: $type:ty,)*}
        {$($tensors:tt)*} {$($steps:tt)*} $layer:ident $($prefix:literal)?: linear $classes:tt classes;
    ) => {
        /// An image, in channel, row, column order.
        pub type Image = $crate::tensor::Tensor<{ $channels }, { SIDE }, { SIDE }>;

        /// Height and width of an image.
        #[allow(dead_code, reason = "not every program uses all that is derived")]
        pub const SIDE: usize = $side;

        /// Number of classes where no other is named.
        #[allow(dead_code, reason = "not every program uses all that is derived")]
        pub const CLASSES: usize = $classes;

        /// The tensors of a weights file.
        #[allow(dead_code, reason = "not every program uses all that is derived")]
        pub const TENSORS: &[&str] =
            &[$($tensors)* $crate::network!(@weight $layer $($prefix)?), $crate::network!(@bias $layer $($prefix)?)];

        /// The layers, in order.
        pub const LAYERS: &[$crate::describe::Layer] = &$crate::describe::chain(
            $crate::describe::Maps { channels: $channels, side: $side },
            [$($lines)* $crate::network!(@line [$layer $($prefix)?], CLASSES, false, false)],
        );

        /// The network as a table.
        #[allow(dead_code, reason = "not every program uses all that is derived")]
        pub static DESCRIPTION: $crate::describe::Description = $crate::describe::Description {
            name: $id,
            title: stringify!($name),
            packed_tensor: concat!($id, ".packed"),
            int8_tensor: concat!($id, ".int8"),
            tensors: TENSORS,
            layers: LAYERS,
        };

        /// Plan of the packed network.
        #[allow(dead_code, reason = "not every program uses all that is derived")]
        pub static PLAN: $crate::packed::Plan = $crate::packed::Plan::new(&DESCRIPTION);

        /// Plan of the network in 8-bit integers.
        #[allow(dead_code, reason = "not every program uses all that is derived")]
        pub static INT8_PLAN: $crate::int8::Plan = $crate::int8::Plan::new(&DESCRIPTION);

        /// Plan of the network in 8-bit integers, with convolutions by Winograd's method where they have a size for it.
        #[allow(dead_code, reason = "not every program uses all that is derived")]
        pub static INT8_WINOGRAD_PLAN: $crate::int8::Plan = $crate::int8::Plan::winograd(&DESCRIPTION);

        /// Plan of the network in 8-bit integers, with weights of 4 bits in linear layers.
        #[allow(dead_code, reason = "not every program uses all that is derived")]
        pub static INT4_PLAN: $crate::int8::Plan = $crate::int8::Plan::new(&DESCRIPTION).int4();

        /// The same, with convolutions by Winograd's method where they have a size for it.
        #[allow(dead_code, reason = "not every program uses all that is derived")]
        pub static INT4_WINOGRAD_PLAN: $crate::int8::Plan = $crate::int8::Plan::winograd(&DESCRIPTION).int4();

        $(#[$doc])*
        ///
        /// Its weights are borrowed: from a weights file in memory, from flash, from arrays.
        #[derive(Debug, Clone, Copy)]
        pub struct $name<'w, const CLASSES: usize = { self::CLASSES }> {
            $($(#[$about])* pub $field: $type,)*
            /// Linear layer, an output a class.
            pub $layer: $crate::layers::Linear<'w, { LAYERS[$i].input.values() }, CLASSES>,
        }

        /// The memory of a forward pass.
        pub type Workspace = $crate::tensor::Workspace<
            { $crate::describe::scratch(LAYERS, 0) },
            { $crate::describe::scratch(LAYERS, 1) },
        >;

        #[allow(dead_code, reason = "not every program uses all that is derived")]
        impl<'w, const CLASSES: usize> $name<'w, CLASSES> {
            /// The network with the weights of a safetensors file, which stay where they are.
            ///
            /// # Errors
            /// The file is not valid, lacks one of [`TENSORS`] or has others, or one has another type, shape or alignment,
            /// or a value that is not finite.
            pub fn from_safetensors(file: &'w [u8]) -> Result<Self, $crate::safetensors::WeightsError> {
                Self::of($crate::safetensors::SafeTensors::parse(file)?)
            }

            /// Like [`from_safetensors`](Self::from_safetensors), for weights that were looked through before, when they were
            /// written into flash say: their values are not read, and one that is not finite makes logits meaningless. All
            /// else is checked.
            ///
            /// # Errors
            /// As [`from_safetensors`](Self::from_safetensors), but for values that are not finite.
            pub fn from_safetensors_unscanned(file: &'w [u8]) -> Result<Self, $crate::safetensors::WeightsError> {
                Self::of($crate::safetensors::SafeTensors::parse(file)?.unscanned())
            }

            // Room for a few more tensors than there should be, so that the error can name one.
            fn of(
                file: $crate::safetensors::SafeTensors<'w, { 2 * TENSORS.len() }>,
            ) -> Result<Self, $crate::safetensors::WeightsError> {
                let network = Self {
                    $($field: <$type>::from_safetensors(
                        &file,
                        $crate::network!(@weight $field $($named)?),
                        $crate::network!(@bias $field $($named)?),
                    )?,)*
                    $layer: $crate::layers::Linear::from_safetensors(
                        &file,
                        $crate::network!(@weight $layer $($prefix)?),
                        $crate::network!(@bias $layer $($prefix)?),
                    )?,
                };
                file.only(TENSORS)?;
                Ok(network)
            }

            /// The logits of an image, one a class.
            #[must_use]
            pub fn forward(&self, image: &Image, workspace: &mut Workspace) -> [f32; CLASSES] {
                let ($network, $x) = (self, image);
                #[allow(unused_variables, reason = "of two layers, only one needs memory")]
                let $crate::tensor::Workspace { even: $even, odd: $odd } = workspace;
                $($steps)*
                let mut logits = [0.0; CLASSES];
                $network.$layer.forward($x, &mut logits);
                logits
            }

            /// The weights of all layers, in order.
            #[must_use]
            pub fn weights(&self) -> $crate::weights::Weights<'w> {
                $crate::weights::Weights::new(&DESCRIPTION, CLASSES, &[
                    $((
                        $crate::tensor::FloatArray::values(self.$field.weight),
                        $crate::tensor::FloatArray::values(self.$field.bias),
                    ),)*
                    (
                        $crate::tensor::FloatArray::values(self.$layer.weight),
                        $crate::tensor::FloatArray::values(self.$layer.bias),
                    ),
                ])
            }
        }
    };

    // A linear layer without ReLU.
    (@vector $head:tt [$network:ident $x:ident $even:ident $odd:ident] [$here:ident $there:ident] [$i:expr] {$($lines:tt)*} {$($fields:tt)*}
        {$($tensors:tt)*} {$($steps:tt)*} $layer:ident $($prefix:literal)?: linear $outputs:tt, no relu; $($rest:tt)*
    ) => {
        $crate::network! { @vector $head [$network $x $even $odd] [$there $here] [$i + 1]
            { $($lines)* $crate::network!(@line [$layer $($prefix)?], $outputs, false, false), }
            { $($fields)*
                #[doc = concat!("Linear layer, ", $outputs, " outputs, without ReLU.")]
                $layer [$($prefix)?]: $crate::layers::Linear<'w, { LAYERS[$i].input.values() }, { LAYERS[$i].output.channels }>, }
            { $($tensors)* $crate::network!(@weight $layer $($prefix)?), $crate::network!(@bias $layer $($prefix)?), }
            { $($steps)* let $x = &*$network.$layer.forward($x, $here.vector()); }
            $($rest)* }
    };

    // Another linear layer.
    (@vector $head:tt [$network:ident $x:ident $even:ident $odd:ident] [$here:ident $there:ident] [$i:expr] {$($lines:tt)*} {$($fields:tt)*}
        {$($tensors:tt)*} {$($steps:tt)*} $layer:ident $($prefix:literal)?: linear $outputs:tt $(, $dropout:ident)?; $($rest:tt)*
    ) => {
        $crate::network! { @vector $head [$network $x $even $odd] [$there $here] [$i + 1]
            { $($lines)* $crate::network!(@line [$layer $($prefix)?], $outputs, true, $crate::network!(@dropout $($dropout)?)), }
            { $($fields)*
                #[doc = concat!("Linear layer, ", $outputs, " outputs; ReLU.")]
                $layer [$($prefix)?]: $crate::layers::Linear<'w, { LAYERS[$i].input.values() }, { LAYERS[$i].output.channels }>, }
            { $($tensors)* $crate::network!(@weight $layer $($prefix)?), $crate::network!(@bias $layer $($prefix)?), }
            { $($steps)* let $x = $crate::layers::relu($network.$layer.forward($x, $here.vector())); }
            $($rest)* }
    };

    // The line of a linear layer.
    (@line [$layer:ident $($prefix:literal)?], $outputs:tt, $relu:expr, $dropout:expr) => {
        $crate::describe::Line {
            name: stringify!($layer),
            tensors: Some([$crate::network!(@weight $layer $($prefix)?), $crate::network!(@bias $layer $($prefix)?)]),
            outputs: Some($outputs),
            kind: $crate::describe::Kind::Linear { relu: $relu, dropout: $dropout },
            misfit: concat!("layer ", stringify!($layer), " does not fit: it has no outputs"),
        }
    };

    // Names of a layer's tensors, which begin with its own name or with that of the list.
    (@weight $layer:ident) => { concat!(stringify!($layer), ".weight") };
    (@weight $layer:ident $prefix:literal) => { concat!($prefix, ".weight") };
    (@bias $layer:ident) => { concat!(stringify!($layer), ".bias") };
    (@bias $layer:ident $prefix:literal) => { concat!($prefix, ".bias") };

    (@dropout) => { false };
    (@dropout dropout) => { true };
}
