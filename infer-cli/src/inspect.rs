//! `infer-cli inspect`: what a safetensors file holds, and whether it is one of the networks.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    thread,
};

use anyhow::Context;
use classifier::weights::map;
use infer_core::{
    describe::Description,
    int8::{self, Int8Backend},
    packed::{Backend, Line, NETWORKS, Network},
    safetensors::{SafeTensors, WeightsError},
    weights::Weights,
};
use reporting::{table::plain, words::grouped};
use serde_json::{Map, Value, json};

use crate::{
    args::Inspect,
    stdout,
    text::{counted, printable},
};

/// The most tensors that a file may have.
const MOST_TENSORS: usize = 4096;

/// Stack for a header of that many tensors, which infer-core keeps in an array.
const STACK: usize = 64 * MOST_TENSORS * 64;

/// Runs the command.
///
/// # Errors
/// The file cannot be read or is no safetensors file.
pub fn run(args: &Inspect) -> anyhow::Result<()> {
    let path = image_files::weights::named(&args.file)?;
    let file = map(&path)?;
    let describe = || Contents::of(&file);
    let contents = thread::scope(|scope| -> anyhow::Result<Contents> {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, describe)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?)
    })
    .with_context(|| format!("cannot use {}", path.display()))?;
    let text = if args.json {
        let mut value = contents.json();
        value["file"] = path.to_string_lossy().into();
        format!("{value:#}\n")
    } else {
        contents.text()
    };
    stdout::check().context("cannot write the standard output")?;
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write the standard output")
}

/// Why a network could not be made.
fn reason<T>(network: Result<T, impl ToString>) -> Option<String> {
    network.err().map(|error| error.to_string())
}

/// Why an int8 network of that name could not be made, if there is one.
fn int8_reason(file: &[u8], network: &Description) -> Option<Option<String>> {
    let mut plans = int8::NETWORKS.iter().copied().filter(|plan| plan.description() == network);
    let named = int8::plan_of(file).ok().filter(|plan| plan.description() == network);
    let plan = named.or_else(|| plans.next())?;
    let mut transformed = vec![Line::ZERO; plan.transformed_len()];
    Some(reason(int8::Network::from_safetensors(plan, file, &mut transformed, Int8Backend::Scalar)))
}

/// A tensor's row.
struct Tensor {
    name: String,
    dtype: String,
    shape: Vec<u32>,
    bytes: u64,
}

/// Content of a file.
struct Contents {
    size: usize,
    tensors: Vec<Tensor>,
    metadata: Vec<(String, String)>,
    /// A network's key and name, and why it is another.
    networks: Vec<(String, String, Option<String>)>,
}

impl Contents {
    fn of(file: &[u8]) -> Result<Self, WeightsError> {
        let header = SafeTensors::<MOST_TENSORS>::parse(file)?;
        let tensors = header.tensors().iter().map(|tensor| Tensor {
            name: tensor.name.to_string(),
            dtype: tensor.dtype.to_string(),
            shape: tensor.shape.sizes().to_vec(),
            bytes: tensor.bytes.len() as u64,
        });
        let mut metadata = Vec::new();
        header.for_each_metadata(|key, value| metadata.push((key.to_string(), value.to_string())));
        metadata.sort();
        Ok(Self {
            size: file.len(),
            tensors: tensors.collect(),
            metadata,
            networks: NETWORKS
                .iter()
                .flat_map(|plan| {
                    let network = plan.description();
                    let packed = Network::from_safetensors(plan, file, Backend::Scalar);
                    let int8 = int8_reason(file, network)
                        .map(|reason| (format!("{}_int8", network.name), format!("{} in int8", network.title), reason));
                    let floats = [
                        (network.name.into(), network.title.into(), reason(Weights::from_safetensors(network, file))),
                        (format!("{}_packed", network.name), format!("packed {}", network.title), reason(packed)),
                    ];
                    floats.into_iter().chain(int8)
                })
                .collect(),
        })
    }

    /// Values and bytes of all tensors.
    fn totals(&self) -> (u64, u64) {
        (self.tensors.iter().map(Tensor::values).sum(), self.tensors.iter().map(|tensor| tensor.bytes).sum())
    }

    fn json(&self) -> Value {
        let tensors: Vec<_> = self
            .tensors
            .iter()
            .map(
                |t| json!({"name": t.name, "dtype": t.dtype, "shape": t.shape, "values": t.values(), "bytes": t.bytes}),
            )
            .collect();
        let networks = self.networks.iter().map(|(key, _, error)| {
            let reason = error.clone().map_or(Value::Null, Into::into);
            ((*key).to_owned(), json!({"fits": error.is_none(), "reason": reason}))
        });
        let metadata: Map<_, _> = self.metadata.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
        let (values, bytes) = self.totals();
        json!({
            "file": "",
            "size": self.size,
            "values": values,
            "bytes": bytes,
            "tensors": tensors,
            "metadata": metadata,
            "networks": networks.collect::<Map<_, _>>(),
        })
    }

    fn text(&self) -> String {
        let mut table = plain(["TENSOR", "DTYPE", "SHAPE", "VALUES", "BYTES"], 3);
        for tensor in &self.tensors {
            let (values, bytes) = (grouped(tensor.values()), grouped(tensor.bytes));
            let shape = format!("{:?}", tensor.shape);
            table.add_row([printable(&tensor.name), tensor.dtype.clone(), shape, values, bytes]);
        }
        let (values, bytes) = self.totals();
        let count = counted(self.tensors.len() as u64, "tensor");
        table.add_row([count, String::new(), String::new(), grouped(values), grouped(bytes)]);
        let mut text = table.trim_fmt() + "\n";
        if !self.metadata.is_empty() {
            text += "\nMetadata\n";
        }
        for (key, value) in &self.metadata {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {}: {}", printable(key), printable(value));
        }
        text += "\nNetworks\n";
        for (_, name, error) in &self.networks {
            let _ = match error {
                None => writeln!(text, "  {name}: fits"),
                Some(error) => writeln!(text, "  {name}: does not fit: {error}"),
            };
        }
        text
    }
}

impl Tensor {
    /// Number of values; the file has been checked to hold them.
    fn values(&self) -> u64 {
        self.shape.iter().map(|size| u64::from(*size)).product()
    }
}
