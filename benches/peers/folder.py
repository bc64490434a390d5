"""Runs the comparison that `folder` sets up, and PyTorch's side of it, each in a process of its own."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from networks import NETWORKS
from inference import cpu
from safetensors.numpy import load_file, save_file

NETWORK = "alexnet-imagenet"
# Others are copies of these.
ORIGINALS = 64
BATCH = 32
WORKERS = 2


def draw(folder: Path, count: int, height: int = 375, width: int = 500) -> None:
    """JPEG files of discs and noise before a sky, which weigh about as much as photographs of that size."""
    from PIL import Image

    y, x = np.mgrid[0:height, 0:width]
    for number in range(count):
        path = folder / f"{number:06}.jpg"
        if number >= ORIGINALS:
            path.write_bytes((folder / f"{number % ORIGINALS:06}.jpg").read_bytes())
            continue
        random = np.random.default_rng(number)
        picture = random.uniform(60, 200, 3) + (y[..., None] / height - 0.5) * random.uniform(-150, 150, 3)
        for _ in range(30):
            centre, radius = random.uniform(0, [height, width]), random.uniform(5, 80)
            picture[np.hypot(y - centre[0], x - centre[1]) < radius] = random.uniform(0, 255, 3)
        picture += random.normal(0, 6, picture.shape)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def pytorch(folder: str, weights: str, with_network: bool) -> None:
    """Prints the seconds of one way through the folder, start of the workers included, and the classes."""
    import torch
    from PIL import Image
    from torchvision.models import AlexNet_Weights, alexnet

    torch.set_num_threads(WORKERS)
    network = alexnet()
    network.load_state_dict({name: torch.from_numpy(values) for name, values in load_file(weights).items()})
    network.eval().to(memory_format=torch.channels_last)
    transform = AlexNet_Weights.IMAGENET1K_V1.transforms()
    paths = sorted(Path(folder).iterdir())

    class Photographs(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, place: int):
            return transform(Image.open(paths[place]).convert("RGB"))

    start = time.perf_counter()
    classes = []
    loader = torch.utils.data.DataLoader(Photographs(), batch_size=BATCH, num_workers=WORKERS, prefetch_factor=4)
    with torch.inference_mode():
        for images in loader:
            if with_network:
                logits = network(images.to(memory_format=torch.channels_last))
                classes += logits.argmax(1).tolist()
    print(json.dumps({"seconds": time.perf_counter() - start, "classes": classes}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--infer-cli", help=argparse.SUPPRESS)
    parser.add_argument("--rust", help=argparse.SUPPRESS)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of both programs, one after the other")
    parser.add_argument("--cpus", nargs="+", type=int, help="two CPUs to run on, the last ones by default")
    parser.add_argument("--pytorch", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.pytorch:
        folder, weights, with_network = arguments.pytorch
        return pytorch(folder, weights, with_network == "all")
    cpus = arguments.cpus or sorted(os.sched_getaffinity(0), reverse=True)[:WORKERS]
    pinned = ["taskset", "-c", ",".join(map(str, cpus))]

    with tempfile.TemporaryDirectory() as temporary:
        folder, weights = Path(temporary, "photographs"), Path(temporary, "weights.safetensors")
        folder.mkdir()
        draw(folder, arguments.images)
        save_file(NETWORKS[NETWORK].weights(), weights)
        size = sum(path.stat().st_size for path in folder.iterdir()) / arguments.images
        print(f"{NETWORK}; {cpu()}; CPUs {cpus}; {arguments.images} JPEG files of 500×375, {size / 1e3:.0f} kB each")

        def ours() -> tuple[float, list[int]]:
            records = Path(temporary, "records.jsonl")
            command = [arguments.infer_cli, "classify", "--threads", str(len(cpus)), "--weights", weights, "--format", "jsonl"]
            start = time.perf_counter()
            subprocess.run([*pinned, *command, "--output", records, folder], check=True)
            seconds = time.perf_counter() - start
            return seconds, [json.loads(line)["class"] for line in records.read_text().splitlines()]

        def prepared() -> tuple[float, list[int]]:
            command = [arguments.rust, "prepare", folder, NETWORK, str(len(cpus))]
            return json.loads(subprocess.run([*pinned, *command], check=True, capture_output=True).stdout)["seconds"], []

        def theirs(part: str) -> tuple[float, list[int]]:
            command = [sys.executable, __file__, "--pytorch", folder, weights, part]
            answer = json.loads(subprocess.run([*pinned, *command], check=True, capture_output=True).stdout)
            return answer["seconds"], answer["classes"]

        programs = {
            "infer-cli": ours,
            "PyTorch": lambda: theirs("all"),
            "infer-cli's decoding and resize alone": prepared,
            "DataLoader alone": lambda: theirs("images"),
        }
        seconds, classes = {name: [] for name in programs}, {}
        for _ in range(arguments.rounds):
            for name, program in programs.items():
                passed, classes[name] = program()
                seconds[name].append(passed)
        same = np.mean(np.array(classes["infer-cli"]) == np.array(classes["PyTorch"]))
        print(f"the same class of {100 * same:.1f} % (Pillow's resize rounds to bytes)")
        if same < 0.9:
            sys.exit("they do not agree")
        print("\n| program | images/s, median | best |\n|---|---|---|")
        for name, values in seconds.items():
            rates = [arguments.images / value for value in (statistics.median(values), min(values))]
            print(f"| {name} | {rates[0]:.0f} | {rates[1]:.0f} |")


if __name__ == "__main__":
    main()
