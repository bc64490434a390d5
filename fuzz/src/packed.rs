//! Packed weights of floats, as memory and as a file: whatever is opened runs without a panic by every backend.

use infer_core::packed::{Backend, Line, Network, PackedError, Plan, Serial};
use safetensors::SafeTensors;

use crate::{
    Aligned, Input, edited,
    networks::{STREAMS, SUBJECTS, whole},
    only_opened, planted_fault,
};

/// Runs the target: the first byte says which network, in which format, and whether its memory or a file is opened.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    let subject = match choice {
        _ if only_opened() => &SUBJECTS[0],
        choice if choice & 8 == 0 => &SUBJECTS[usize::from(choice % 2)],
        _ => &STREAMS,
    };
    let other = usize::from(choice >> 4) % Backend::ALL.len();
    let others = if only_opened() { &Backend::ALL[other..=other] } else { Backend::ALL };
    let images = subject.images();
    let (plan, valid) = (subject.plan, &subject.packed[usize::from(choice >> 1 & 1)]);
    if choice & 4 == 0 {
        let memory = Aligned::new(&edited(&mut input, valid));
        let found = of_memory(plan, memory.lines(), images, others);
        planted_fault(|| found.is_ok_and(|found| found.overflows()));
        return;
    }
    let name = plan.description().packed_tensor;
    let file = Aligned::new(&edited(&mut input, &whole(name, valid)));
    let opened = Network::from_safetensors(plan, file.bytes(), Backend::best());
    let Ok(network) = opened.inspect_err(tell) else { return };
    // The safetensors crate finds the same bytes in it.
    let expected = SafeTensors::deserialize(file.bytes()).expect("only infer-core accepts the file");
    assert_eq!(expected.names(), [name]);
    let memory = Aligned::new(expected.tensor(name).expect("the file's only tensor").data());
    let found = of_memory(plan, memory.lines(), images, others).expect("the file was opened");
    assert!(found.finite, "a file with NaN or infinity was opened");
    assert_eq!(found.logits, bits(&network, images));
    planted_fault(|| found.overflows());
}

/// A network that was opened.
#[derive(Debug, PartialEq)]
struct Opened {
    /// Whether all its weights are finite.
    finite: bool,
    /// Logits by the best backend.
    logits: Vec<u32>,
}

impl Opened {
    /// Whether sums of finite weights are beyond the range of floats.
    fn overflows(&self) -> bool {
        self.finite && self.logits.iter().any(|bits| !f32::from_bits(*bits).is_finite())
    }
}

/// Opens memory by the best backend and by others, and runs what is opened.
fn of_memory(plan: &'static Plan, lines: &[Line], images: &[f32], others: &[Backend]) -> Result<Opened, PackedError> {
    let found = Network::from_packed(plan, lines, Backend::best()).map(|network| opened(&network, images));
    for backend in others {
        match Network::from_packed(plan, lines, *backend) {
            Err(PackedError::Unavailable { .. }) => {}
            Err(error) => assert_eq!(found.as_ref().err(), Some(&error)),
            Ok(network) => {
                let opened = opened(&network, images);
                assert_eq!(found.as_ref().map(|found| found.finite), Ok(opened.finite));
            }
        }
    }
    found.inspect_err(tell)
}

fn opened(network: &Network<'_>, images: &[f32]) -> Opened {
    let finite = network.check_finite().inspect_err(tell).is_ok();
    Opened { finite, logits: bits(network, images) }
}

/// The bits of the logits of all images.
fn bits(network: &Network<'_>, images: &[f32]) -> Vec<u32> {
    let batch = images.len() / network.description().input().values();
    let mut workspace = vec![Line::ZERO; network.workspace_len(batch)];
    let mut logits = vec![0.0; batch * network.classes()];
    network.forward(images, &mut logits, &mut workspace, &Serial).expect("the sizes are the network's");
    // NaN has many forms.
    logits.into_iter().map(|logit: f32| if logit.is_nan() { f32::NAN } else { logit }.to_bits()).collect()
}

/// Has an error tell its text and number.
fn tell(error: &PackedError) {
    assert!(!error.to_string().is_empty() && error.code() > 0);
}
