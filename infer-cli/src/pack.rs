//! `infer-cli pack`: writes a network's weights the way its kernels read them, to be mapped into memory and used as they are.

use std::{collections::BTreeMap, fs, io::Write};

use anyhow::{Context, bail};
use classifier::{
    Source,
    network::{Form, Header, pack, plan_of, weights},
    weights::map,
};
use image_files::header::{Entry, header};
use infer_core::packed::{Line, LinearWeights, Plan};

use crate::{
    args::Pack,
    interrupt::Interrupt,
    output::{Destination, refuse_input},
};

/// Runs the command.
///
/// # Errors
/// The weights are no network's or packed already, or the file cannot be written.
pub fn run(args: &Pack) -> anyhow::Result<()> {
    let Source::File(path) = Source::find(args.weights.as_deref())? else {
        bail!(
            "no weights to pack: name a file with --weights, or train one; the model in the program needs no packing"
        );
    };
    refuse_input("--output", &args.output, [&*path])?;
    let file = map(&path)?;
    let destination = Destination::whole(&args.output, args.force)?;
    let unfinished = destination.unfinished();
    Interrupt::install().context("cannot catch signals")?.end_with(move || {
        // That it stays is no harm.
        let _ = unfinished.map(fs::remove_file);
    });
    let linear = args.linear_weights.into();
    let contents = || -> anyhow::Result<(Vec<u8>, Vec<Line>)> {
        let header = Header::parse(&file)?;
        let (plan, form) = plan_of(&header)?;
        let found = match form {
            Form::Trained => None,
            Form::Packed => Some("packed ones"),
            Form::Int8 => Some("int8 ones, which are used as they are"),
        };
        if let Some(found) = found {
            bail!("expected {}'s weights as they were trained, found {found}", plan.description().title);
        }
        let lines = pack(plan, &weights(plan, &file)?, linear)?;
        Ok((packed_header(plan, &header, linear, size_of_val(&lines[..]))?, lines))
    };
    let (header, lines) = contents().with_context(|| format!("cannot use the weights in {}", path.display()))?;

    let write = || -> std::io::Result<()> {
        let mut out = destination.handle()?;
        out.write_all(&header)?;
        out.write_all(Line::bytes(&lines))?;
        out.flush()
    };
    write().with_context(|| format!("cannot write {}", args.output.display()))?;
    destination.commit()
}

/// Header before the packed weights, which begin at a multiple of 64 bytes. (The safetensors crate aligns to 8 and no more.) The
/// metadata are those of the weights they were made of, and say what was done.
fn packed_header(plan: &Plan, weights: &Header<'_>, linear: LinearWeights, length: usize) -> anyhow::Result<Vec<u8>> {
    let mut metadata = BTreeMap::new();
    weights.for_each_metadata(|key, value| {
        metadata.insert(key.to_string(), value.to_string());
    });
    let network = plan.description();
    // They say which network it is where the weights themselves do not.
    metadata.insert("architecture".into(), network.name.into());
    metadata.insert("linear_weights".into(), linear.to_string());
    metadata.insert("packed_by".into(), concat!("infer-cli ", env!("CARGO_PKG_VERSION")).into());
    let tensor = Entry { name: network.packed_tensor, dtype: "U8", shape: &[length], length };
    Ok(header(metadata, [tensor], Line::SIZE)?)
}
