"""How fast PyTorch trains an AlexNet on this GPU: prints images a second and the most memory that it took, in MiB.

    python tests/pytorch/cuda_speed.py PRECISION [BATCH] [SECONDS] [DEVICE] [NETWORK]

The same work as the trainer's: bytes of 28 × 28 from the host, or for a network in colour of three channels of 256 × 341 and a
part of them, resized on the GPU, forward, backward and Adam, without reading metrics back. PRECISION is that of the trainer: auto
(TF32 for convolutions only, PyTorch's default), f32, tf32 or bf16 (autocast). Convolutions are channels-last, which is the faster
layout. DEVICE is cuda, or cpu to try the script itself; NETWORK is alexnet, alexnet-imagenet or alexnet-2012.
"""

import sys
import time

import torch
from networks import NETWORKS
from torch.nn.functional import cross_entropy, interpolate


def main() -> None:
    precision = sys.argv[1]
    batch = int(sys.argv[2]) if len(sys.argv) > 2 else 256
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 30.0
    device = sys.argv[4] if len(sys.argv) > 4 else "cuda"
    name = sys.argv[5] if len(sys.argv) > 5 else "alexnet"
    if precision not in ("auto", "f32", "tf32", "bf16"):
        sys.exit(f"expected auto, f32, tf32 or bf16, found {precision}")
    on_gpu = device == "cuda"
    torch.backends.cudnn.allow_tf32 = precision != "f32"
    torch.backends.cuda.matmul.allow_tf32 = precision in ("tf32", "bf16")
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    colour = name != "alexnet"
    size = (3, 256, 341) if colour else (1, 28, 28)
    network = NETWORKS[name](*([10] if colour else [])).to(device, memory_format=torch.channels_last)
    adam = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    images = torch.randint(256, (batch, *size), dtype=torch.uint8)
    labels = torch.randint(10, (batch,))
    if on_gpu:
        images, labels = images.pin_memory(), labels.pin_memory()

    def step() -> None:
        values = images.to(device, non_blocking=True).float() / 255
        if colour:
            # One part for the batch, where torchvision takes one for each image.
            values = values[:, :, 16:216, 30:250]
        values = interpolate(values, (network.side, network.side), mode="bilinear", antialias=True)
        values = values.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            loss = cross_entropy(network(values), labels.to(device, non_blocking=True))
        adam.zero_grad()
        loss.backward()
        adam.step()

    def run(seconds: float) -> float:
        steps, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            for _ in range(10 if on_gpu else 1):
                step()
                steps += 1
            if on_gpu:
                torch.cuda.synchronize()
        return batch * steps / (time.perf_counter() - started)

    run(min(seconds, 5.0))
    speed = run(seconds)
    memory = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else 0
    print(f"{speed:.0f} {memory:.0f}")


if __name__ == "__main__":
    main()
