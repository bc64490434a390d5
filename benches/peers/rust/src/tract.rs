//! tract, from the ONNX file.

use anyhow::Context;
use infer_core::alexnet::SIDE;
use tract_onnx::prelude::*;

use crate::{Forward, Task};

pub fn forward<'a>(task: &Task<'a>) -> anyhow::Result<Forward<'a>> {
    let path = task.folder.join(format!("alexnet-{}.onnx", task.batch));
    let model = tract_onnx::onnx().model_for_path(path)?.into_optimized()?.into_runnable()?;
    let batch = task.batch;
    Ok(Box::new(move |images| {
        let images = Tensor::from_shape(&[batch, 1, SIDE, SIDE], images)?;
        let outputs = model.run(tvec!(images.into()))?;
        let logits = outputs.first().context("no output")?;
        Ok(logits.to_plain_array_view::<f32>()?.iter().copied().collect())
    }))
}
