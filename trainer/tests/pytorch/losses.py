#!/usr/bin/env python3
"""Prints the losses that trainer/tests/pytorch_losses.rs expects: LeNet-5 in PyTorch, 10 steps of Adam with L2
regularisation over one batch, weights and data made by a formula. Needs numpy and torch."""

import numpy as np
import torch
from torch.nn import functional as F

SHAPES = {
    "conv1.weight": (6, 1, 5, 5),
    "conv1.bias": (6,),
    "conv2.weight": (16, 6, 5, 5),
    "conv2.bias": (16,),
    "linear1.weight": (120, 400),
    "linear1.bias": (120,),
    "linear2.weight": (84, 120),
    "linear2.bias": (84,),
    "linear3.weight": (10, 84),
    "linear3.bias": (10,),
}
IMAGES = 48


def wave(count, seed):
    """Values from -0.5 to 0.5 without a pattern that a layer could cancel; exact in f32."""
    i = np.arange(count, dtype=np.uint64)
    return ((i * 7919 + i * i * 104729 + seed * 15485863) % 1009).astype(np.float32) / 1009 - np.float32(0.5)


def weights():
    for seed, (name, shape) in enumerate(SHAPES.items()):
        fan_in = np.prod(shape[1:]) if len(shape) > 1 else 64
        scale = np.float32(4 / np.sqrt(fan_in))
        yield name, torch.from_numpy(wave(np.prod(shape), seed).reshape(shape) * scale).requires_grad_()


def logits(w, x):
    x = F.max_pool2d(F.relu(F.conv2d(x, w["conv1.weight"], w["conv1.bias"], padding=2)), 2)
    x = F.max_pool2d(F.relu(F.conv2d(x, w["conv2.weight"], w["conv2.bias"])), 2).flatten(1)
    x = F.relu(F.linear(x, w["linear1.weight"], w["linear1.bias"]))
    x = F.relu(F.linear(x, w["linear2.weight"], w["linear2.bias"]))
    return F.linear(x, w["linear3.weight"], w["linear3.bias"])


def main():
    i = np.arange(IMAGES * 28 * 28, dtype=np.uint64)
    pixels = ((i * 31 + i * i // 97) % 256).astype(np.float32) / 255
    x = torch.from_numpy(pixels.reshape(IMAGES, 1, 28, 28))
    y = torch.arange(IMAGES) * 7 % 10
    w = dict(weights())
    adam = torch.optim.Adam(w.values(), lr=0.001, weight_decay=0.01)
    for _ in range(10):
        loss = F.cross_entropy(logits(w, x), y)
        print(f"{loss.item():.6f},")
        adam.zero_grad()
        loss.backward()
        adam.step()


main()
