"""LeNet-5 in numpy, in double precision: weights made from a seed, their file, and the expected logits."""

import json
from pathlib import Path

import numpy as np

CONVOLUTIONS = {"conv1": ((6, 1, 5, 5), 2), "conv2": ((16, 6, 5, 5), 0)}  # shape and padding
LINEARS = {"linear1": (120, 400), "linear2": (84, 120), "linear3": (10, 84)}


def tensors(seed: int = 1) -> dict[str, np.ndarray]:
    """Uniform in ±√(6 / fan-in), so that logits are of order 1."""
    random = np.random.default_rng(seed)
    made = {}
    for name, shape in ({name: shape for name, (shape, _) in CONVOLUTIONS.items()} | LINEARS).items():
        bound = (6 / np.prod(shape[1:])) ** 0.5
        made[f"{name}.weight"] = random.uniform(-bound, bound, shape).astype(np.float32)
        made[f"{name}.bias"] = random.uniform(-0.1, 0.1, shape[0]).astype(np.float32)
    return made


def save(path: Path) -> None:
    """A safetensors file."""
    header, data = {}, b""
    for name, values in tensors().items():
        end = len(data) + values.nbytes
        header[name] = {"dtype": "F32", "shape": values.shape, "data_offsets": [len(data), end]}
        data += values.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def logits(inputs: np.ndarray) -> np.ndarray:
    """[batch, classes] of [batch, channels, height, width]."""
    weights = {name: values.astype(np.float64) for name, values in tensors().items()}
    values = inputs.astype(np.float64)
    for name, (shape, padding) in CONVOLUTIONS.items():
        values = np.pad(values, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
        windows = np.lib.stride_tricks.sliding_window_view(values, shape[2:], (2, 3))
        values = np.einsum("bchwij,fcij->bfhw", windows, weights[f"{name}.weight"], optimize=True)
        values = np.maximum(values + weights[f"{name}.bias"][:, None, None], 0)
        batch, channels, height, width = values.shape
        values = values.reshape(batch, channels, height // 2, 2, width // 2, 2).max((3, 5))
    values = values.reshape(len(values), -1)
    for name in LINEARS:
        values = values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        values = values if name == "linear3" else np.maximum(values, 0)
    return values
