"""Prints what torchvision makes of nine pixels, for the test of `trainer/src/data/colour.rs`.

    pip install torch==2.9.1 torchvision==0.24.1 numpy
    python trainer/tests/pytorch/colours.py
"""

import torch
from torchvision.transforms import functional

PIXELS = [
    (0, 0, 0), (255, 255, 255), (255, 0, 0), (10, 200, 30), (12, 34, 250), (90, 90, 90), (250, 240, 10), (130, 7, 99), (3, 180, 181),
]

CHANGES = [
    [("brightness", 0.6)],
    [("brightness", 1.4)],
    [("contrast", 0.5)],
    [("contrast", 1.7)],
    [("saturation", 0.3)],
    [("saturation", 1.8)],
    [("hue", 0.1)],
    [("hue", -0.45)],
    [("hue", 0.25), ("contrast", 1.3), ("saturation", 0.7), ("brightness", 1.2)],
]

image = torch.tensor(PIXELS).T.reshape(3, 3, 3).float() / 255
for change in CHANGES:
    changed = image
    for name, factor in change:
        changed = getattr(functional, f"adjust_{name}")(changed, factor)
    steps = ", ".join(f"Step::{name.capitalize()}({factor})" for name, factor in change)
    print(f"(&[{steps}], [{', '.join(f'{value:.6}' for value in changed.flatten().tolist())}]),")
