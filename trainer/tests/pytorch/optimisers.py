#!/usr/bin/env python3
"""Prints the weights that trainer/tests/optimisers.rs expects: five steps of each of PyTorch's optimisers on four weights,
with gradients and learning rates made by a formula. Needs torch."""

import torch

WEIGHTS = [-0.5, -0.25, 0.1, 0.75]
CASES = {
    "adam": lambda w: torch.optim.Adam([w], lr=0.0),
    "adam, decay": lambda w: torch.optim.Adam([w], lr=0.0, weight_decay=0.1),
    "adamw": lambda w: torch.optim.AdamW([w], lr=0.0, weight_decay=0.1),
    "sgd": lambda w: torch.optim.SGD([w], lr=0.0),
    "sgd, momentum": lambda w: torch.optim.SGD([w], lr=0.0, momentum=0.9),
    "sgd, momentum, decay": lambda w: torch.optim.SGD([w], lr=0.0, momentum=0.9, weight_decay=0.1),
    "adam, clipped": lambda w: torch.optim.Adam([w], lr=0.0),
    "sgd, clipped": lambda w: torch.optim.SGD([w], lr=0.0, momentum=0.9),
}


def gradient(step):
    """No two alike, of both signs, one tiny and one zero; the norm is above 1 in some steps and below in others."""
    return torch.tensor([0.3 * (step % 3) - 0.5, 1e-6 * step, 0.0, 1.5 - 0.4 * step])


for name, make in CASES.items():
    weight = torch.tensor(WEIGHTS, requires_grad=True)
    optimiser = make(weight)
    for step in range(5):
        for group in optimiser.param_groups:
            group["lr"] = 0.01 * (step + 1)
        weight.grad = gradient(step)
        if name.endswith("clipped"):
            torch.nn.utils.clip_grad_norm_([weight], 1.0)
        optimiser.step()
    print(f"{name}: {[round(value, 7) for value in weight.tolist()]}")
