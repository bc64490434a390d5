"""Makes tests/golden/*.json with PyTorch: what the tests of the Rust programs compare with.

    pip install torch==2.9.1 torchvision==0.24.1 numpy safetensors
    python tests/pytorch/golden.py

Weights and inputs come from a formula (networks.py), so that only the results are kept: the logits in f32 and f64, some values
of the gradients of a batch, and torchvision's resize of a formula image at some places.
"""

import json
import sys
from pathlib import Path

import networks
import torch
import torchvision
from torch.nn.functional import cross_entropy
from torchvision.transforms.functional import resize

GOLDEN = Path(__file__).parent.parent / "golden"


def write(name: str, values: dict) -> None:
    values = {"made_by": f"tests/pytorch/{Path(sys.argv[0]).name}, torch {torch.__version__}"} | values
    (GOLDEN / name).write_text(json.dumps(values, indent=1) + "\n")


def network(name: str) -> None:
    module = networks.NETWORKS[name]().eval().requires_grad_(False)
    networks.parameters_by_formula(module)
    image = networks.image_by_formula(module.side)
    write(
        f"{name}.json",
        {
            "parameters": sum(p.numel() for p in module.parameters()),
            "logits_f32": module(image)[0].tolist(),
            "logits_f64": module.double()(image.double())[0].tolist(),
        },
    )


def colour(name: str, brightness: float) -> None:
    """A network for colour images, for 10 classes; `brightness` makes them so bright that normalisation matters."""
    whole = networks.NETWORKS[name]()
    module = networks.NETWORKS[name](num_classes=10).eval()
    networks.parameters_by_formula(module)
    images = networks.image_by_formula(module.side, channels=3, images=2) * brightness
    module.requires_grad_(False)
    logits_f32 = module(images)
    module.double().requires_grad_(True)
    logits_f64 = module(images.double())
    cross_entropy(logits_f64, torch.tensor([3, 8])).backward()
    gradients = {}
    for tensor, parameter in module.named_parameters():
        values = parameter.grad.flatten()
        step = values.numel() // 7
        gradients[tensor] = {
            "largest": values.abs().max().item(),
            "norm": values.norm().item(),
            "step": step,
            "values": values[::step].tolist(),
        }
    write(
        f"{name}.json",
        {
            "parameters": sum(p.numel() for p in whole.parameters()),
            "state_dict": {tensor: list(values.shape) for tensor, values in whole.state_dict().items()},
            "logits_f32": logits_f32.flatten().tolist(),
            "logits_f64": logits_f64.flatten().tolist(),
            "gradients": gradients,
        },
    )


def resizes() -> None:
    cases = []
    for stream, (height, width, side) in enumerate(
        [(28, 28, 224), (28, 28, 28), (480, 640, 224), (61, 300, 224), (300, 61, 28), (1, 1, 28), (225, 223, 224)]
    ):
        image = ((networks.by_formula(2000 + stream, height * width) + 1) / 2).float().reshape(1, height, width)
        resized = resize(image, [side, side], antialias=True).flatten()
        step = max(1, resized.numel() // 97)
        cases.append(
            {"height": height, "width": width, "side": side, "step": step, "values": resized[::step].tolist()}
        )
    write("resize.json", {"torchvision": torchvision.__version__, "cases": cases})


if __name__ == "__main__":
    torch.manual_seed(0)
    GOLDEN.mkdir(exist_ok=True)
    network("alexnet")
    network("lenet5")
    colour("alexnet-imagenet", 1)
    colour("alexnet-2012", 64)
    resizes()
