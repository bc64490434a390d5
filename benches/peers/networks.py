"""AlexNet for the Python engines: weights and images made from a seed, and the network in each engine's terms."""

import numpy as np

CONVOLUTIONS = {  # name: (filters, channels, kernel, stride, padding, followed by a pool)
    "conv1": (96, 1, 11, 4, 1, True),
    "conv2": (256, 96, 5, 1, 2, True),
    "conv3": (384, 256, 3, 1, 1, False),
    "conv4": (384, 384, 3, 1, 1, False),
    "conv5": (256, 384, 3, 1, 1, True),
}
LINEARS = {"linear1": (4096, 6400), "linear2": (4096, 4096), "linear3": (10, 4096)}


def weights(seed: int = 1) -> dict[str, np.ndarray]:
    """Uniform in ±√(6 / fan-in), so that values neither fade nor grow from layer to layer."""
    random = np.random.default_rng(seed)
    shapes = {name: (f, c, k, k) for name, (f, c, k, *_) in CONVOLUTIONS.items()} | LINEARS
    tensors = {}
    for name, shape in shapes.items():
        bound = (6 / np.prod(shape[1:])) ** 0.5
        tensors[f"{name}.weight"] = random.uniform(-bound, bound, shape).astype(np.float32)
        tensors[f"{name}.bias"] = random.uniform(-0.1, 0.1, shape[0]).astype(np.float32)
    return tensors


def images(batch: int, seed: int = 2) -> np.ndarray:
    """[batch, 1, 224, 224], 0 to 1."""
    return np.random.default_rng(seed).random((batch, 1, 224, 224), dtype=np.float32)


def linears(tensors: dict[str, np.ndarray]) -> list[tuple[str, bool]]:
    """Linear layers in order, and whether a ReLU follows. Of the two factors of a layer of low rank, the first has none."""
    names = sorted(name.removesuffix(".weight") for name in tensors if name.startswith("linear") and name.endswith(".weight"))
    return [(name, name != names[-1] and not name.endswith("a")) for name in names]


def torch_module(tensors: dict[str, np.ndarray]):
    import torch
    from torch import nn

    layers = {}
    for name, (filters, channels, kernel, stride, padding, pool) in CONVOLUTIONS.items():
        layers[name] = nn.Conv2d(channels, filters, kernel, stride, padding)
        layers[f"{name}_relu"] = nn.ReLU()
        if pool:
            layers[f"{name}_pool"] = nn.MaxPool2d(3, 2)
    layers["flatten"] = nn.Flatten()
    for name, relu in linears(tensors):
        outputs, inputs = tensors[f"{name}.weight"].shape
        layers[name] = nn.Linear(inputs, outputs)
        if relu:
            layers[f"{name}_relu"] = nn.ReLU()
    module = nn.Sequential()
    for name, layer in layers.items():
        module.add_module(name, layer)
    module.load_state_dict({name: torch.from_numpy(values) for name, values in tensors.items()}, strict=True)
    return module.eval()


def onnx_model(tensors: dict[str, np.ndarray], batch: int) -> bytes:
    """The same as an ONNX file with a fixed batch."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes, value = [], "images"

    def node(kind: str, *parameters: str, **attributes) -> None:
        nonlocal value
        output = f"value{len(nodes)}"
        nodes.append(helper.make_node(kind, [value, *parameters], [output], **attributes))
        value = output

    for name, (_, _, kernel, stride, padding, pool) in CONVOLUTIONS.items():
        node("Conv", f"{name}.weight", f"{name}.bias", kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[padding] * 4)
        node("Relu")
        if pool:
            node("MaxPool", kernel_shape=[3, 3], strides=[2, 2])
    node("Flatten")
    for name, relu in linears(tensors):
        node("Gemm", f"{name}.weight", f"{name}.bias", transB=1)
        if relu:
            node("Relu")
    graph = helper.make_graph(
        nodes,
        "alexnet",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 1, 224, 224])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, [batch, 10])],
        [numpy_helper.from_array(values, name) for name, values in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    checker.check_model(model)
    return model.SerializeToString()
