"""Compares a model that `trainer export --onnx` wrote with PyTorch's network of the same weights, in ONNX Runtime.

    pip install torch==2.9.1 onnx onnxruntime numpy safetensors
    python tests/onnx/export.py runs/lenet5/lenet5.safetensors lenet5.onnx

The weights are AlexNet's or LeNet-5's of ten classes. Logits must agree within 1e-4 of the largest, and the metadata be those of the
weights.
"""

import sys
from pathlib import Path

import numpy
import onnx
import onnxruntime
import torch
from safetensors import safe_open

sys.path.append(str(Path(__file__).parent.parent / "pytorch"))
import networks  # noqa: E402

weights, path = sys.argv[1:]
network = networks.load(weights)
model = onnx.load(path)
onnx.checker.check_model(model, full_check=True)
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
for images in [1, 9]:
    inputs = torch.rand(images, 1, network.side, network.side, generator=torch.Generator().manual_seed(images))
    expected = network(inputs).numpy()
    (found,) = session.run(["logits"], {"image": inputs.numpy()})
    difference = numpy.abs(found - expected).max() / numpy.abs(expected).max()
    print(f"{images} images: logits differ by {difference:.1e} of the largest, {numpy.abs(expected).max():.3g}")
    assert found.shape == expected.shape and difference < 1e-4
with safe_open(weights, "np") as file:
    assert {entry.key: entry.value for entry in model.metadata_props} == (file.metadata() or {})
