//! Summary of a network's layers and costs, in the form that torchinfo prints. Every number comes from the network's description.

use std::fmt;

use infer_core::describe::{Description, Kind, Maps};
use reporting::words::grouped;
use serde::Serialize;

/// Bytes of one value.
const VALUE: usize = size_of::<f32>();

/// A network's layers and costs, for one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The network's name.
    pub network: &'static str,
    /// Sizes of its input, without the batch.
    pub input: Vec<usize>,
    /// Its layers, in the order in which they run.
    pub layers: Vec<Row>,
}

/// One layer of a [`Summary`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Name in weight files; empty for a layer without weights.
    pub name: &'static str,
    /// Kind of the layer, as `Conv2d`.
    pub kind: &'static str,
    /// Sizes of its output, without the batch.
    pub output: Vec<usize>,
    /// Trainable values.
    pub parameters: usize,
    /// Multiply-adds of a forward pass, biases counted as torchinfo does.
    pub multiply_adds: usize,
}

impl Summary {
    /// The summary of the network that tells so many classes apart.
    #[must_use]
    pub fn of(network: &Description, classes: usize) -> Self {
        let maps = |maps: Maps| vec![maps.channels, maps.side, maps.side];
        let mut layers: Vec<Row> = Vec::new();
        for layer in network.layers(classes) {
            let (kind, output) = match layer.kind {
                Kind::Conv { .. } => ("Conv2d", maps(layer.output)),
                Kind::LocalResponseNorm => ("LocalResponseNorm", maps(layer.output)),
                Kind::MaxPool { .. } => ("MaxPool2d", maps(layer.output)),
                Kind::Linear { .. } => ("Linear", vec![layer.output.channels]),
            };
            let plain =
                |kind, output: &[usize]| Row { name: "", kind, output: output.into(), parameters: 0, multiply_adds: 0 };
            if matches!(layer.kind, Kind::Linear { .. }) && layers.last().is_none_or(|before| before.output.len() > 1) {
                layers.push(plain("Flatten", &[layer.input.values()]));
            }
            let parameters = layer.parameters();
            layers.push(Row {
                name: if layer.tensors.is_some() { layer.name } else { "" },
                kind,
                output: output.clone(),
                parameters,
                multiply_adds: parameters * layer.output.side * layer.output.side,
            });
            if layer.relu() {
                layers.push(plain("ReLU", &output));
            }
            if layer.dropout() {
                layers.push(plain("Dropout", &output));
            }
        }
        Self { network: network.title, input: maps(network.input()), layers }
    }

    /// Trainable values of all layers.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(|layer| layer.parameters).sum()
    }

    /// Multiply-adds of all layers.
    #[must_use]
    pub fn multiply_adds(&self) -> usize {
        self.layers.iter().map(|layer| layer.multiply_adds).sum()
    }

    /// Bytes of the input.
    #[must_use]
    pub fn input_bytes(&self) -> usize {
        VALUE * self.input.iter().product::<usize>()
    }

    /// Bytes of the outputs of all layers with weights and of their gradients: torchinfo's forward/backward pass size.
    #[must_use]
    pub fn activation_bytes(&self) -> usize {
        let layers = self.layers.iter().filter(|layer| layer.parameters > 0);
        2 * VALUE * layers.map(|layer| layer.output.iter().product::<usize>()).sum::<usize>()
    }

    /// Bytes of the weights.
    #[must_use]
    pub fn parameter_bytes(&self) -> usize {
        VALUE * self.parameters()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WIDTH: usize = 82;
        let line = "=".repeat(WIDTH);
        let row = |f: &mut fmt::Formatter<'_>, layer: &str, output: &str, parameters: &str, multiply_adds: &str| {
            writeln!(f, "{layer:<26}{output:<20}{parameters:>16}{multiply_adds:>20}")
        };
        writeln!(f, "{line}")?;
        row(f, "Layer (type: name)", "Output Shape", "Param #", "Mult-Adds")?;
        writeln!(f, "{line}")?;
        let output = self.layers.last().map_or(&self.input, |layer| &layer.output);
        row(f, self.network, &shape(output), "--", "--")?;
        for layer in &self.layers {
            let title = if layer.name.is_empty() {
                format!("├─{}", layer.kind)
            } else {
                format!("├─{}: {}", layer.kind, layer.name)
            };
            row(f, &title, &shape(&layer.output), &count(layer.parameters), &count(layer.multiply_adds))?;
        }
        writeln!(f, "{line}")?;
        let mega = |value: usize| value as f64 / 1e6;
        writeln!(f, "Total params: {}", grouped(self.parameters() as u64))?;
        writeln!(f, "Trainable params: {}", grouped(self.parameters() as u64))?;
        writeln!(f, "Non-trainable params: 0")?;
        writeln!(f, "Total mult-adds (M): {:.2}", mega(self.multiply_adds()))?;
        writeln!(f, "{line}")?;
        writeln!(f, "Input size (MB): {:.2}", mega(self.input_bytes()))?;
        writeln!(f, "Forward/backward pass size (MB): {:.2}", mega(self.activation_bytes()))?;
        writeln!(f, "Params size (MB): {:.2}", mega(self.parameter_bytes()))?;
        let total = self.input_bytes() + self.activation_bytes() + self.parameter_bytes();
        writeln!(f, "Estimated Total Size (MB): {:.2}", mega(total))?;
        write!(f, "{line}")
    }
}

/// A shape with a batch of one, as `[1, 96, 54, 54]`.
fn shape(sizes: &[usize]) -> String {
    let sizes: Vec<String> = std::iter::once(&1).chain(sizes).map(usize::to_string).collect();
    format!("[{}]", sizes.join(", "))
}

/// A number, or `--` for none.
fn count(value: usize) -> String {
    if value == 0 { "--".to_owned() } else { grouped(value as u64) }
}
