"""Compares weights that `trainer import` makes of ONNX models with these models in ONNX Runtime.

    pip install torch==2.9.1 torchvision==0.24.1 onnx onnxscript onnxruntime numpy safetensors
    cargo build --release -p alexnet-trainer
    python tests/onnx/import.py [target/release/trainer]

The models are torchvision's AlexNet and LeNet-5 with random weights, written by both of PyTorch's exporters, with other weights,
types and operators. The imported weights, in PyTorch's module, must give the logits of ONNX Runtime within 1e-5, and those of
models that our own exporter writes of them must be the same bits.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper
from safetensors.numpy import load_file
from torch import nn

sys.path.append(str(Path(__file__).parent.parent / "pytorch"))
import networks  # noqa: E402

TRAINER = sys.argv[1] if len(sys.argv) > 1 else "target/release/trainer"


class Written(networks.LeNet5):
    """LeNet-5 as people write it: other operators, the same function."""

    def forward(self, x):
        x = torch.relu(nn.functional.max_pool2d(self.conv1(x), 2))
        x = torch.relu(nn.functional.max_pool2d(self.conv2(x), 2))
        x = x.view(-1, 400) @ self.linear1.weight.T + self.linear1.bias
        x = self.linear2(nn.functional.dropout(torch.relu(x), training=self.training))
        return self.linear3(torch.relu(x))


def export(module: nn.Module, path: Path, channels: int, dynamo: bool, **options) -> None:
    images = torch.zeros(2, channels, module.side, module.side)
    if dynamo:
        shapes = ({0: torch.export.Dim("images")},)
        torch.onnx.export(module, (images,), path, dynamo=True, external_data=False, verbose=False, dynamic_shapes=shapes, **options)
    else:
        names = {"input_names": ["image"], "dynamic_axes": {"image": {0: "images"}}}
        torch.onnx.export(module, (images,), path, dynamo=False, **names, **options)


def in_half(path: Path) -> None:
    """Makes weights FLOAT16, each behind a Cast, as converters do."""
    model = onnx.load(path)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            name = tensor.name
            half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(numpy.float16), f"{name}.half")
            tensor.CopyFrom(half)
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)


def compare(name: str, path: Path, module: nn.Module, channels: int) -> None:
    weights, again = path.with_suffix(".safetensors"), path.with_suffix(".again.onnx")
    subprocess.run([TRAINER, "import", "--quiet", "--force", path, "-o", weights], check=True)
    tensors = load_file(weights)
    module.load_state_dict({key: torch.from_numpy(value) for key, value in tensors.items()}, strict=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = torch.rand(3, channels, module.side, module.side, generator=torch.Generator().manual_seed(3))
    (expected,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with torch.no_grad():
        found = module(images).numpy()
    difference = numpy.abs(found - expected).max()
    print(f"{name}: logits differ by {difference:.1e}, the largest is {numpy.abs(expected).max():.3g}")
    assert difference < 1e-5 * min(1, numpy.abs(expected).max())
    subprocess.run([TRAINER, "export", "--quiet", "--force", weights, "--onnx", again], check=True)
    written = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(again).graph.initializer}
    assert written.keys() == tensors.keys()
    assert all(written[key].tobytes() == value.tobytes() for key, value in tensors.items())


def main() -> None:
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for dynamo in (False, True):
            for module, channels in ((networks.LeNet5(), 1), (Written(), 1), (networks.AlexNetImageNet(7), 3), (networks.AlexNet(), 1)):
                name = f"{type(module).__name__}-{'dynamo' if dynamo else 'script'}"
                path = folder / f"{name}.onnx"
                export(module.eval(), path, channels, dynamo)
                compare(name, path, module, channels)
                if channels == 1 and module.side == 28:
                    in_half(path)
                    compare(f"{name}, FLOAT16", path, module, channels)
                path.unlink()
        # Operator sets that older exporters write.
        for operators in (9, 13, 17):
            path = folder / "old.onnx"
            export(networks.LeNet5().eval(), path, 1, False, opset_version=operators)
            compare(f"LeNet5, operator set {operators}", path, networks.LeNet5().eval(), 1)
            for file in folder.iterdir():
                file.unlink()


if __name__ == "__main__":
    main()
