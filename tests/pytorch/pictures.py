"""Draws COUNT pictures of 341 × 256 as JPEG files, in ten classes: FOLDER/train/CLASS and FOLDER/test/CLASS, a tenth of them for the test.

    python tests/pytorch/pictures.py FOLDER COUNT

Each has the colour of its class, brighter to one side, under noise. They are for measuring how fast a network in colour is trained.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image


def main() -> None:
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    random = np.random.default_rng(0)
    colours = random.uniform(40, 200, (10, 3))
    slope = np.linspace(-30, 30, 341)[None, :, None]
    noise = random.normal(0, 20, (64, 256, 341, 3))
    for index in range(count):
        name = index % 10
        part = "test" if index % 100 < 10 else "train"
        path = folder / part / str(name) / f"{index:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = colours[name] + slope + noise[index % len(noise)]
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=85)


if __name__ == "__main__":
    main()
