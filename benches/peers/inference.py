"""Runs the comparison that `inference` sets up."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import alexnet
import chart
from safetensors.numpy import save_file

HERE = Path(__file__).parent
PYTHON = ["pytorch", "pytorch-channels-last", "onnxruntime", "openvino"]
RUST = ["infer-core", "infer-core-f16", "tract", "candle"]
# The engines that ours is compared with in the last column of the table.
RIVALS = PYTHON
# Largest difference of logits, as a share of the largest logit.
TOLERANCE = {"infer-core-f16": 1e-3}


class Engine:
    """An engine in a process of its own, on the first `threads` of the CPUs given."""

    def __init__(self, name: str, folder: str, batch: int, threads: int, arguments) -> None:
        self.name = name
        program = [arguments.rust] if name in RUST else [sys.executable, str(HERE / "engine.py")]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads)}
        if arguments.isa == "avx2":
            environment |= {"ONEDNN_MAX_CPU_ISA": "AVX2", "PEERS_KERNEL": "avx2"}
        cpus = ",".join(str(cpu) for cpu in arguments.cpus[:threads])
        self.process = subprocess.Popen(
            ["taskset", "-c", cpus, *program, name, folder, str(batch), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        first = self.read()
        self.version, self.logits = first["version"], first["logits"]
        self.seconds: list[float] = []

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended without an answer")
        return json.loads(line)

    def run(self, passes: int) -> list[float]:
        self.process.stdin.write(f"{passes}\n")
        self.process.stdin.flush()
        return self.read()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def check(engines: list[Engine]) -> None:
    """All logits against those of the first rival."""
    expected = next(engine for engine in engines if engine.name in RIVALS).logits
    for engine in engines:
        for found, logits in zip(engine.logits, expected, strict=True):
            largest = max(map(abs, logits))
            difference = max(abs(a - b) for a, b in zip(found, logits, strict=True)) / largest
            if not difference <= TOLERANCE.get(engine.name, 1e-4):
                sys.exit(f"{engine.name}: logits differ by {difference:.1e} of the largest, {largest:.3g}")


def compare(folder: str, batch: int, threads: int, arguments) -> tuple[dict[str, str], list[tuple[str, float]]]:
    """Versions of the engines, and their medians in milliseconds an image."""
    model = Path(folder, f"alexnet-{batch}.onnx")
    if not model.exists():
        model.write_bytes(alexnet.onnx_model(alexnet.weights(), batch))
    engines = [Engine(name, folder, batch, threads, arguments) for name in arguments.engines]
    check(engines)
    for engine in engines:
        engine.run(3)
    for _ in range(arguments.rounds):
        for engine in engines:
            passes = max(2, 32 // batch)
            # The first pass after another engine's finds its weights out of the cache.
            engine.seconds += engine.run(passes + 1)[1:]
    best = min(statistics.median(engine.seconds) for engine in engines if engine.name in RIVALS)
    for engine in engines:
        median, least = statistics.median(engine.seconds), min(engine.seconds)
        print(
            f"| {engine.name} | {batch} | {threads} | {1e3 * median / batch:.2f} | {1e3 * least / batch:.2f} "
            f"| {median / best:.2f} |",
            flush=True,
        )
        engine.close()
    bars = [(engine.name, 1e3 * statistics.median(engine.seconds) / batch) for engine in engines]
    return {engine.name: engine.version for engine in engines}, bars


def cpu() -> str:
    names = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    flags = next(line for line in open("/proc/cpuinfo") if line.startswith("flags")).split()
    isa = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "neither AVX2 nor AVX-512"
    return f"{names[0]}, {os.cpu_count()} CPUs, {isa}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rust", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--engines", nargs="+", default=RUST + PYTHON, choices=RUST + PYTHON)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15, help="rounds of all engines, one after the other")
    parser.add_argument("--isa", choices=["best", "avx2"], default="best", help="avx2: hold to AVX2 what can be held")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="bars of the first number of threads, as SVG")
    parser.add_argument("--cpus", nargs="+", type=int, help="CPUs to run on, the last ones by default")
    arguments = parser.parse_args()
    if not any(name in RIVALS for name in arguments.engines):
        parser.error(f"--engines needs one of {', '.join(RIVALS)}, whose logits are the expected ones")
    arguments.cpus = arguments.cpus or sorted(os.sched_getaffinity(0), reverse=True)
    if max(arguments.threads) > len(arguments.cpus):
        parser.error(f"--threads {max(arguments.threads)}: only {len(arguments.cpus)} CPUs")

    with tempfile.TemporaryDirectory() as folder:
        save_file(alexnet.weights(), Path(folder, "alexnet.safetensors"))
        alexnet.images(max(arguments.batches)).tofile(Path(folder, "images.f32"))
        print(f"{cpu()}; {platform.system()}; threads pinned to CPUs {arguments.cpus}; f32; {arguments.rounds} rounds")
        if arguments.isa == "avx2":
            print("held to AVX2: infer-core, and of the others those that heed ONEDNN_MAX_CPU_ISA")
        print("\n| engine | batch | threads | median ms/image | least ms/image | of the fastest peer |\n|---|---|---|---|---|---|")
        versions, groups = {}, []
        for threads in arguments.threads:
            for batch in arguments.batches:
                found, bars = compare(folder, batch, threads, arguments)
                versions |= found
                groups += [(f"batch {batch}", bars)] if threads == arguments.threads[0] else []
        if arguments.chart:
            threads = "one thread" if arguments.threads[0] == 1 else f"{arguments.threads[0]} threads"
            arguments.chart.write_text(chart.chart(f"Milliseconds an image, AlexNet in f32, {threads}", groups))
        print("\n" + ", ".join(f"{name} {version}" for name, version in versions.items()))


if __name__ == "__main__":
    main()
