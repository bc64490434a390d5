"""The networks for the Python engines: weights and images made from a seed, and each network in the engines' terms."""

from dataclasses import dataclass

import numpy as np

# Of torch.nn.LocalResponseNorm and ONNX, which divide alpha by the number of channels: the paper's 1e-4.
LOCAL_RESPONSE_NORM = {"size": 5, "alpha": 5e-4, "beta": 0.75}
BIAS = 2.0


@dataclass
class Conv:
    """A convolution and ReLU, and what follows."""

    name: str
    filters: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    norm: bool = False
    pool: bool = False


@dataclass
class Network:
    """Convolutions, then linear layers (name, outputs) with ReLU behind all but the last."""

    channels: int
    side: int
    convolutions: list[Conv]
    features: int
    linears: list[tuple[str, int]]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights, in order."""
        shapes, channels, inputs = {}, self.channels, self.features
        for conv in self.convolutions:
            shapes[conv.name] = (conv.filters, channels // conv.groups, conv.kernel, conv.kernel)
            channels = conv.filters
        for name, outputs in self.linears:
            shapes[name] = (outputs, inputs)
            inputs = outputs
        return shapes

    def weights(self, seed: int = 1) -> dict[str, np.ndarray]:
        """Uniform in ±√(6 / fan-in), so that values neither fade nor grow from layer to layer."""
        random = np.random.default_rng(seed)
        tensors = {}
        for name, shape in self.shapes().items():
            bound = (6 / np.prod(shape[1:])) ** 0.5
            tensors[f"{name}.weight"] = random.uniform(-bound, bound, shape).astype(np.float32)
            tensors[f"{name}.bias"] = random.uniform(-0.1, 0.1, shape[0]).astype(np.float32)
        return tensors

    def images(self, batch: int, seed: int = 2) -> np.ndarray:
        """[batch, channels, side, side], 0 to 1."""
        return np.random.default_rng(seed).random((batch, self.channels, self.side, self.side), dtype=np.float32)

    def factors(self, tensors: dict[str, np.ndarray]) -> list[tuple[str, bool]]:
        """Linear layers in order, and whether a ReLU follows. Of the two factors of a layer of low rank, the first has none."""
        names = []
        for name, _ in self.linears:
            two = f"{name}a.weight" in tensors
            names += [(f"{name}a", False), (f"{name}b", True)] if two else [(name, True)]
        return [*names[:-1], (names[-1][0], False)]

    def torch_module(self, tensors: dict[str, np.ndarray]):
        """The network as a module of PyTorch."""
        import torch
        from torch import nn

        layers, channels = [], self.channels
        for conv in self.convolutions:
            layers += [nn.Conv2d(channels, conv.filters, conv.kernel, conv.stride, conv.padding, groups=conv.groups), nn.ReLU()]
            layers += [nn.LocalResponseNorm(**LOCAL_RESPONSE_NORM, k=BIAS)] * conv.norm + [nn.MaxPool2d(3, 2)] * conv.pool
            channels = conv.filters
        layers.append(nn.Flatten())
        factors = self.factors(tensors)
        for name, relu in factors:
            outputs, inputs = tensors[f"{name}.weight"].shape
            layers += [nn.Linear(inputs, outputs)] + [nn.ReLU()] * relu
        module = nn.Sequential(*layers)
        names = [conv.name for conv in self.convolutions] + [name for name, _ in factors]
        with_weights = [layer for layer in layers if isinstance(layer, nn.Conv2d | nn.Linear)]
        for name, layer in zip(names, with_weights, strict=True):
            state = {kind: torch.from_numpy(tensors[f"{name}.{kind}"]) for kind in ("weight", "bias")}
            layer.load_state_dict(state, strict=True)
        return module.eval()

    def onnx_model(self, tensors: dict[str, np.ndarray], batch: int) -> bytes:
        """The same as an ONNX file with a fixed batch."""
        from onnx import TensorProto, checker, helper, numpy_helper

        nodes, value = [], "images"

        def node(kind: str, *parameters: str, **attributes) -> None:
            nonlocal value
            output = f"value{len(nodes)}"
            nodes.append(helper.make_node(kind, [value, *parameters], [output], **attributes))
            value = output

        for conv in self.convolutions:
            window = {"kernel_shape": [conv.kernel] * 2, "strides": [conv.stride] * 2, "pads": [conv.padding] * 4}
            node("Conv", f"{conv.name}.weight", f"{conv.name}.bias", **window, group=conv.groups)
            node("Relu")
            if conv.norm:
                node("LRN", **LOCAL_RESPONSE_NORM, bias=BIAS)
            if conv.pool:
                node("MaxPool", kernel_shape=[3, 3], strides=[2, 2])
        node("Flatten")
        for name, relu in self.factors(tensors):
            node("Gemm", f"{name}.weight", f"{name}.bias", transB=1)
            if relu:
                node("Relu")
        classes = self.linears[-1][1]
        graph = helper.make_graph(
            nodes,
            "alexnet",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, self.channels, self.side, self.side])],
            [helper.make_tensor_value_info(value, TensorProto.FLOAT, [batch, classes])],
            [numpy_helper.from_array(values, name) for name, values in tensors.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        checker.check_model(model)
        return model.SerializeToString()


NETWORKS = {
    "alexnet": Network(
        channels=1,
        side=224,
        convolutions=[
            Conv("conv1", 96, 11, stride=4, padding=1, pool=True),
            Conv("conv2", 256, 5, padding=2, pool=True),
            Conv("conv3", 384, 3, padding=1),
            Conv("conv4", 384, 3, padding=1),
            Conv("conv5", 256, 3, padding=1, pool=True),
        ],
        features=6400,
        linears=[("linear1", 4096), ("linear2", 4096), ("linear3", 10)],
    ),
    "alexnet-imagenet": Network(
        channels=3,
        side=224,
        convolutions=[
            Conv("features.0", 64, 11, stride=4, padding=2, pool=True),
            Conv("features.3", 192, 5, padding=2, pool=True),
            Conv("features.6", 384, 3, padding=1),
            Conv("features.8", 256, 3, padding=1),
            Conv("features.10", 256, 3, padding=1, pool=True),
        ],
        features=9216,
        linears=[("classifier.1", 4096), ("classifier.4", 4096), ("classifier.6", 1000)],
    ),
    "alexnet-2012": Network(
        channels=3,
        side=227,
        convolutions=[
            Conv("conv1", 96, 11, stride=4, norm=True, pool=True),
            Conv("conv2", 256, 5, padding=2, groups=2, norm=True, pool=True),
            Conv("conv3", 384, 3, padding=1),
            Conv("conv4", 384, 3, padding=1, groups=2),
            Conv("conv5", 256, 3, padding=1, groups=2, pool=True),
        ],
        features=9216,
        linears=[("linear1", 4096), ("linear2", 4096), ("linear3", 1000)],
    ),
}
