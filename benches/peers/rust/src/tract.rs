//! tract, from the ONNX file.

use anyhow::Context;
use infer_core::describe::Maps;
use tract_onnx::prelude::*;

use crate::{Forward, Task};

pub fn forward<'a>(task: &Task<'a>) -> anyhow::Result<Forward<'a>> {
    let path = task.folder.join(format!("alexnet-{}.onnx", task.batch));
    let model = tract_onnx::onnx().model_for_path(path)?.into_optimized()?.into_runnable()?;
    let (batch, Maps { channels, side }) = (task.batch, task.image);
    Ok(Box::new(move |images| {
        let images = Tensor::from_shape(&[batch, channels, side, side], images)?;
        let outputs = model.run(tvec!(images.into()))?;
        let logits = outputs.first().context("no output")?;
        Ok(logits.to_plain_array_view::<f32>()?.iter().copied().collect())
    }))
}
