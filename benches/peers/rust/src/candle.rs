//! candle, with the layers of candle-nn.

use candle_core::{DType, Device, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, Linear, Module, VarBuilder, conv2d, linear};

use infer_core::alexnet::{LAYERS, SIDE};

use crate::{Forward, Task};

struct AlexNet {
    conv1: Conv2d,
    conv2: Conv2d,
    conv3: Conv2d,
    conv4: Conv2d,
    conv5: Conv2d,
    linear1: Linear,
    linear2: Linear,
    linear3: Linear,
}

impl AlexNet {
    fn new(weights: &VarBuilder) -> candle_core::Result<Self> {
        let layer = |name| LAYERS.iter().find(|layer| layer.name == name).expect("a layer of AlexNet");
        let conv = |name| {
            let layer = layer(name);
            let config = Conv2dConfig { stride: layer.stride(), padding: layer.padding(), ..Default::default() };
            conv2d(layer.input.channels, layer.output.channels, layer.kernel(), config, weights.pp(name))
        };
        let linear = |name| linear(layer(name).fan_in(), layer(name).output.channels, weights.pp(name));
        Ok(Self {
            conv1: conv("conv1")?,
            conv2: conv("conv2")?,
            conv3: conv("conv3")?,
            conv4: conv("conv4")?,
            conv5: conv("conv5")?,
            linear1: linear("linear1")?,
            linear2: linear("linear2")?,
            linear3: linear("linear3")?,
        })
    }

    fn forward(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        let pool = |x: Tensor| x.max_pool2d_with_stride(3, 2);
        let x = pool(self.conv1.forward(images)?.relu()?)?;
        let x = pool(self.conv2.forward(&x)?.relu()?)?;
        let x = self.conv3.forward(&x)?.relu()?;
        let x = self.conv4.forward(&x)?.relu()?;
        let x = pool(self.conv5.forward(&x)?.relu()?)?.flatten_from(1)?;
        let x = self.linear1.forward(&x)?.relu()?;
        let x = self.linear2.forward(&x)?.relu()?;
        self.linear3.forward(&x)
    }
}

pub fn forward<'a>(task: &Task<'a>) -> anyhow::Result<Forward<'a>> {
    let file = std::fs::read(task.folder.join("alexnet.safetensors"))?;
    let weights = VarBuilder::from_buffered_safetensors(file, DType::F32, &Device::Cpu)?;
    let network = AlexNet::new(&weights)?;
    let batch = task.batch;
    Ok(Box::new(move |images| {
        let images = Tensor::from_slice(images, (batch, 1, SIDE, SIDE), &Device::Cpu)?;
        Ok(network.forward(&images)?.flatten_all()?.to_vec1()?)
    }))
}
