"""Makes tests/golden/lenet5-*.onnx with both of PyTorch's exporters, and lenet5-onnx.json with ONNX Runtime's logits: what the
test of `trainer import` compares with.

    pip install torch==2.9.1 torchvision==0.24.1 onnx onnxscript onnxruntime numpy safetensors
    python tests/pytorch/models.py

The weights are those of the formula (networks.py) for ten classes. The modules differ as people's do: the order of ReLU and
max-pooling, how maps become a vector, what stands at the end.
"""

import networks
import onnx
import onnxruntime
import torch
from golden import GOLDEN, write
from torch.nn.functional import log_softmax, max_pool2d, relu


class Written(networks.LeNet5):
    """Pooling before ReLU, a vector of a size that is computed, and the logarithm of probabilities."""

    def logits(self, x):
        x = relu(max_pool2d(self.conv1(x), 2))
        x = relu(max_pool2d(self.conv2(x), 2))
        x = relu(self.linear1(x.view(x.size(0), -1)))
        return self.linear3(relu(self.linear2(x)))

    def forward(self, x):
        return log_softmax(self.logits(x), dim=1)


def strip(path) -> None:
    """Takes out the traces of the program that made a model, which name the folders of the machine."""
    model = onnx.load(path)
    for part in [*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer, model.graph]:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.save(model, path)


def main() -> None:
    image = networks.image_by_formula(28)
    modules = {"script": Written(), "dynamo": networks.LeNet5()}
    values = {}
    for name, module in modules.items():
        networks.parameters_by_formula(module.eval())
        path = GOLDEN / f"lenet5-{name}.onnx"
        if name == "script":
            torch.onnx.export(module, (image,), path, dynamo=False, input_names=["image"], dynamic_axes={"image": {0: "images"}})
        else:
            images = torch.cat([image, image])
            shapes = ({0: torch.export.Dim("images")},)
            torch.onnx.export(module, (images,), path, dynamo=True, external_data=False, dynamic_shapes=shapes, verbose=False)
        strip(path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        values[name] = found[0].tolist()
    write("lenet5-onnx.json", {"onnxruntime": onnxruntime.__version__} | values)


if __name__ == "__main__":
    main()
