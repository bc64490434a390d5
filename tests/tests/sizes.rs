//! A size of a network stands in one place: its description. This looks through the code for numbers that are written down again.
//!
//! What counts is what the code says, without its comments. Two kinds of numbers tell a layer's size:
//!
//! - a number that follows from a description and hardly from anything else: parameters, multiply-adds, values and bytes, from
//!   1,000 on, if they are no powers of two;
//! - numbers in a row that are the sizes of a layer as they are usually written (the shape of its weight, inputs and outputs and
//!   kernel, channels and sides of its maps, window and sides), if they have at least [`BITS`] bits between them: short
//!   rows of small numbers are everywhere.
//!
//! What may repeat a size is listed below with its reason, and the list may not have more than it needs.

use infer_core::describe::{Description, Kind, Layer};
use infer_core::packed::NETWORKS;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Bits that a row of numbers has at least, each having the logarithm of one more than itself.
const BITS: f64 = 9.0;

/// Files and folders that may repeat sizes: a path, or its beginning with `/` at the end.
const ALLOWED: &[(&str, &str)] = &[
    (
        "benches/peers/networks.py",
        "the other engines' networks: the comparison would prove nothing if it followed from ours",
    ),
    ("bindings/python/tests/lenet5.py", "a network in numpy, which gives the expected logits"),
    ("crates/kernels/examples/int8_speed.rs", "shapes to measure by, below infer-core"),
    ("infer-cli/tests/inspect.rs", "expected output"),
    ("infer-core/src/packed/tests.rs", "expected sums over the tables"),
    ("tests/cuda-emulator/driver/", "sizes of stacks, pages and memory"),
    ("tests/pytorch/networks.py", "PyTorch's networks, which give the golden values"),
    ("trainer/src/export/onnx/tests/", "shapes that are refused, and expected output"),
    ("trainer/src/ops/cuda/", "expected sizes of kernels and memory"),
    ("trainer/tests/", "expected output, and the portable network that is compared with"),
];

#[test]
fn sizes_of_layers_are_written_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    let sizes = Sizes::of_all_networks();
    let mut files = Vec::new();
    collect(root, &mut files);
    assert!(files.len() > 100, "the code is not here: {}", root.display());
    let mut found = BTreeMap::<String, Vec<String>>::new();
    for path in files {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let name = path.strip_prefix(root).expect("a file of the workspace").to_string_lossy().replace('\\', "/");
        for (number, line) in text.lines().enumerate() {
            if let Some(what) = sizes.find(&numbers(code(line))) {
                found.entry(name.clone()).or_default().push(format!("{name}:{}: {what}: {}", number + 1, line.trim()));
            }
        }
    }
    let allowed = |name: &str, path: &str| name == path || path.ends_with('/') && name.starts_with(path);
    let useless: Vec<_> = ALLOWED
        .iter()
        .filter(|(path, _)| !found.keys().any(|name| allowed(name, path)))
        .map(|(path, _)| path)
        .collect();
    let repeated: Vec<_> = found
        .iter()
        .filter(|(name, _)| !ALLOWED.iter().any(|(path, _)| allowed(name, path)))
        .flat_map(|(_, lines)| lines)
        .collect();
    assert!(
        repeated.is_empty(),
        "sizes of layers that stand in a network's description (infer-core's list of its layers); take them from there:\n{}",
        repeated.iter().map(|line| line.as_str()).collect::<Vec<_>>().join("\n")
    );
    assert!(useless.is_empty(), "nothing of these repeats a size any more; take them off the list: {useless:?}");
}

/// Files of code, in order.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().expect("a name").to_string_lossy();
        if path.is_dir() {
            if !matches!(&*name, "target" | ".git" | "shared") {
                collect(&path, files);
            }
        } else if path
            .extension()
            .is_none_or(|kind| ["rs", "cu", "cuh", "cpp", "h", "py", "x"].iter().any(|code| kind == *code))
        {
            files.push(path);
        }
    }
}

/// A line without its comment.
fn code(line: &str) -> &str {
    let trimmed = line.trim_start();
    if trimmed.starts_with('#') && !trimmed.starts_with("#[") {
        return "";
    }
    line.split("//").next().unwrap_or_default()
}

/// The whole numbers of a line, in order: `46_764_746` and `46,764,746` are one, the digits of a name are none.
fn numbers(line: &str) -> Vec<usize> {
    let bytes = line.as_bytes();
    let digit = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_digit);
    let (mut numbers, mut i) = (Vec::new(), 0);
    while i < bytes.len() {
        if !digit(i) {
            i += 1;
            continue;
        }
        let named = i > 0 && (bytes[i - 1].is_ascii_alphanumeric() || bytes[i - 1] == b'_');
        // Digits behind a point belong to what is before it.
        let fraction = i > 1 && bytes[i - 1] == b'.' && digit(i - 2);
        let (start, mut value) = (i, Some(0_usize));
        loop {
            let thousands = (1..=3).all(|k| digit(i + k)) && !digit(i + 4) && (i - start <= 3 || bytes[i - 4] == b',');
            match bytes.get(i) {
                Some(byte) if byte.is_ascii_digit() => {
                    let next = usize::from(byte - b'0');
                    value = value.and_then(|value| value.checked_mul(10)?.checked_add(next));
                }
                Some(b'_') if digit(i + 1) => {}
                Some(b',') if thousands => {}
                _ => break,
            }
            i += 1;
        }
        // The digits of `10_u8` are a number, those of `0x10` and `1st` are none.
        let word = bytes.get(i).is_some_and(u8::is_ascii_alphabetic);
        if let (false, false, Some(value)) = (named || word, fraction, value) {
            numbers.push(value);
        }
    }
    numbers
}

/// Numbers that tell the size of a layer.
struct Sizes {
    single: BTreeMap<usize, String>,
    rows: BTreeMap<Vec<usize>, String>,
}

impl Sizes {
    fn of_all_networks() -> Self {
        let mut sizes = Self { single: BTreeMap::new(), rows: BTreeMap::new() };
        for plan in NETWORKS {
            sizes.add(plan.description());
        }
        sizes
    }

    fn add(&mut self, network: &Description) {
        let classes = network.classes();
        let title = network.title;
        self.single(network.parameters(classes), format!("parameters of {title}"));
        self.single(4 * network.parameters(classes), format!("bytes of {title}'s weights"));
        self.single(network.multiply_adds(classes), format!("multiply-adds of {title}"));
        for layer in network.layers {
            let what = format!("{title}'s {}", layer.name);
            self.single(layer.parameters(), format!("parameters of {what}"));
            self.single(layer.multiply_adds(), format!("multiply-adds of {what}"));
            self.single(layer.input.values(), format!("inputs of {what}"));
            // A number of classes is one of the data.
            if layer.output.values() != classes {
                self.single(layer.output.values(), format!("outputs of {what}"));
            }
            rows(layer).into_iter().for_each(|row| self.row(row, what.clone()));
            let side = layer.output.side;
            if NETWORKS.iter().all(|other| other.description().input().side != side) {
                self.row(vec![side, side], format!("positions of {what}"));
            }
        }
    }

    fn single(&mut self, number: usize, what: String) {
        if number >= 1000 && !number.is_power_of_two() {
            self.single.entry(number).or_insert(what);
        }
    }

    fn row(&mut self, row: Vec<usize>, what: String) {
        let bits: f64 = row.iter().map(|number| ((number + 1) as f64).log2()).sum();
        // Small images are those of data sets as well.
        let picture = matches!(row[..], [1 | 3, height, width] if height == width && height <= 32);
        if bits >= BITS && !picture {
            self.rows.entry(row).or_insert(what);
        }
    }

    /// Size that the numbers of a line tell, if any.
    fn find(&self, numbers: &[usize]) -> Option<&str> {
        let single = numbers.iter().find_map(|number| self.single.get(number));
        let row = || self.rows.iter().find(|(row, _)| numbers.windows(row.len()).any(|window| window == **row));
        single.or_else(|| row().map(|(_, what)| what)).map(String::as_str)
    }
}

/// The sizes of a layer as they are usually written.
fn rows(layer: &Layer) -> Vec<Vec<usize>> {
    let (input, output) = (layer.input, layer.output);
    let (kernel, stride, padding) = (layer.kernel(), layer.stride(), layer.padding());
    let maps = [vec![input.channels, input.side, input.side], vec![output.channels, output.side, output.side]];
    let window = vec![kernel, stride, padding];
    match layer.kind {
        Kind::Conv { .. } => {
            let rows = [
                window,
                vec![output.channels, input.channels, kernel],
                vec![input.channels, output.channels, kernel],
                layer.weight_sizes().to_vec(),
                vec![kernel, stride, padding, input.side, output.side],
            ];
            rows.into_iter().chain(maps).collect()
        }
        Kind::LocalResponseNorm => maps.to_vec(),
        Kind::MaxPool { .. } => maps.into_iter().chain([vec![kernel, stride, input.side, output.side]]).collect(),
        Kind::Linear { .. } => {
            vec![vec![input.values(), output.channels], vec![output.channels, input.values()]]
        }
    }
}
