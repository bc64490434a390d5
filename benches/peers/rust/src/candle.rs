//! candle, with the layers of candle-nn.

use anyhow::Context;
use candle_core::{DType, Device, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, Linear, Module, VarBuilder, conv2d, linear};
use infer_core::describe::{Kind, Layer, Maps};

use crate::{Forward, Task, ours};

/// A layer, and whether ReLU follows.
enum Step {
    Conv(Conv2d),
    MaxPool { kernel: usize, stride: usize },
    Linear(Linear, bool),
}

impl Step {
    fn new(layer: &Layer, weights: &VarBuilder) -> candle_core::Result<Self> {
        // As `linear1` of `linear1.weight`.
        let prefix = layer.tensors.and_then(|[weight, _]| weight.strip_suffix(".weight")).unwrap_or(layer.name);
        let weights = weights.pp(prefix);
        Ok(match layer.kind {
            Kind::MaxPool { kernel, stride, .. } => Self::MaxPool { kernel, stride },
            Kind::Linear { relu, .. } => Self::Linear(linear(layer.fan_in(), layer.output.channels, weights)?, relu),
            Kind::LocalResponseNorm => candle_core::bail!("{}: candle has no local response normalisation", layer.name),
            Kind::Conv { kernel, stride, padding, groups } => {
                let config = Conv2dConfig { stride, padding, groups, ..Default::default() };
                Self::Conv(conv2d(layer.input.channels, layer.output.channels, kernel, config, weights)?)
            }
        })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Conv(conv) => conv.forward(x)?.relu(),
            Self::MaxPool { kernel, stride } => x.max_pool2d_with_stride(*kernel, *stride),
            Self::Linear(linear, relu) => {
                let x = linear.forward(&x.flatten_from(1)?)?;
                if *relu { x.relu() } else { Ok(x) }
            }
        }
    }
}

pub fn forward<'a>(task: &Task<'a>) -> anyhow::Result<Forward<'a>> {
    let file = std::fs::read(task.folder.join("alexnet.safetensors"))?;
    let description = ours::weights_of(&file)?.0.description();
    let weights = VarBuilder::from_buffered_safetensors(file, DType::F32, &Device::Cpu)?;
    let steps =
        description.layers.iter().map(|layer| Step::new(layer, &weights)).collect::<candle_core::Result<Vec<_>>>()?;
    let (batch, Maps { channels, side }) = (task.batch, task.image);
    Ok(Box::new(move |images| {
        let images = Tensor::from_slice(images, (batch, channels, side, side), &Device::Cpu)?;
        let logits = steps.iter().try_fold(images, |x, step| step.forward(&x)).context("a forward pass")?;
        Ok(logits.flatten_all()?.to_vec1()?)
    }))
}
