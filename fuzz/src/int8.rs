//! Int8 weights, as memory and as a file: whatever is opened runs without a panic, and the same to the bit by every backend.

use infer_core::int8::{Int8Backend, Int8Error, Network, Plan, Serial};
use infer_core::packed::Line;
use safetensors::SafeTensors;

use crate::{
    Aligned, Input, edited,
    networks::{STREAMS, SUBJECTS, TILED, whole},
    only_opened, planted_fault,
};

/// Runs the target: the first byte says which network, and whether its memory or a file is opened.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    let subject = match (choice, choice >> 2) {
        _ if only_opened() => &SUBJECTS[0],
        (_, 1) => &*TILED,
        (_, 2) => &*STREAMS,
        _ => &SUBJECTS[usize::from(choice % 2)],
    };
    let mut backends: Vec<_> = Int8Backend::ALL.iter().copied().filter(|backend| backend.available()).collect();
    if only_opened() {
        let other = backends[usize::from(choice >> 4) % backends.len()];
        backends = vec![Int8Backend::Scalar, other];
    }
    let plan = subject.int8_plan;
    let images = subject.images();
    if choice & 2 == 0 {
        let memory = Aligned::new(&edited(&mut input, &subject.int8));
        let logits = of_memory(plan, memory.lines(), images, &backends);
        planted_fault(|| logits.is_ok_and(|logits| is_large(&logits)));
        return;
    }
    let name = plan.description().int8_tensor;
    let file = Aligned::new(&edited(&mut input, &whole(name, &subject.int8)));
    let mut transformed = vec![Line::ZERO; plan.transformed_len()];
    let opened = Network::from_safetensors(plan, file.bytes(), &mut transformed, Int8Backend::Scalar);
    let Ok(network) = opened.inspect_err(tell) else { return };
    // The safetensors crate finds the same bytes in it.
    let expected = SafeTensors::deserialize(file.bytes()).expect("only infer-core accepts the file");
    assert_eq!(expected.names(), [name]);
    let memory = Aligned::new(expected.tensor(name).expect("the file's only tensor").data());
    let logits = of_memory(plan, memory.lines(), images, &backends).expect("the file was opened");
    assert_eq!(logits, bits(&network, images));
    network.check_weights().expect("they were checked");
    planted_fault(|| is_large(&logits));
}

/// Opens memory by some backends and runs what is opened.
fn of_memory(
    plan: &'static Plan,
    lines: &[Line],
    images: &[f32],
    backends: &[Int8Backend],
) -> Result<Vec<u32>, Int8Error> {
    let mut found: Option<Result<(bool, Vec<u32>), Int8Error>> = None;
    for backend in backends {
        let mut transformed = vec![Line::ZERO; plan.transformed_len()];
        let opened = Network::from_packed(plan, lines, &mut transformed, *backend);
        let result = opened.map(|network| {
            let checked = network.check_weights().inspect_err(tell).is_ok();
            (checked, bits(&network, images))
        });
        match (&found, &result) {
            (None, _) => {}
            // Logits mean nothing where weights are out of range.
            (Some(Ok((false, _))), Ok((false, _))) => {}
            (Some(before), result) => assert_eq!(before, result, "{backend}"),
        }
        found = Some(result);
    }
    let found = found.expect("every CPU has a backend").inspect_err(tell)?;
    Ok(found.1)
}

/// The bits of the logits of all images, which are the same in a batch and one by one.
fn bits(network: &Network<'_>, images: &[f32]) -> Vec<u32> {
    let image = network.description().input().values();
    let logits = |images: &[f32]| {
        let batch = images.len() / image;
        let mut workspace = vec![Line::ZERO; network.workspace_len(batch)];
        let mut logits = vec![0.0; batch * network.classes()];
        network.forward(images, &mut logits, &mut workspace, &Serial).expect("the sizes are the network's");
        logits.into_iter().map(f32::to_bits).collect::<Vec<u32>>()
    };
    let together = logits(images);
    let apart: Vec<u32> = images.chunks_exact(image).flat_map(logits).collect();
    assert!(together == apart || network.check_weights().is_err(), "a batch and single images differ");
    together
}

/// Whether a logit is far beyond those of the network without edits.
fn is_large(logits: &[u32]) -> bool {
    logits.iter().any(|bits| f32::from_bits(*bits).abs() > 1e3)
}

/// Has an error tell its text and number.
fn tell(error: &Int8Error) {
    assert!(!error.to_string().is_empty() && error.code() > 0);
}
