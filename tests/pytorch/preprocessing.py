"""Makes tests/golden/preprocessing.json with torchvision: photographs' way into a network of three channels.

    pip install torch==2.9.1 torchvision==0.24.1 numpy pillow
    python tests/pytorch/preprocessing.py

Images are bytes by the formula of networks.py. Of each, some values are kept: of `Resize` and `CenterCrop` on a tensor in f32 and in
f64, of the same on a Pillow image (its bytes), and, where the sizes are AlexNet's, of the transforms that torchvision ships with
AlexNet's weights, normalisation included.
"""

import networks
import torch
import torchvision
from golden import write
from PIL import Image
from torchvision.models import AlexNet_Weights
from torchvision.transforms import functional

# Height and width of an image, its shorter side after the resize, the side of what is cut out of its centre. Without a shorter side,
# both sides become the last one.
CASES = [
    (375, 500, 256, 224),
    (500, 375, 256, 224),
    (333, 257, 256, 224),
    (768, 1023, 256, 224),
    (256, 300, 256, 224),
    (77, 101, 256, 224),
    (224, 224, 224, 224),
    (91, 57, 32, 28),
    (64, 1001, 32, 28),
    (41, 41, 35, 28),
    (9, 5, 33, 28),
    (29, 30, 28, 28),
    (375, 500, None, 224),
    (31, 45, None, 28),
]


def kept(values: torch.Tensor, step: int) -> list:
    return values.flatten()[::step].tolist()


def case(stream: int, height: int, width: int, short: int | None, side: int) -> dict:
    unit = (networks.by_formula(3000 + stream, height * width * 3) + 1) / 2
    pixels = (unit.double() * 256).floor().clamp(max=255).to(torch.uint8).reshape(height, width, 3)
    size = [side, side] if short is None else [short]

    def transformed(image):
        return functional.center_crop(functional.resize(image, size, antialias=True), [side, side])

    planes = pixels.permute(2, 0, 1)
    step = 3 * side * side // 97
    found = {
        "height": height,
        "width": width,
        "short": short,
        "side": side,
        "step": step,
        "tensor_f32": kept(transformed(planes.float() / 255), step),
        "tensor_f64": kept(transformed(planes.double() / 255), step),
        "pillow": kept(functional.pil_to_tensor(transformed(Image.fromarray(pixels.numpy()))), step),
    }
    if (short, side) == (256, 224):
        preset = AlexNet_Weights.IMAGENET1K_V1.transforms()
        found["normalised"] = kept(preset(planes.float() / 255), step)
    return found


if __name__ == "__main__":
    preset = AlexNet_Weights.IMAGENET1K_V1.transforms()
    write(
        "preprocessing.json",
        {
            "torchvision": torchvision.__version__,
            "mean": preset.mean,
            "std": preset.std,
            "cases": [case(stream, *sizes) for stream, sizes in enumerate(CASES)],
        },
    )
