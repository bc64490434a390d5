"""Fashion-MNIST for the comparison of int8 networks: images as AlexNet's inputs, and their labels."""

import gzip
from pathlib import Path

import numpy as np

SIDE = 224
# Where Debian's and Ubuntu's package `dataset-fashion-mnist` puts it.
FOLDER = Path("/usr/share/datasets/fashion-mnist")


def idx(folder: Path, name: str) -> np.ndarray:
    """The bytes of an IDX file, which may be gzipped, in their shape."""
    path = folder / name
    data = path.read_bytes() if path.exists() else gzip.decompress(path.with_name(f"{name}.gz").read_bytes())
    rank = data[3]
    shape = np.frombuffer(data, ">u4", rank, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def enlargement(side: int) -> np.ndarray:
    """[SIDE, side], the weights of bilinear interpolation of a row of pixels, whose centres are at halves."""
    at = np.clip((np.arange(SIDE) + 0.5) * side / SIDE - 0.5, 0, side - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(side))).astype(np.float32)


def inputs(images: np.ndarray, preprocessing: dict) -> np.ndarray:
    """[count, 1, SIDE, SIDE] from [count, side, side] bytes, by the `preprocessing` of a weights file's metadata."""
    rows = enlargement(images.shape[1])
    values = rows @ (images.astype(np.float32) / 255) @ rows.T
    if "mean" in preprocessing:
        values = (values - np.float32(preprocessing["mean"])) / np.float32(preprocessing["std"])
    return values[:, None].astype(np.float32)


def test(folder: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` test images and their labels."""
    return idx(folder, "t10k-images-idx3-ubyte")[:count], idx(folder, "t10k-labels-idx1-ubyte")[:count]


def calibration(folder: Path, count: int, seed: int = 3) -> np.ndarray:
    """`count` training images, chosen at random."""
    images = idx(folder, "train-images-idx3-ubyte")
    return images[np.sort(np.random.default_rng(seed).choice(len(images), count, replace=False))]
