"""Makes tests/photos/*.jpg and tests/golden/photos.json with Pillow and torchvision: photographs' whole way to classes.

    pip install torch==2.9.1 torchvision==0.24.1 numpy pillow
    python tests/pytorch/photos.py

The photographs are drawn: a sky, hills, discs, and noise as a camera's sensor has it. Each is a JPEG file of another kind. Kept
are a sum of the decoded pixels, and of each network for colours, with weights by the formula of networks.py and 10 classes, logits
and probabilities. They come by torchvision's transforms of a tensor, and, for torchvision's network, by those of a Pillow image too,
which are the ones that it ships with the network's weights.
"""

import zlib
from pathlib import Path

import networks
import numpy as np
import torch
import torchvision
from golden import write
from PIL import Image, features
from torchvision.models import AlexNet_Weights
from torchvision.transforms import functional

PHOTOS = Path(__file__).parent.parent / "photos"
# Name, height and width, mode, and how Pillow writes the file.
KINDS = [
    ("baseline", 375, 500, "RGB", {"quality": 85}),
    ("progressive", 500, 375, "RGB", {"quality": 75, "progressive": True, "subsampling": "4:4:4"}),
    ("gray", 257, 301, "L", {"quality": 90}),
    ("wide", 240, 641, "RGB", {"quality": 60, "subsampling": "4:2:2", "optimize": True}),
]


def draw(seed: int, height: int, width: int) -> np.ndarray:
    """Bytes, height by width by 3."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / min(height, width)
    sky = random.uniform(60, 220, 3)
    picture = sky + (y[..., None] - 0.5) * random.uniform(-120, 120, 3)
    for _ in range(3):
        ridge = random.uniform(0.4, 0.9) + 0.12 * np.sin(random.uniform(3, 12) * x + random.uniform(0, 6))
        picture[y > ridge] = random.uniform(20, 160, 3)
    for _ in range(6):
        centre, radius = random.uniform(0, [y.max(), x.max()]), random.uniform(0.05, 0.2)
        inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
        shade = 1 - (y - centre[0]) / radius / 3
        picture[inside] = (random.uniform(40, 250, 3) * shade[..., None])[inside]
    picture = picture + random.normal(0, 4, picture.shape)
    return picture.round().clip(0, 255).astype(np.uint8)


def result(module: torch.nn.Module, image: torch.Tensor) -> dict:
    logits = module.double()(image.double()[None])[0]
    return {"logits": logits.tolist(), "probabilities": logits.softmax(0).tolist()}


def photo(path: Path, imagenet: torch.nn.Module, original: torch.nn.Module) -> dict:
    image = Image.open(path)
    pixels = functional.pil_to_tensor(image.convert("RGB"))
    preset = AlexNet_Weights.IMAGENET1K_V1.transforms()
    tensor = pixels.double() / 255
    square = functional.resize(tensor, [original.side, original.side], antialias=True)
    return {
        "name": path.name,
        "height": image.height,
        "width": image.width,
        "crc32": zlib.crc32(pixels.permute(1, 2, 0).contiguous().numpy().tobytes()),
        "alexnet-imagenet": {
            "tensor": result(imagenet, preset(tensor)),
            "pillow": result(imagenet, preset(image.convert("RGB"))),
        },
        "alexnet-2012": {"tensor": result(original, (square - 0.45) / 0.25)},
    }


def main() -> None:
    PHOTOS.mkdir(exist_ok=True)
    modules = []
    for name in ("alexnet-imagenet", "alexnet-2012"):
        module = networks.NETWORKS[name](num_classes=10).eval().requires_grad_(False)
        networks.parameters_by_formula(module)
        modules.append(module)
    photos = []
    for seed, (name, height, width, mode, options) in enumerate(KINDS):
        path = PHOTOS / f"{name}.jpg"
        Image.fromarray(draw(seed, height, width)).convert(mode).save(path, **options)
        photos.append(photo(path, *modules))
    decoder = f"Pillow {Image.__version__}, libjpeg-turbo {features.version('libjpeg_turbo')}"
    write("photos.json", {"torchvision": torchvision.__version__, "decoder": decoder, "photos": photos})


if __name__ == "__main__":
    main()
