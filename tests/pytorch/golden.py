"""Makes tests/golden/*.json with PyTorch: what the tests of the Rust programs compare with.

    pip install torch==2.9.1 torchvision==0.24.1 numpy safetensors
    python tests/pytorch/golden.py

Weights and inputs come from a formula (networks.py), so that only the results are kept: the logits in f32 and f64,
and torchvision's resize of a formula image at some places.
"""

import json
import sys
from pathlib import Path

import networks
import torch
import torchvision
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
    for name in networks.NETWORKS:
        network(name)
    resizes()
