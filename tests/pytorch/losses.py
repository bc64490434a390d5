#!/usr/bin/env python3
"""Prints the losses that tests/tests/losses.rs expects: LeNet-5 in PyTorch, 10 steps of Adam with L2
regularisation over one batch, weights and data made by a formula. Needs numpy and torch."""

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from networks import LeNet5

IMAGES = 48


def wave(count, seed):
    """Values from -0.5 to 0.5 without a pattern that a layer could cancel; exact in f32."""
    i = np.arange(count, dtype=np.uint64)
    return ((i * 7919 + i * i * 104729 + seed * 15485863) % 1009).astype(np.float32) / 1009 - np.float32(0.5)


def fill(network):
    with torch.no_grad():
        for seed, parameter in enumerate(network.parameters()):
            fan_in = parameter[0].numel() if parameter.dim() > 1 else 64
            scale = np.float32(4 / np.sqrt(fan_in))
            parameter.copy_(torch.from_numpy(wave(parameter.numel(), seed) * scale).reshape(parameter.shape))


def main():
    i = np.arange(IMAGES * 28 * 28, dtype=np.uint64)
    pixels = ((i * 31 + i * i // 97) % 256).astype(np.float32) / 255
    x = torch.from_numpy(pixels.reshape(IMAGES, 1, 28, 28))
    y = torch.arange(IMAGES) * 7 % 10
    network = LeNet5()
    fill(network)
    adam = torch.optim.Adam(network.parameters(), lr=0.001, weight_decay=0.01)
    for _ in range(10):
        loss = cross_entropy(network(x), y)
        print(f"{loss.item():.6f},")
        adam.zero_grad()
        loss.backward()
        adam.step()


main()
