"""Runs the comparison that `training` sets up."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from networks import NETWORKS, Network
from inference import cpu
from safetensors.numpy import save_file

HERE = Path(__file__).parent
OURS = "trainer"
RIVALS = ["pytorch", "pytorch-channels-last"]
# Batches, by turns.
BATCHES = 4
# Largest difference of a loss from that of the first engine, as a share of it. Adam's first steps have a size that does not depend
# on the gradient's, so that they carry the rounding of gradients near 0 on at full size: PyTorch's own two layouts come to
# differ by 2e-3 in 20 steps.
TOLERANCE = 1e-2


class Engine:
    """An engine in a process of its own, on the first `threads` of the CPUs given."""

    def __init__(self, name: str, folder: str, arguments) -> None:
        self.name = name
        program = [arguments.rust] if name == OURS else [sys.executable, str(HERE / "training_engine.py"), name]
        threads = str(arguments.threads)
        cpus = ",".join(map(str, arguments.cpus[: arguments.threads]))
        task = [folder, arguments.network, str(arguments.batch), threads, str(arguments.losses)]
        command = ["taskset", "-c", cpus, *program, *task]
        environment = os.environ | {"OMP_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        first = self.read()
        self.version, self.losses = first["version"], first["losses"]
        self.seconds: list[float] = []
        self.peak = 0.0

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended without an answer")
        return json.loads(line)

    def run(self, steps: int) -> None:
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        answer = self.read()
        # The first step after another engine's finds nothing of its own in the cache.
        self.seconds += answer["seconds"][1:]
        self.peak = answer["peak"]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def write_task(folder: str, network: Network, batch: int) -> None:
    """Weights, and images with a pattern of their class under noise, so that there is something to learn. Ten classes of those
    that the network has, the same values in all channels."""
    save_file(network.weights(), Path(folder, "alexnet.safetensors"))
    random = np.random.default_rng(3)
    patterns = random.random((10, 14, 14), dtype=np.float32)
    labels = random.integers(0, 10, BATCHES * batch, dtype=np.uint8)
    noise = random.random((BATCHES * batch, 14, 14), dtype=np.float32)
    images = (patterns[labels] + noise) / 2
    at = np.arange(network.side) * 14 // network.side
    images = images[:, None, at[:, None], at].repeat(network.channels, axis=1)
    images.tofile(Path(folder, "images.f32"))
    labels.tofile(Path(folder, "labels.u8"))


def check(engines: list[Engine]) -> None:
    """All losses against those of the first engine."""
    expected = engines[0]
    for engine in engines[1:]:
        differences = [abs(a / b - 1) for a, b in zip(engine.losses, expected.losses, strict=True)]
        worst = max(differences, default=0.0)
        print(f"losses of {engine.name} and {expected.name} differ by {worst:.1e} at most")
        if not worst <= TOLERANCE:
            sys.exit(f"{engine.name} learns otherwise: {engine.losses}, {expected.name}: {expected.losses}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rust", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--network", choices=list(NETWORKS), default="alexnet", help="of which network [%(default)s]")
    parser.add_argument("--engines", nargs="+", default=[*RIVALS, OURS], choices=[*RIVALS, OURS])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--losses", type=int, default=20, help="steps whose losses are compared")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of all engines, one after the other")
    parser.add_argument("--cpus", nargs="+", type=int, help="CPUs to run on, the last ones by default")
    arguments = parser.parse_args()
    arguments.cpus = arguments.cpus or sorted(os.sched_getaffinity(0), reverse=True)
    if arguments.threads > len(arguments.cpus):
        parser.error(f"--threads {arguments.threads}: only {len(arguments.cpus)} CPUs")

    cpus = arguments.cpus[: arguments.threads]
    print(f"{arguments.network}; {cpu()}; {platform.system()}; threads pinned to CPUs {cpus}; f32; batch {arguments.batch}")
    with tempfile.TemporaryDirectory() as folder:
        write_task(folder, NETWORKS[arguments.network], arguments.batch)
        engines = [Engine(name, folder, arguments) for name in arguments.engines]
        if arguments.losses:
            first = engines[0].losses
            print(f"loss {first[0]:.4f} at the first step, {first[-1]:.4f} at step {arguments.losses}")
            check(engines)
        for _ in range(arguments.rounds):
            for engine in engines:
                engine.run(3)
        best = min((statistics.median(engine.seconds) for engine in engines if engine.name != OURS), default=None)
        print("\n| engine | median s/step | least s/step | images/s | times the fastest peer | peak MB |\n|---|---|---|---|---|---|")
        for engine in engines:
            median, least = statistics.median(engine.seconds), min(engine.seconds)
            ratio = f"{best / median:.2f}" if best else ""
            rate = arguments.batch / median
            print(f"| {engine.name} | {median:.3f} | {least:.3f} | {rate:.1f} | {ratio} | {engine.peak:.0f} |")
            engine.close()
        print("\n" + ", ".join(f"{engine.name} {engine.version}" for engine in engines))


if __name__ == "__main__":
    main()
