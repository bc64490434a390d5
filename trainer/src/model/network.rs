//! The `network!` macro: from a network's list of layers to its dfdx module.

/// Makes a network that can be trained of the list of its layers, which is the same as that of [`infer_core::network!`]: in the
/// module where it stands, it defines the network's struct, a dfdx module with a field for each layer with weights, and
/// what makes it a [`Network`](crate::model::Network).
///
/// The sizes of the layers come from the tables that infer-core made of the list, `LAYERS` and `DESCRIPTION`: they must be in
/// scope. A list that both macros read is the body of a macro that hands it on:
///
/// ```
/// macro_rules! small {
///     ($then:path) => {
///         $then! {
///             /// A small network for gray pictures of 16×16.
///             Small "small": 1 x 16;
///             conv1: conv 4, kernel 3, padding 1;
///             pool1: max_pool kernel 2, stride 2;
///             linear1: linear 32, dropout;
///             linear2: linear 10 classes;
///         }
///     };
/// }
/// mod inference {
///     small!(infer_core::network);
/// }
/// mod training {
///     use super::inference::{DESCRIPTION, LAYERS};
///     small!(trainer::network);
/// }
///
/// # fn main() -> Result<(), trainer::model::ModelError> {
/// use dfdx::tensor::Cpu;
/// use trainer::model::{Initialisation, Network, Summary};
///
/// let network = training::Small::<Cpu>::init(&Cpu::default(), 37, Initialisation::He, 0)?;
/// let logits = network.logits(vec![0.5; 2 * 16 * 16], 2)?;
/// assert_eq!(logits.as_vec().len(), 2 * 37);
/// assert_eq!(Summary::of(&inference::DESCRIPTION, 37).parameters(), 4 * 10 + 32 * 257 + 37 * 33);
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! network {
    // Where it begins. Each layer's step of the forward pass goes by the names `network`, `x`, `key` and `frozen`.
    ($(#[$doc:meta])* $name:ident $id:literal: $channels:literal x $side:literal; $($list:tt)*) => {
        $crate::network! { @maps [$(#[$doc])* $name] [network x key frozen] [0] [0] {} {} $($list)* }
    };

    // A convolution and the max pool behind it.
    (@maps $head:tt [$network:ident $x:ident $key:ident $frozen:ident] [$i:expr] $dropouts:tt {$($fields:tt)*} {$($steps:tt)*}
        $layer:ident $($prefix:literal)?: conv $outputs:tt, kernel $kernel:tt $(, stride $stride:tt)? $(, padding $padding:tt)?
        $(, groups $groups:tt)?; $pool:ident: max_pool kernel $window:tt, stride $step:tt $(, $dropout:ident)?; $($rest:tt)*
    ) => {
        $crate::network! { @maps $head [$network $x $key $frozen] [$i + 1 + 1] $dropouts
            { $($fields)* $layer [$($prefix)?]: $crate::nn::Conv2d<
                { LAYERS[$i].input.channels }, { LAYERS[$i].output.channels }, { LAYERS[$i].kernel() }, { LAYERS[$i].stride() },
                { LAYERS[$i].padding() }, { LAYERS[$i].input.side }, { LAYERS[$i].output.side }, D, E,
                { LAYERS[$i].group_channels() },
            >, }
            { $($steps)* let $x = $x.conv_pool(&$network.$layer, <$crate::network!(@pool $i + 1)>::default())?; }
            $($rest)* }
    };

    // A convolution.
    (@maps $head:tt [$network:ident $x:ident $key:ident $frozen:ident] [$i:expr] $dropouts:tt {$($fields:tt)*} {$($steps:tt)*}
        $layer:ident $($prefix:literal)?: conv $outputs:tt, kernel $kernel:tt $(, stride $stride:tt)? $(, padding $padding:tt)?
        $(, groups $groups:tt)?; $($rest:tt)*
    ) => {
        $crate::network! { @maps $head [$network $x $key $frozen] [$i + 1] $dropouts
            { $($fields)* $layer [$($prefix)?]: $crate::nn::Conv2d<
                { LAYERS[$i].input.channels }, { LAYERS[$i].output.channels }, { LAYERS[$i].kernel() }, { LAYERS[$i].stride() },
                { LAYERS[$i].padding() }, { LAYERS[$i].input.side }, { LAYERS[$i].output.side }, D, E,
                { LAYERS[$i].group_channels() },
            >, }
            { $($steps)* let $x = $x.conv(&$network.$layer)?; }
            $($rest)* }
    };

    // Local response normalisation.
    (@maps $head:tt [$network:ident $x:ident $key:ident $frozen:ident] [$i:expr] $dropouts:tt $fields:tt {$($steps:tt)*}
        $layer:ident: local_response_norm; $($rest:tt)*
    ) => {
        $crate::network! { @maps $head [$network $x $key $frozen] [$i + 1] $dropouts $fields
            { $($steps)* let $x = $x.local_response_norm()?; }
            $($rest)* }
    };

    // A max pool that no convolution stands before.
    (@maps $head:tt [$network:ident $x:ident $key:ident $frozen:ident] [$i:expr] $dropouts:tt $fields:tt {$($steps:tt)*}
        $layer:ident: max_pool kernel $kernel:tt, stride $stride:tt $(, $dropout:ident)?; $($rest:tt)*
    ) => {
        $crate::network! { @maps $head [$network $x $key $frozen] [$i + 1] $dropouts $fields
            { $($steps)* let $x = $x.pool(<$crate::network!(@pool $i)>::default())?; }
            $($rest)* }
    };

    // The first linear layer: behind maps, their values in a row. What was computed so far is the network's tower.
    (@maps $head:tt [$network:ident $x:ident $key:ident $frozen:ident] [$i:expr] $dropouts:tt $fields:tt $steps:tt
        $layer:ident $($prefix:literal)?: linear $($rest:tt)*
    ) => {
        $crate::network! { @vectors [$head [$i] $steps] [$network $x $key $frozen] [$i] $dropouts $fields
            { let first_linear: usize = $i;
                let $x = $x.try_forward()?;
                let $x = $crate::network!(@unrecorded first_linear <= $frozen, $x, {
                    let $x = $crate::dfdx::nn::Module::try_forward(
                        &$crate::nn::Flatten::<
                            { LAYERS[$i].input.channels }, { LAYERS[$i].input.side }, { LAYERS[$i].input.values() },
                        >, $x)?;
                    $crate::nn::DropHalf::<0>
                        .try_forward($x, $key.filter(|key| key.drop_features || DESCRIPTION.drops_features()))?
                }); }
            $layer $($prefix)?: linear $($rest)* }
    };

    // The last linear layer.
    (@vectors [[$(#[$doc:meta])* $name:ident] [$first:expr] {$($tower:tt)*}] [$network:ident $x:ident $key:ident $frozen:ident] [$i:expr] $dropouts:tt
        {$($field:ident [$($named:literal)?]: $type:ty,)*} {$($steps:tt)*} $layer:ident $($prefix:literal)?: linear $classes:tt classes;
    ) => {
        $(#[$doc])*
        ///
        /// The fields are the layers with weights, by their names in weights files.
        #[derive(Debug, Clone)]
        pub struct $name<D: $crate::dfdx::tensor::Storage<E>, E: $crate::dfdx::shapes::Dtype = f32> {
            $(#[doc = concat!("The layer `", stringify!($field), "`.")] pub $field: $type,)*
            /// The last layer, an output a class.
            pub $layer: $crate::nn::Linear<$crate::dfdx::shapes::Const<{ LAYERS[$i].input.values() }>, $crate::nn::Classes, D, E>,
        }

        impl<D: $crate::ops::ConvDevice> $name<D> {
            /// The logits of a batch of images, with dropout where there is a key for it.
            ///
            /// # Errors
            /// The device's own, as running out of memory.
            pub fn try_forward<T: $crate::dfdx::tensor::Tape<f32, D>>(
                &self,
                images: $crate::nn::FeatureMaps<{ LAYERS[0].input.channels }, { LAYERS[0].input.side }, D, T>,
                key: Option<$crate::random::StepKey>,
            ) -> Result<$crate::nn::Logits<D, T>, D::Err> {
                self.linear_layers(self.tower($crate::nn::Tower::new(images)?)?, key, 0)
            }

            /// The convolutions and all that stands between them.
            #[allow(unused_variables, reason = "not every network has convolutions")]
            fn tower<T: $crate::dfdx::tensor::Tape<f32, D>>(
                &self,
                $x: $crate::nn::Tower<{ LAYERS[0].input.channels }, { LAYERS[0].input.side }, D, T>,
            ) -> Result<
                $crate::nn::Tower<{ LAYERS[$first].input.channels }, { LAYERS[$first].input.side }, D, T>,
                D::Err,
            > {
                let $network = self;
                $($tower)*
                Ok($x)
            }

            /// The logits, given what stands before the first linear layer; `frozen` is the first layer that learns.
            #[allow(clippy::needless_pass_by_value, unused_variables, reason = "not every network has dropout")]
            fn linear_layers<T: $crate::dfdx::tensor::Tape<f32, D>>(
                &self,
                $x: $crate::nn::Tower<{ LAYERS[$first].input.channels }, { LAYERS[$first].input.side }, D, T>,
                $key: Option<$crate::random::StepKey>,
                $frozen: usize,
            ) -> Result<$crate::nn::Logits<D, T>, D::Err> {
                let $network = self;
                $($steps)*
                $network.$layer.try_forward_with($x, $i != $frozen)
            }
        }

        impl<D: $crate::ops::ConvDevice> $crate::model::Network<D> for $name<D> {
            const DESCRIPTION: &'static $crate::infer_core::describe::Description = &DESCRIPTION;

            fn init(
                device: &D,
                classes: usize,
                initialisation: $crate::model::Initialisation,
                seed: u64,
            ) -> Result<Self, $crate::model::ModelError> {
                $crate::model::initialise(device, classes, initialisation, seed)
            }

            fn device(&self) -> &D {
                $crate::dfdx::tensor::Tensor::device(&self.$layer.bias)
            }

            fn classes(&self) -> usize {
                self.$layer.outputs()
            }

            fn evaluate_from(
                &self,
                inputs: $crate::ops::Images<D>,
                frozen: $crate::nn::Frozen,
            ) -> Result<$crate::nn::Logits<D>, $crate::model::ModelError> {
                let inputs = $crate::model::checked(inputs, &DESCRIPTION, frozen)?;
                let logits = self
                    .tower($crate::nn::Tower::frozen(inputs, frozen))
                    .and_then(|tower| self.linear_layers(tower, None, 0));
                logits.map_err($crate::model::ModelError::device)
            }

            fn train_from(
                &self,
                inputs: $crate::ops::Images<D>,
                gradients: $crate::dfdx::tensor::Gradients<f32, D>,
                key: $crate::random::StepKey,
                frozen: $crate::nn::Frozen,
            ) -> Result<
                $crate::nn::Logits<D, $crate::dfdx::tensor::OwnedTape<f32, D>>,
                $crate::model::ModelError,
            > {
                let inputs = $crate::model::checked(inputs, &DESCRIPTION, frozen)?;
                let inputs = $crate::dfdx::tensor::Trace::traced(inputs, gradients);
                let first = $crate::model::first_learning(&DESCRIPTION, frozen.layers);
                let logits = self
                    .tower($crate::nn::Tower::frozen(inputs, frozen))
                    .and_then(|tower| self.linear_layers(tower, Some(key), first));
                logits.map_err($crate::model::ModelError::device)
            }

            fn frozen_maps(
                &self,
                inputs: $crate::ops::Images<D>,
                layers: usize,
            ) -> Result<$crate::ops::Images<D>, $crate::model::ModelError> {
                let inputs = $crate::model::checked(inputs, &DESCRIPTION, $crate::nn::Frozen::default())?;
                let maps = self.tower($crate::nn::Tower::front(inputs, layers)).and_then($crate::nn::Tower::maps);
                maps.map_err($crate::model::ModelError::device)
            }

            fn preprocess(
                frame: &$crate::data::Frame<'_>,
                resize: $crate::infer_core::preprocess::Resize,
                output: &mut [f32],
            ) -> Result<(), $crate::model::ModelError> {
                $crate::model::preprocess::<{ LAYERS[0].input.channels }, { LAYERS[0].input.side }>(frame, resize, output)
            }
        }

        impl<D: $crate::dfdx::tensor_ops::Device<f32>> $crate::dfdx::nn::TensorCollection<f32, D> for $name<D> {
            type To<E2: $crate::dfdx::shapes::Dtype, D2: $crate::dfdx::tensor_ops::Device<E2>> = $name<D2, E2>;

            fn iter_tensors<V: $crate::dfdx::nn::ModuleVisitor<Self, f32, D>>(
                visitor: &mut V,
            ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
                visitor.visit_fields(
                    $crate::network!(@modules $($field [$($named)?])* $layer [$($prefix)?]),
                    |$crate::network!(@pattern $($field)* $layer)| $name { $($field,)* $layer },
                )
            }
        }
    };

    // A linear layer with dropout.
    (@vectors $head:tt [$network:ident $x:ident $key:ident $frozen:ident] [$i:expr] [$dropouts:expr] {$($fields:tt)*} {$($steps:tt)*}
        $layer:ident $($prefix:literal)?: linear $outputs:tt, dropout; $($rest:tt)*
    ) => {
        $crate::network! { @vectors $head [$network $x $key $frozen] [$i + 1] [$dropouts + 1]
            { $($fields)* $layer [$($prefix)?]: $crate::nn::Linear<
                $crate::dfdx::shapes::Const<{ LAYERS[$i].input.values() }>,
                $crate::dfdx::shapes::Const<{ LAYERS[$i].output.channels }>, D, E,
            >, }
            { $($steps)*
                let $x = $crate::network!(@unrecorded $i < $frozen, $x, {
                    let $x = $network.$layer.try_forward_with($x, $i != $frozen)?.try_relu()?;
                    $crate::nn::DropHalf::<{ $dropouts + 1 }>.try_forward($x, $key)?
                }); }
            $($rest)* }
    };

    // The first factor of a linear layer: without ReLU.
    (@vectors $head:tt [$network:ident $x:ident $key:ident $frozen:ident] [$i:expr] $dropouts:tt {$($fields:tt)*} {$($steps:tt)*}
        $layer:ident $($prefix:literal)?: linear $outputs:tt, no relu; $($rest:tt)*
    ) => {
        $crate::network! { @vectors $head [$network $x $key $frozen] [$i + 1] $dropouts
            { $($fields)* $layer [$($prefix)?]: $crate::nn::Linear<
                $crate::dfdx::shapes::Const<{ LAYERS[$i].input.values() }>,
                $crate::dfdx::shapes::Const<{ LAYERS[$i].output.channels }>, D, E,
            >, }
            { $($steps)* let $x = $crate::network!(@unrecorded $i < $frozen, $x,
                $network.$layer.try_forward_with($x, $i != $frozen)?); }
            $($rest)* }
    };

    // A linear layer.
    (@vectors $head:tt [$network:ident $x:ident $key:ident $frozen:ident] [$i:expr] $dropouts:tt {$($fields:tt)*} {$($steps:tt)*}
        $layer:ident $($prefix:literal)?: linear $outputs:tt; $($rest:tt)*
    ) => {
        $crate::network! { @vectors $head [$network $x $key $frozen] [$i + 1] $dropouts
            { $($fields)* $layer [$($prefix)?]: $crate::nn::Linear<
                $crate::dfdx::shapes::Const<{ LAYERS[$i].input.values() }>,
                $crate::dfdx::shapes::Const<{ LAYERS[$i].output.channels }>, D, E,
            >, }
            { $($steps)* let $x = $crate::network!(@unrecorded $i < $frozen, $x,
                $network.$layer.try_forward_with($x, $i != $frozen)?.try_relu()?); }
            $($rest)* }
    };

    // A step that is not recorded for the backward pass where no layer up to it learns.
    (@unrecorded $frozen:expr, $x:ident, $step:expr) => {
        if $frozen {
            let ($x, tape) = $crate::dfdx::tensor::SplitTape::split_tape($x);
            $crate::dfdx::tensor::PutTape::put_tape($step, tape)
        } else {
            $step
        }
    };

    // Beginning of the names of a layer's tensors: the one of the list, or its own.
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $named:literal) => { $named };

    // The type of a max pool, by its place in the list.
    (@pool $i:expr) => {
        $crate::nn::MaxPool2d<
            { LAYERS[$i].input.channels }, { LAYERS[$i].kernel() }, { LAYERS[$i].stride() }, { LAYERS[$i].input.side },
            { LAYERS[$i].output.side },
        >
    };

    // Fields as nested pairs, since dfdx takes no more than six at once.
    (@modules $field:ident [$($named:literal)?] $($rest:tt)*) => {
        (
            Self::module($crate::network!(@name $field $($named)?), |network| &network.$field, |network| &mut network.$field),
            $crate::network!(@modules $($rest)*),
        )
    };
    (@modules) => { () };
    (@pattern $field:ident $($rest:ident)*) => { ($field, $crate::network!(@pattern $($rest)*)) };
    (@pattern) => { () };
}
