//! ONNX's test cases as `tests/golden/onnx.safetensors` has them, and the rule by which one runs or is passed over.

use infer_core::layers::output_size;
use safetensors::{Dtype, SafeTensors, tensor::Metadata};
use serde_json::Value;
use std::fmt;
use std::sync::LazyLock;

/// Values of a tensor, row-major.
#[derive(Clone)]
pub struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// A test case: a model of one node.
pub struct Case {
    pub name: String,
    pub operator: String,
    attributes: Value,
    types: Vec<String>,
    shapes: Vec<Vec<usize>>,
    /// Inputs and expected output; none where the file lists the case but does not hold it.
    pub tensors: Option<(Vec<Array>, Array)>,
}

/// Square windows, the same for rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SquareWindow {
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
}

/// Why a case is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    NotFloats,
    OneDimension,
    ThreeDimensions,
    Grouped,
    Dilated,
    KernelNotSquare,
    StridesDiffer,
    PadsDiffer,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFloats => "values are no floats",
            Self::OneDimension => "kernel of one dimension",
            Self::ThreeDimensions => "kernel of three dimensions",
            Self::Grouped => "groups",
            Self::Dilated => "dilated",
            Self::KernelNotSquare => "kernel not square",
            Self::StridesDiffer => "strides differ",
            Self::PadsDiffer => "pads differ",
        })
    }
}

/// All cases of the file.
pub static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/onnx.safetensors");
    let bytes = std::fs::read(path).expect(path);
    let file = SafeTensors::deserialize(&bytes).expect(path);
    let (_, header): (_, Metadata) = SafeTensors::read_metadata(&bytes).expect(path);
    let cases = header.metadata().as_ref().and_then(|metadata| metadata.get("cases")).expect("the list of cases");
    let cases: Vec<Value> = serde_json::from_str(cases).expect("a list");
    let array = |name: &str| {
        let tensor = file.tensor(name).ok()?;
        assert_eq!(tensor.dtype(), Dtype::F32, "{name}");
        let values = tensor.data().as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
        Some(Array { shape: tensor.shape().to_vec(), values })
    };
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    cases
        .iter()
        .map(|case| {
            let name = text(&case["name"]);
            let inputs = case["inputs"].as_array().expect("inputs");
            let tensors = array(&format!("{name}/expected")).map(|expected| {
                let array = |i| array(&format!("{name}/{i}")).expect("every input");
                ((0..inputs.len()).map(array).collect(), expected)
            });
            Case {
                operator: text(&case["operator"]),
                attributes: case["attributes"].clone(),
                types: inputs.iter().map(|input| text(&input["type"])).collect(),
                shapes: inputs.iter().map(|input| sizes(&input["shape"])).collect(),
                tensors,
                name,
            }
        })
        .collect()
});

fn sizes(value: &Value) -> Vec<usize> {
    serde_json::from_value(value.clone()).expect("a list of sizes")
}

/// The one value of a list, if all are the same.
fn common(values: &[usize]) -> Option<usize> {
    values.first().copied().filter(|first| values.iter().all(|value| value == first))
}

impl Case {
    /// The case of that name.
    pub fn find(name: &str) -> &'static Self {
        CASES.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("the file has no case {name}"))
    }

    /// Inputs and expected output.
    pub fn tensors(&self) -> (&[Array], &Array) {
        let (inputs, expected) = self.tensors.as_ref().unwrap_or_else(|| panic!("{}: not in the file", self.name));
        (inputs, expected)
    }

    /// An attribute that is a number.
    pub fn number(&self, name: &str, default: f64) -> f64 {
        self.attributes.get(name).map_or(default, |value| value.as_f64().expect("a number"))
    }

    fn sizes(&self, name: &str) -> Option<Vec<usize>> {
        self.attributes.get(name).map(sizes)
    }

    /// Whether the case runs: the rule. Cases without windows run if they are of floats.
    pub fn rule(&self) -> Result<(), Reason> {
        if self.types.iter().any(|kind| kind != "float32") {
            return Err(Reason::NotFloats);
        }
        match &*self.operator {
            "Conv" | "MaxPool" => self.window().map(|_| ()),
            _ => Ok(()),
        }
    }

    /// The windows of a convolution or a pool, if they are square, with the same stride and padding on all sides, neither
    /// dilated nor in groups.
    pub fn window(&self) -> Result<SquareWindow, Reason> {
        let kernel = self.sizes("kernel_shape").unwrap_or_else(|| self.shapes[1][2..].to_vec());
        match kernel.len() {
            1 => return Err(Reason::OneDimension),
            3 => return Err(Reason::ThreeDimensions),
            dimensions => assert_eq!(dimensions, 2, "{}", self.name),
        }
        if self.number("group", 1.0) > 1.0 {
            return Err(Reason::Grouped);
        }
        if self.sizes("dilations").is_some_and(|dilations| dilations.iter().any(|dilation| *dilation > 1)) {
            return Err(Reason::Dilated);
        }
        let strides = self.sizes("strides").unwrap_or_else(|| vec![1; 2]);
        let pads = self.pads(&kernel, &strides);
        Ok(SquareWindow {
            kernel: common(&kernel).ok_or(Reason::KernelNotSquare)?,
            stride: common(&strides).ok_or(Reason::StridesDiffer)?,
            padding: common(&pads).ok_or(Reason::PadsDiffer)?,
        })
    }

    /// Rows and columns that are added on each side.
    fn pads(&self, kernel: &[usize], strides: &[usize]) -> Vec<usize> {
        let upper = match self.attributes.get("auto_pad").and_then(Value::as_str) {
            None | Some("NOTSET" | "VALID") => return self.sizes("pads").unwrap_or_else(|| vec![0; 4]),
            Some("SAME_UPPER") => true,
            Some("SAME_LOWER") => false,
            Some(other) => panic!("{}: auto_pad {other}", self.name),
        };
        // As many outputs as there are inputs, divided by the stride; of an odd number, one side gets one more.
        let pads = kernel.iter().zip(strides).zip(&self.shapes[0][2..]).flat_map(|((kernel, stride), size)| {
            let total = ((size.div_ceil(*stride) - 1) * stride + kernel).saturating_sub(*size);
            let (less, more) = (total / 2, total.div_ceil(2));
            if upper { [less, more] } else { [more, less] }
        });
        pads.collect()
    }
}

impl SquareWindow {
    /// The least square that holds all that the windows of such an output read, borders of `padding` included.
    pub fn padded_side(&self, output: &Array) -> usize {
        let positions = output.shape[2].max(output.shape[3]);
        let side = (positions - 1) * self.stride + self.kernel;
        assert!(output_size(side, self.kernel, self.stride, 0) == positions);
        side
    }
}
