//! Models that are none of the networks, or damaged, are refused by name.

use std::cell::RefCell;

use proptest::prelude::*;
use prost::Message;

use super::{
    super::messages::{Dimension, Entry, Graph, Model, OperatorSet, data_type},
    changed, imported, insert, integers, lenet, made, node, place, set, set_integer, set_integers, set_real, tensor,
    transpose_gemm,
};

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let others = RefCell::new(Vec::new());
    let refused = |change: &dyn Fn(&mut Graph), expected: &str| {
        let error =
            changed(|graph| change(graph)).map_or_else(|error| error.to_string(), |_| "it was read".to_string());
        if !error.contains(expected) || error.len() > 500 {
            others.borrow_mut().push(format!("expected: {expected}\nfound: {error}\n"));
        }
    };
    let sizes =
        |name: &'static str, dims: &'static [i64]| move |graph: &mut Graph| tensor(graph, name).dims = dims.to_vec();
    // Layers.
    refused(
        &|graph| set_integers(node(graph, "conv1"), "pads", &[1; 4]),
        "node conv1 (Conv): expected a convolution of 6 filters of 1×5×5, stride 1, padding 2, LeNet5's conv1; found a convolution of 6 \
         filters of 1×5×5, stride 1, padding 1",
    );
    refused(
        &|graph| set_integers(node(graph, "pool2"), "strides", &[1, 1]),
        "expected max-pooling of 2×2, stride 2, LeNet5's pool2; found",
    );
    refused(
        &|graph| node(graph, "conv2.relu").op_type = "Tanh".to_string(),
        "node conv2.relu (Tanh): expected one of Conv, Relu, ",
    );
    refused(
        &|graph| node(graph, "conv2").input[0] = "conv1.relu".to_string(),
        "node conv2 (Conv): expected max-pooling",
    );
    refused(
        &|graph| node(graph, "linear2").input[0] = "linear1".to_string(),
        "node linear2 (Gemm): expected Relu before it, behind a",
    );
    refused(
        &|graph| node(graph, "linear1").input[0] = "pool2".to_string(),
        "node linear1 (Gemm): expected Flatten before a linear",
    );
    refused(&|graph| insert(graph, "linear1", "Softmax"), "node linear1.Softmax (Softmax)");
    refused(&|graph| insert(graph, "logits", "Relu"), "node logits.Relu (Relu): expected the end of LeNet5");
    refused(
        &|graph| graph.output[0].name = "linear2.relu".to_string(),
        "expected a linear layer of 84 inputs and 84 outputs of LeNet5",
    );
    refused(
        &|graph| insert(graph, "pool2", "GlobalAveragePool"),
        "node pool2.GlobalAveragePool (GlobalAveragePool): expected one of",
    );
    refused(
        &|graph| {
            insert(graph, "pool2", "AveragePool");
            set_integers(graph.node.last_mut().unwrap(), "kernel_shape", &[5, 5]);
        },
        "expected one of 1×1, which changes nothing, found one of 5×5",
    );
    refused(&|graph| insert(graph, "pool2", "Cast"), "node pool2.Cast (Cast): expected it to make floats");
    refused(&|graph| insert(graph, "pool2", "LRN"), "size: expected 5, found 0");
    refused(
        &|graph| {
            insert(graph, "pool2", "LRN");
            set_integer(graph.node.last_mut().unwrap(), "size", 5);
        },
        "as in the paper, found 0.0001",
    );
    // Attributes.
    for (name, attribute, values, expected) in [
        ("conv1", "strides", &[1, 2][..], "strides: expected the same size 2 times, found [1, 2]"),
        ("conv1", "strides", &[-1, -1], "strides: expected the same size 2 times, found [-1, -1]"),
        ("conv1", "strides", &[i64::MAX, i64::MAX], "stride 9223372036854775807"),
        ("conv1", "kernel_shape", &[3, 3], "kernel_shape: expected 5, as its filters are, found 3"),
        ("conv1", "dilations", &[2, 2], "dilations: expected 1"),
        ("conv1", "pads", &[2; 9], "found 9 numbers, [2, 2, 2, 2, 2, 2, 2, 2] first"),
        ("pool1", "pads", &[1; 4], "expected no padding, found 1"),
        ("pool1", "kernel_shape", &[0, 0], "found max-pooling of 0×0"),
        ("pool1", "shape", &[0], "its attribute \"shape\" is not known"),
    ] {
        refused(&|graph| set_integers(node(graph, name), attribute, values), expected);
    }
    refused(&|graph| set_integer(node(graph, "pool1"), "ceil_mode", 1), "ceil_mode: expected 0, found 1");
    refused(&|graph| set_integer(node(graph, "conv1"), "group", -1), "group: expected 0 or more, found -1");
    refused(&|graph| set_integers(node(graph, "conv1"), "group", &[1]), "group: expected an integer, found none");
    refused(&|graph| set_integer(node(graph, "linear1"), "transA", 1), "transA: expected 0, found 1");
    refused(&|graph| set_real(node(graph, "linear1"), "alpha", f32::NAN), "alpha: expected a finite number");
    refused(&|graph| (0..2).for_each(|_| set_real(node(graph, "linear1"), "alpha", 1.0)), "\"alpha\" is there twice");
    refused(
        &|graph| node(graph, "conv1").domain = "com.microsoft".to_string(),
        "expected an operator of ONNX itself, found one of \"com",
    );
    // Sizes.
    refused(
        &sizes("conv1.weight", &[6, 1, 5, -5]),
        "tensor conv1.weight: expected sizes of 0 or more, found [6, 1, 5, -5]",
    );
    refused(
        &sizes("conv1.weight", &[6, 25]),
        "tensor conv1.weight: expected filters of four dimensions, found [6, 25]",
    );
    refused(&sizes("conv1.weight", &[6, 1, 5, 4]), "expected filters as high as they are wide");
    refused(&sizes("conv1.weight", &[i64::MAX; 4]), "as its filters are, found 5");
    refused(&sizes("linear1.weight", &[i64::MAX, i64::MAX]), "found a linear layer of 9223372036854775807 inputs");
    refused(
        &sizes("linear3.weight", &[1, 840]),
        "node logits (Gemm): expected 2 to 10000 outputs of the last layer, found 1",
    );
    refused(&sizes("linear3.weight", &[i64::MAX, 1]), "found 9223372036854775807");
    refused(&sizes("linear3.weight", &[]), "outputs of the last layer, found 0");
    refused(
        &sizes("linear2.bias", &[7, 12]),
        "tensor linear2.bias: expected a value for each of 84 outputs, found sizes [7, 12]",
    );
    refused(&sizes("linear2.bias", &[84, 1]), "expected a value for each of 84 outputs, found sizes [84, 1]");
    refused(
        &|graph| {
            transpose_gemm(graph, "linear2");
            tensor(graph, "linear2.weight").dims.push(1);
        },
        "tensor linear2.weight: expected a matrix to transpose, found sizes [120, 84, 1]",
    );
    // Values.
    refused(
        &|graph| tensor(graph, "conv1.bias").raw_data = Some(vec![0; 23]),
        "tensor conv1.bias: expected as many values as its sizes [6] say, found 5",
    );
    refused(&|graph| tensor(graph, "conv1.bias").raw_data = None, "say, found 0");
    refused(
        &|graph| tensor(graph, "conv1.bias").float_data = vec![0.0; 6],
        "expected its values once, found them twice",
    );
    refused(
        &|graph| tensor(graph, "conv1.bias").data_type = 3,
        "expected FLOAT, FLOAT16, BFLOAT16 or DOUBLE, found INT8",
    );
    refused(&|graph| tensor(graph, "conv1.bias").data_type = -3, "found an unknown type");
    refused(
        &|graph| set(tensor(graph, "conv1.bias"), [f32::NAN; 6]),
        "tensor conv1.bias: expected finite values, found NaN at index 0",
    );
    refused(
        &|graph| {
            let tensor = tensor(graph, "conv1.bias");
            (tensor.data_type, tensor.raw_data, tensor.int32_data) = (data_type::FLOAT16, None, vec![1 << 16; 6]);
        },
        "expected 16 bits in each of its values",
    );
    refused(
        &|graph| {
            set_real(node(graph, "linear1"), "alpha", f32::MAX);
            set(tensor(graph, "linear1.weight"), [2.0; 48_000]);
        },
        "tensor linear1.weight: expected finite values, found inf at index 0",
    );
    refused(
        &|graph| {
            let tensor = tensor(graph, "linear1.weight");
            (tensor.raw_data, tensor.data_location) = (None, 1);
            tensor.external_data.push(Entry { key: "location".to_string(), value: "x.onnx.data".to_string() });
        },
        "tensor linear1.weight: expected values in the model, found them in another file, \"x.onnx.data\"; make one file of both in Python",
    );
    // What is missing, is there twice, or goes in a circle.
    let remove = |name: &'static str| move |graph: &mut Graph| graph.initializer.retain(|tensor| tensor.name != name);
    refused(
        &remove("conv2.weight"),
        "node conv2 (Conv): expected its weight \"conv2.weight\" in the file, found no such tensor",
    );
    refused(
        &remove("conv2.bias"),
        "node conv2 (Conv): expected its bias \"conv2.bias\" in the file, found no such tensor",
    );
    refused(
        &|graph| node(graph, "conv2").input.truncate(1),
        "node conv2 (Conv): expected a weight as its second input, found none",
    );
    refused(
        &|graph| drop(graph.node.remove(place(graph, "conv2"))),
        "node conv2.relu (Relu): its input \"conv2\" is neither computed nor in",
    );
    refused(
        &|graph| node(graph, "conv2").input.clear(),
        "node conv2 (Conv): expected an input that depends on the image, found none",
    );
    refused(&|graph| node(graph, "conv2").input[0] = "linear1".to_string(), "found more or a circle");
    refused(
        &|graph| {
            remove("conv2.bias")(graph);
            graph.node.extend([made("Identity", "conv2.bias", &["round"]), made("Identity", "round", &["conv2.bias"])]);
        },
        "expected its bias \"conv2.bias\" in the file",
    );
    refused(
        &|graph| graph.initializer.push(graph.initializer[0].clone()),
        "tensor conv1.weight: expected one of this name, found two",
    );
    refused(&|graph| graph.node.push(graph.node[0].clone()), "its output conv1 is a value that is there already");
    refused(&|graph| graph.node.push(made("Identity", "conv1.bias", &["conv1"])), "its output conv1.bias is a value");
    refused(
        &|graph| graph.node.push(made("Identity", "image", &["conv1"])),
        "its input image: expected that no node computes it",
    );
    refused(&|graph| insert(graph, "conv1", "Add"), "node conv1.Add (Add): expected a constant to add");
    refused(
        &|graph| {
            insert(graph, "conv1", "Add");
            graph.node.last_mut().unwrap().input.push("conv1.bias".to_string());
        },
        "node conv1.Add (Add): expected it right behind a layer that has no bias",
    );
    refused(
        &|graph| node(graph, "pool1").output.insert(0, "first".to_string()),
        "expected its first output to be used",
    );
    // Inputs and outputs.
    refused(&|graph| graph.input.clear(), "expected one input, the images, found 0");
    refused(&|graph| graph.output.push(graph.output[0].clone()), "expected one output, the logits, found 2");
    refused(&|graph| graph.output[0].name = "none".to_string(), "its output none: no node computes it");
    let dimension = |place: usize, size: i64| {
        move |graph: &mut Graph| {
            let tensor = graph.input[0].kind.as_mut().unwrap().tensor_type.as_mut().unwrap();
            tensor.shape.as_mut().unwrap().dim[place] = Dimension { dim_value: Some(size), dim_param: None };
        }
    };
    // No network takes it, so that the first one is named.
    refused(&dimension(1, 4), "its input: expected N×1×224×224, as AlexNet takes images, found ?×4×28×28");
    refused(&dimension(2, -28), "found ?×1×0×28");
    refused(
        &|graph| graph.input[0].kind.as_mut().unwrap().tensor_type.as_mut().unwrap().elem_type = 2,
        "its input image: expected floats, found UINT8",
    );
    // Shapes.
    for (dims, shape, expected) in [
        (&[2][..], &[-1, 200][..], "expected vectors of 400 values"),
        (&[2], &[-1, -1], "expected a vector for each image, as Flatten makes it"),
        (&[2], &[-2, 400], "expected a vector for each image"),
        (&[3], &[-1, 20, 20], "expected a vector for each image"),
        (&[1, 2], &[-1, 400], "expected a vector for each image"),
    ] {
        refused(
            &|graph| {
                let flat = node(graph, "linear1.flat");
                flat.op_type = "Reshape".to_string();
                flat.input.push("shape".to_string());
                graph.initializer.push(integers("shape", dims, shape));
            },
            expected,
        );
    }
    refused(
        &|graph| {
            // Shapes of shapes: as many as two to the power of thirty.
            let flat = node(graph, "linear1.flat");
            flat.op_type = "Reshape".to_string();
            flat.input.push("shape30".to_string());
            graph.initializer.push(integers("shape0", &[0], &[]));
            let names: Vec<_> = (0..31).map(|number| format!("shape{number}")).collect();
            graph.node.extend(names.windows(2).map(|names| made("Concat", &names[1], &[&names[0], &names[0]])));
        },
        "expected a vector for each image",
    );
    refused(
        &|graph| {
            let names: Vec<_> = (0..301).map(|number| format!("copy{number}")).collect();
            graph.node.extend(names.windows(2).map(|names| made("Identity", &names[1], &[&names[0]])));
            node(graph, "copy1").input[0] = "image".to_string();
            node(graph, "conv1").input[0] = "copy300".to_string();
        },
        "found more or a circle",
    );
    assert!(others.borrow().is_empty(), "{}", others.borrow().join("\n"));
}

#[test]
fn what_is_no_model_is_refused() {
    let refused = |file: &[u8], expected: &str| {
        let error = imported(file).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused(b"", "not a valid ONNX model: it has no graph");
    refused(b"not a model", "not a valid ONNX model: ");
    // A graph that is a number, one that is longer than the file, and one of 2^64 - 1 bytes.
    refused(&[0x38, 1], "not a valid ONNX model: ");
    refused(&[0x3A, 9, 1], "not a valid ONNX model: ");
    refused(&[&[0x3A][..], &[0xFF; 9], &[1]].concat(), "not a valid ONNX model: ");
    refused(&[0xFF; 20], "not a valid ONNX model: ");
    // Messages in messages, deeper than any stack.
    let deep = (0..10_000).fold(Vec::new(), |inner: Vec<u8>, _| {
        let mut outer = vec![0x0B];
        outer.extend(inner);
        outer
    });
    refused(&deep, "not a valid ONNX model: ");
    let mut model = Model::decode(&*lenet()).unwrap();
    model.opset_import[0].version = 6;
    refused(&model.encode_to_vec(), "expected operator set 7 or newer, found 6");
    model.opset_import[0].domain = Some("ai.onnx.ml".to_string());
    refused(&model.encode_to_vec(), "expected the number of its operator set, found none");
    model.graph = Some(Graph::default());
    model.opset_import[0] = OperatorSet { domain: None, version: 13 };
    refused(&model.encode_to_vec(), "expected one input, the images, found 0");
}

#[test]
fn a_model_that_ends_anywhere_is_refused() {
    let file = lenet();
    for length in (0..1500).chain((1500..file.len()).step_by(997)).chain(file.len() - 300..file.len()) {
        assert!(imported(&file[..length]).is_err(), "{length} of {} bytes", file.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Changed bytes make an error or other weights, never a panic.
    #[test]
    fn damaged_models_do_not_panic(edits in proptest::collection::vec((any::<u32>(), any::<u8>()), 1..8), near: bool) {
        let mut file = lenet();
        for (place, byte) in edits {
            // Nodes are at the front, and what is behind the weights at the end.
            let length = file.len();
            let place = if near { place as usize % 1500 } else { length - 1 - place as usize % 400 };
            file[place] = byte;
        }
        if let Ok(found) = imported(&file) {
            prop_assert!(found.tensors.iter().all(|tensor| tensor.values.iter().all(|value| value.is_finite())));
        }
    }
}
