"""The networks as PyTorch modules, with the tensor names of the weights files."""

import torch
import torchvision
from torch import nn
from torch.nn.functional import max_pool2d, relu


class AlexNet(nn.Module):
    """1x224x224 to 10 logits, as in Dive into Deep Learning, section 8.1."""

    side = 224

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 96, 11, stride=4, padding=1)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1)
        self.linear1 = nn.Linear(6400, 4096)
        self.linear2 = nn.Linear(4096, 4096)
        self.linear3 = nn.Linear(4096, 10)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        x = max_pool2d(relu(self.conv1(x)), 3, 2)
        x = max_pool2d(relu(self.conv2(x)), 3, 2)
        x = relu(self.conv3(x))
        x = relu(self.conv4(x))
        x = max_pool2d(relu(self.conv5(x)), 3, 2)
        x = self.dropout(relu(self.linear1(x.flatten(1))))
        x = self.dropout(relu(self.linear2(x)))
        return self.linear3(x)


class AlexNetImageNet(torchvision.models.AlexNet):
    """3x224x224 to 1,000 logits: torchvision's own."""

    side = 224

    def __init__(self, num_classes=1000):
        super().__init__(num_classes)


class AlexNet2012(nn.Module):
    """3x227x227 to 1,000 logits, in two streams, as in the paper."""

    side = 227

    def __init__(self, num_classes=1000):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 11, stride=4)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.linear1 = nn.Linear(9216, 4096)
        self.linear2 = nn.Linear(4096, 4096)
        self.linear3 = nn.Linear(4096, num_classes)
        # PyTorch divides alpha by the number of channels, the paper does not.
        self.norm = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        x = max_pool2d(self.norm(relu(self.conv1(x))), 3, 2)
        x = max_pool2d(self.norm(relu(self.conv2(x))), 3, 2)
        x = relu(self.conv3(x))
        x = relu(self.conv4(x))
        x = max_pool2d(relu(self.conv5(x)), 3, 2)
        x = self.dropout(relu(self.linear1(x.flatten(1))))
        x = self.dropout(relu(self.linear2(x)))
        return self.linear3(x)


class LeNet5(nn.Module):
    """1x28x28 to 10 logits."""

    side = 28

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.linear1 = nn.Linear(400, 120)
        self.linear2 = nn.Linear(120, 84)
        self.linear3 = nn.Linear(84, 10)

    def forward(self, x):
        x = max_pool2d(relu(self.conv1(x)), 2)
        x = max_pool2d(relu(self.conv2(x)), 2)
        x = relu(self.linear1(x.flatten(1)))
        x = relu(self.linear2(x))
        return self.linear3(x)


NETWORKS = {"alexnet": AlexNet, "alexnet-imagenet": AlexNetImageNet, "alexnet-2012": AlexNet2012, "lenet5": LeNet5}


def load(path: str, architecture: str | None = None) -> nn.Module:
    """The network of a weights file, its tensors loaded strictly."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    if architecture is None:
        with safe_open(path, "pt") as file:
            # PyTorch's own files say nothing: only AlexNet has a third convolution.
            guess = "alexnet" if "conv3.weight" in file.keys() else "lenet5"
            architecture = (file.metadata() or {}).get("architecture", guess)
    tensors = load_file(path)
    classes = {} if architecture in ("alexnet", "lenet5") else {"num_classes": len(list(tensors.values())[-1])}
    network = NETWORKS[architecture](**classes)
    network.load_state_dict(tensors, strict=True)
    return network.eval().requires_grad_(False)


def parameters_by_formula(network: nn.Module) -> None:
    """Fills the network with the values that `tests/src/formula.rs` makes as well."""
    with torch.no_grad():
        for index, parameter in enumerate(network.parameters()):
            fan_in = parameter[0].numel()
            scale = (6 / fan_in) ** 0.5 if parameter.dim() > 1 else 0.1
            values = by_formula(index, parameter.numel()) * scale
            parameter.copy_(values.float().reshape(parameter.shape))


def image_by_formula(side: int, channels: int = 1, images: int = 1) -> torch.Tensor:
    """IMAGESxCHANNELSxSIDExSIDE, values 0 to 1."""
    return ((by_formula(1000, images * channels * side * side) + 1) / 2).float().reshape(images, channels, side, side)


def by_formula(stream: int, count: int) -> torch.Tensor:
    """`count` values from -1 to 1 in f64: splitmix64 of the position, its upper 24 bits."""
    import numpy

    with numpy.errstate(over="ignore"):
        z = numpy.arange(1, count + 1, dtype=numpy.uint64) + numpy.uint64(stream << 32)
        z = z * numpy.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        z = z ^ (z >> numpy.uint64(31))
    return torch.from_numpy((z >> numpy.uint64(40)).astype(numpy.float64) / 2**23 - 1)
