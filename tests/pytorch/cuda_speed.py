"""How fast PyTorch trains AlexNet on this GPU: a line of Markdown for each way of computing.

    python tests/pytorch/cuda_speed.py [IMAGES A STEP] [STEPS] [DEVICE]

The same work as the trainer's: images from the host, forward, backward and Adam, without reading metrics back. DEVICE is cuda,
or cpu to try the script itself.
"""

import sys
import time

import torch
from networks import AlexNet
from torch.nn.functional import cross_entropy


def images_per_second(device: str, batch: int, steps: int, tf32: bool, autocast: bool, channels_last: bool) -> float:
    on_gpu = device == "cuda"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = AlexNet().to(device, memory_format=layout)
    adam = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    images = torch.rand(batch, 1, 224, 224)
    if on_gpu:
        images = images.pin_memory()
    labels = torch.randint(10, (batch,)).to(device)

    def step():
        batch_images = images.to(device, non_blocking=True).to(memory_format=layout)
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            loss = cross_entropy(network(batch_images), labels)
        adam.zero_grad()
        loss.backward()
        adam.step()

    def finish():
        if on_gpu:
            torch.cuda.synchronize()

    for _ in range(min(steps, 10)):
        step()
    finish()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    finish()
    return batch * steps / (time.perf_counter() - started)


def main() -> None:
    batch = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 50
    device = sys.argv[3] if len(sys.argv) > 3 else "cuda"
    for name, tf32, autocast in [("f32", False, False), ("tf32", True, False), ("bf16", True, True)]:
        for layout in [False, True]:
            speed = images_per_second(device, batch, steps, tf32, autocast, layout)
            memory = "–"
            if device == "cuda":
                memory = f"{torch.cuda.max_memory_allocated() / 2**20:.0f}"
                torch.cuda.reset_peak_memory_stats()
            order = ", channels last" if layout else ""
            print(f"| PyTorch {torch.__version__}{order} | {name} | {speed:.0f} | {memory} |", flush=True)


if __name__ == "__main__":
    main()
