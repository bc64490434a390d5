"""PyTorch's side of the comparison of training steps, in a process of its own, as training.py starts it:

    python training_engine.py ENGINE FOLDER NETWORK BATCH THREADS STEPS

FOLDER holds alexnet.safetensors, and batches of images and labels, images.f32 and labels.u8, which are taken by turns. It prints
a JSON line with the losses of the first STEPS steps; then, for each number N that it reads, one with the seconds of each of N
further steps and the peak of its memory so far. Dropout is off. `benches/examples/training.rs` speaks the same.
"""

import itertools
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from networks import NETWORKS
from safetensors.numpy import load_file

LEARNING_RATE = 1e-5


def main(engine: str, folder: str, name: str, batch: str, threads: str, steps: str) -> None:
    torch.set_num_threads(int(threads))
    sizes = NETWORKS[name]
    network = sizes.torch_module(load_file(Path(folder, "alexnet.safetensors"))).train()
    images = np.fromfile(Path(folder, "images.f32"), np.float32).reshape(-1, int(batch), sizes.channels, sizes.side, sizes.side)
    labels = np.fromfile(Path(folder, "labels.u8"), np.uint8).reshape(-1, int(batch))
    images, labels = torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))
    images = list(images)
    if engine == "pytorch-channels-last":
        network = network.to(memory_format=torch.channels_last)
        images = [batch.contiguous(memory_format=torch.channels_last) for batch in images]
    # The fastest of PyTorch's ways to make Adam's step on a CPU.
    adam = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)
    cross_entropy = torch.nn.CrossEntropyLoss()
    batches = itertools.cycle(zip(images, labels))

    def step() -> float:
        images, labels = next(batches)
        adam.zero_grad()
        loss = cross_entropy(network(images), labels)
        loss.backward()
        adam.step()
        return loss.item()

    print(json.dumps({"version": torch.__version__, "losses": [step() for _ in range(int(steps))]}), flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - start)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        print(json.dumps({"seconds": seconds, "peak": peak}), flush=True)


main(*sys.argv[1:])
