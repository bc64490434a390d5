//! Models that say the same in other words are read alike.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use infer_core::lenet5;
use prost::Message;

use super::{
    super::{
        OnnxError,
        constants::Values,
        fit::fit,
        messages::{Attribute, Entry, Model, Node, Tensor, Value, data_type},
        model,
        steps::steps,
    },
    NETWORKS, add_bias, changed, floats, imported, insert, integers, made, node, same, set, set_integer, set_integers,
    set_real, tensor, transpose, transpose_gemm, values,
};

#[test]
fn what_is_written_of_every_network_is_read_as_that_network() {
    for network in NETWORKS {
        for classes in [network.classes(), 2] {
            // Sizes alone tell networks apart; without values, nothing is large.
            let file = model(network, classes, &BTreeMap::new(), |_, _| Ok::<_, OnnxError>(Vec::new())).unwrap();
            let decoded = Model::decode(&*file).unwrap();
            let graph = decoded.graph.unwrap();
            let steps = steps(&graph, &Values::new(&graph).unwrap(), "image", "logits").unwrap();
            let fit = fit(&steps, None, &NETWORKS).unwrap();
            assert_eq!((fit.network.name, fit.classes), (network.name, classes));
            assert_eq!(fit.layers.len() * 2, network.tensors.len());
            let error = imported(&file).unwrap_err().to_string();
            assert!(error.contains("as many values as its sizes") && error.ends_with("found 0"), "{error}");
        }
    }
}

#[test]
fn metadata_are_those_of_our_own_models_alone() {
    let own = BTreeMap::from([
        ("architecture", "lenet5"),
        ("classes", r#"["a","b"]"#),
        (
            "preprocessing",
            r#"{"color":"grayscale-bt601","range":[0,1],"resize":"bilinear-antialias","height":28,"width":28}"#,
        ),
    ]);
    let own: BTreeMap<_, _> = own.into_iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let file = model(&lenet5::DESCRIPTION, 2, &own, values).unwrap();
    let found = imported(&file).unwrap();
    assert_eq!((found.metadata, found.notes), (own.clone(), Vec::new()));

    let mut others = Model::decode(&*file).unwrap();
    others.producer_name = "pytorch".to_string();
    let found = imported(&others.encode_to_vec()).unwrap();
    assert_eq!(found.metadata.keys().collect::<Vec<_>>(), ["architecture", "preprocessing"]);
    assert!(found.notes[0].starts_with("the model does not say how an image becomes its input"), "{:?}", found.notes);

    let refused = |key: &str, value: &str, expected: &str| {
        let metadata = own.clone().into_iter().chain([(key.to_string(), value.to_string())]).collect();
        let file = model(&lenet5::DESCRIPTION, 2, &metadata, values).unwrap();
        let error = imported(&file).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused("architecture", "alexnet", "architecture \"alexnet\", its graph is that of \"lenet5\"");
    refused("preprocessing", "{}", "its metadata: ");
    let mut twice = Model::decode(&*file).unwrap();
    twice.metadata_props.push(Entry { key: "classes".to_string(), value: "[]".to_string() });
    let error = imported(&twice.encode_to_vec()).unwrap_err().to_string();
    assert!(error.contains("its metadata have \"classes\" twice"), "{error}");
}

#[test]
fn operators_that_do_the_same_are_read_alike() {
    same(|_| ());
    // What changes nothing, or may stand elsewhere.
    for operator in ["Identity", "Dropout", "Cast"] {
        same(|graph| {
            for behind in ["conv1", "pool1", "linear2.relu", "logits"] {
                insert(graph, behind, operator);
                set_integer(graph.node.last_mut().unwrap(), "to", data_type::FLOAT16.into());
            }
        });
    }
    let found = same(|graph| insert(graph, "logits", "Softmax"));
    assert!(found.notes[0].starts_with("Softmax at the end is left out"), "{:?}", found.notes);
    same(|graph| {
        insert(graph, "pool2", "AveragePool");
        set_integers(graph.node.last_mut().unwrap(), "kernel_shape", &[1, 1]);
    });
    for behind in ["pool1", "pool2", "linear1.flat", "conv1.relu"] {
        same(|graph| insert(graph, behind, "Relu"));
    }
    same(|graph| {
        // Pooling before ReLU.
        node(graph, "pool1").input[0] = "conv1".to_string();
        node(graph, "conv1.relu").input[0] = "pool1".to_string();
        node(graph, "conv2").input[0] = "conv1.relu".to_string();
    });
    // Attributes.
    same(|graph| {
        let conv = node(graph, "conv1");
        conv.attribute.retain(|attribute| {
            attribute.name != "pads" && attribute.name != "kernel_shape" && attribute.name != "group"
        });
        conv.attribute.push(Attribute {
            name: "auto_pad".to_string(),
            s: Some(b"SAME_UPPER".to_vec()),
            ..Attribute::default()
        });
    });
    same(|graph| set_integers(node(graph, "conv2"), "dilations", &[1, 1]));
    // Shapes of vectors.
    for shape in [&[-1, 400][..], &[0, -1], &[1, -1], &[2, 400]] {
        same(|graph| {
            let flat = node(graph, "linear1.flat");
            flat.op_type = "Reshape".to_string();
            flat.input.push("shape".to_string());
            graph.initializer.push(integers("shape", &[2], shape));
        });
    }
    same(|graph| {
        let flat = node(graph, "linear1.flat");
        flat.op_type = "Reshape".to_string();
        flat.input.push("joined".to_string());
        graph.initializer.extend([integers("zero", &[], &[0]), integers("rest", &[1], &[-1])]);
        graph.node.extend([
            made("Shape", "shape", &["pool2"]),
            made("Gather", "images", &["shape", "zero"]),
            made("Unsqueeze", "unsqueezed", &["images", "zero"]),
            made("Concat", "joined", &["unsqueezed", "rest"]),
        ]);
    });
}

#[test]
fn weights_that_are_written_otherwise_are_the_same_bits() {
    same(|graph| transpose_gemm(graph, "linear2"));
    same(|graph| {
        transpose_gemm(graph, "linear1");
        node(graph, "linear1").op_type = "MatMul".to_string();
        add_bias(graph, "linear1", &[1, 120], false);
        add_bias(graph, "conv1", &[6, 1, 1], true);
        add_bias(graph, "conv2", &[1, 16, 1, 1], false);
    });
    // Factors.
    same(|graph| {
        set_real(node(graph, "linear2"), "alpha", 4.0);
        set_real(node(graph, "linear2"), "beta", 0.5);
        for (name, factor) in [("linear2.weight", 0.25), ("linear2.bias", 2.0)] {
            let tensor = tensor(graph, name);
            let values = floats(tensor);
            set(tensor, values.into_iter().map(|value| value * factor));
        }
    });
    // Tensors behind nodes.
    same(|graph| {
        let mut weight = tensor(graph, "linear2.weight").clone();
        transpose(&mut weight);
        weight.name = String::new();
        graph.initializer.retain(|tensor| tensor.name != "linear2.weight");
        let value = Attribute { name: "value".to_string(), t: Some(weight), ..Attribute::default() };
        graph.node.push(Node { attribute: vec![value], ..made("Constant", "stored", &[]) });
        graph.node.push(made("Transpose", "turned", &["stored"]));
        graph.node.push(made("Identity", "linear2.weight", &["turned"]));
    });
    // Old versions of the format list weights among the inputs.
    same(|graph| graph.input.push(Value { name: "conv1.bias".to_string(), kind: None }));
    // Other types.
    let kinds: [(i32, Store, Option<&str>); 5] = [
        (data_type::FLOAT, |tensor, values| tensor.float_data = values, None),
        (
            data_type::DOUBLE,
            |tensor, values| tensor.double_data = values.into_iter().map(f64::from).collect(),
            Some("DOUBLE"),
        ),
        (
            data_type::FLOAT16,
            |tensor, values| tensor.int32_data = values.into_iter().map(|value| i32::from(half(value))).collect(),
            Some("FLOAT16"),
        ),
        (
            data_type::FLOAT16,
            |tensor, values| {
                tensor.raw_data = Some(values.into_iter().flat_map(|value| half(value).to_le_bytes()).collect())
            },
            Some("FLOAT16"),
        ),
        (
            data_type::DOUBLE,
            |tensor, values| {
                tensor.raw_data = Some(values.into_iter().flat_map(|value| f64::from(value).to_le_bytes()).collect())
            },
            Some("DOUBLE"),
        ),
    ];
    for (kind, store, name) in kinds {
        let found = same(|graph| {
            for tensor in &mut graph.initializer {
                let values = floats(tensor);
                (tensor.data_type, tensor.raw_data) = (kind, None);
                store(tensor, values);
            }
        });
        assert_eq!(found.notes.iter().any(|note| note.ends_with("become F32")), name.is_some());
        assert!(name.is_none_or(|name| found.notes[0] == format!("values of {name} become F32")), "{:?}", found.notes);
    }
}

/// A way to store values.
type Store = fn(&mut Tensor, Vec<f32>);

/// The bits of the half-width float of a value that has one.
fn half(value: f32) -> u16 {
    static BITS: LazyLock<HashMap<u32, u16>> =
        LazyLock::new(|| (0..=u16::MAX).map(|bits| (kernels::F16(bits).to_f32().to_bits(), bits)).collect());
    BITS[&value.to_bits()]
}

#[test]
fn a_convolution_without_a_bias_has_one_of_zeros() {
    let found = changed(|graph| {
        node(graph, "conv1").input.pop();
        node(graph, "logits").input.pop();
    });
    let found = found.unwrap();
    assert_eq!(found.values("conv1.bias").unwrap(), [0.0; 6]);
    assert_eq!(found.values("linear3.bias").unwrap(), [0.0; 10]);
}
