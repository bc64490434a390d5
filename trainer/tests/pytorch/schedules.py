#!/usr/bin/env python3
"""Prints the factors that trainer/src/training/schedule.rs expects in its tests: PyTorch's schedules at some of the steps
of five epochs of 20 steps. Needs torch."""

import torch

STEPS = [0, 1, 28, 30, 70, 99]
TOTAL = 100
CASES = {
    "one-cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=1.0, total_steps=TOTAL),
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=TOTAL),
    "step": lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=40, gamma=0.5),
}

for name, make in CASES.items():
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = make(optimiser)
    rates = []
    for _ in range(TOTAL):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    print(f"{name}: {[round(rates[step], 6) for step in STEPS]}")
