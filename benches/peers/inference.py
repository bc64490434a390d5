"""Runs the comparison that `inference` sets up."""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import chart
import dataset
import numpy as np
import quantised
from networks import NETWORKS
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).parent
PYTHON = ["pytorch", "pytorch-channels-last", "onnxruntime", "openvino"]
RUST = ["infer-core", "infer-core-f16", "tract", "candle"]
PACKAGE = ["alexnet-python"]
PYTHON_INT8 = ["onnxruntime-int8", "openvino-int8", "openvino-int8-qdq"]
INT8 = ["infer-core-int8", *PYTHON_INT8]
# With int8 networks, what is worth the time beside them: f32, and the type that some CPUs have instructions for.
BESIDE_INT8 = ["infer-core", "infer-core-f16", "onnxruntime", "openvino", "openvino-bf16"]
ALL = [*RUST, *PACKAGE, *PYTHON, "openvino-bf16", *INT8]
# The engines that ours is compared with in the last columns of the table.
RIVALS = [*PYTHON, "openvino-bf16", *PYTHON_INT8]
# Largest difference of logits, as a share of the largest logit. That of int8 tells a wrong network from a right one; how good it is,
# its accuracy tells.
TOLERANCE = {"infer-core-f16": 1e-3, "openvino-bf16": 0.1} | dict.fromkeys(INT8, 0.3)
# How the int8 networks are made.
MADE = """
infer-core-int8: weights of `trainer compress --int8`, ranges from {ours} training images
onnxruntime-int8: quantize_static, QDQ, weights int8 symmetric with a scale for each output, activations uint8 by least and greatest value
openvino-int8: nncf.quantize {nncf}, default settings (weights int8 symmetric with a scale for each output, activations symmetric)
openvino-int8-qdq: the ONNX file of onnxruntime-int8
calibration of those three: {count} training images, others than those that accuracy is measured on
"""


class Engine:
    """An engine in a process of its own, on the first `threads` of the CPUs given."""

    def __init__(self, name: str, images: Path, batch: int, threads: int, arguments) -> None:
        self.name = name
        folder = str(images.parent)
        program = [arguments.rust] if name.startswith("infer-core") or name in RUST else [sys.executable, str(HERE / "engine.py")]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads)}
        if arguments.isa == "avx2":
            environment |= {"ONEDNN_MAX_CPU_ISA": "AVX2", "PEERS_KERNEL": "avx2"}
        cpus = ",".join(str(cpu) for cpu in arguments.cpus[:threads])
        task = [name, folder, arguments.network, str(images), str(batch), str(threads)]
        self.process = subprocess.Popen(
            ["taskset", "-c", cpus, *program, *task],
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
    """All logits against those of the first rival in f32."""
    expected = next(engine for engine in engines if engine.name in PYTHON).logits
    for engine in engines:
        for found, logits in zip(engine.logits, expected, strict=True):
            largest = max(map(abs, logits))
            difference = max(abs(a - b) for a, b in zip(found, logits, strict=True)) / largest
            if not difference <= TOLERANCE.get(engine.name, 1e-4):
                sys.exit(f"{engine.name}: logits differ by {difference:.1e} of the largest, {largest:.3g}")


def compare(folder: str, batch: int, threads: int, accuracies: dict, arguments) -> tuple[dict, list[tuple[str, float]]]:
    """Versions of the engines, and their medians in milliseconds an image."""
    images = Path(folder, f"images-{batch}.f32")
    engines = [Engine(name, images, batch, threads, arguments) for name in arguments.engines]
    check(engines)
    for engine in engines:
        engine.run(3)
    for _ in range(arguments.rounds):
        for engine in engines:
            passes = max(2, 32 // batch)
            # The first pass after another engine's finds its weights out of the cache.
            engine.seconds += engine.run(passes + 1)[1:]
    rivals = [(statistics.median(engine.seconds), engine.name) for engine in engines if engine.name in RIVALS]
    best, best_int8 = min(rivals)[0], min((rival for rival in rivals if rival[1] in INT8), default=(None,))[0]
    for engine in engines:
        median, least = statistics.median(engine.seconds), min(engine.seconds)
        cells = [engine.name, batch, threads, f"{1e3 * median / batch:.2f}", f"{1e3 * least / batch:.2f}", f"{median / best:.2f}"]
        if arguments.int8:
            cells += [f"{median / best_int8:.2f}" if best_int8 else "–", f"{accuracies[engine.name]:.2f} %"]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)
        engine.close()
    bars = [(engine.name, 1e3 * statistics.median(engine.seconds) / batch) for engine in engines]
    return {engine.name: engine.version for engine in engines}, bars


def prepare(folder: str, arguments) -> dict[str, float]:
    """Writes all files that the engines read; the accuracies, where there are labels."""
    network, batches, most = NETWORKS[arguments.network], arguments.batches, max(arguments.batches)
    if arguments.int8:
        tensors = load_file(arguments.weights)
        with safe_open(arguments.weights, "np") as file:
            preprocessing = json.loads(file.metadata()["preprocessing"])
        pixels, labels = dataset.test(arguments.data, max(arguments.accuracy, most))
        images = dataset.inputs(pixels, preprocessing)
        Path(folder, "alexnet-int8.safetensors").symlink_to(arguments.int8.resolve())
    else:
        tensors, images = network.weights(), network.images(most)
    save_file(tensors, Path(folder, "alexnet.safetensors"))
    for batch in batches:
        Path(folder, f"alexnet-{batch}.onnx").write_bytes(network.onnx_model(tensors, batch))
        images[:batch].tofile(Path(folder, f"images-{batch}.f32"))
    if not arguments.int8:
        return {}

    calibration = dataset.inputs(dataset.calibration(arguments.data, arguments.calibration), preprocessing)
    source = Path(folder, f"alexnet-{batches[0]}.onnx")
    if {"onnxruntime-int8", "openvino-int8-qdq"} & set(arguments.engines):
        model = quantised.qdq(source, calibration, batches[0])
        for batch in batches:
            Path(folder, f"alexnet-int8-{batch}.onnx").write_bytes(quantised.with_batch(model, batch))
    if "openvino-int8" in arguments.engines:
        quantised.nncf(source, Path(folder, "alexnet-nncf.xml"), calibration, batches[0])
    return accuracies(Path(folder, "test.f32"), images, labels[: arguments.accuracy], arguments)


def accuracies(path: Path, images: np.ndarray, labels: np.ndarray, arguments) -> dict[str, float]:
    """Accuracy of each engine in per cent, in the largest batches."""
    batch, threads, found = max(arguments.batches), max(arguments.threads), {}
    count = len(labels)
    # The last batch is filled up.
    images[np.arange(-(-count // batch) * batch) % len(images)].tofile(path)
    for name in arguments.engines:
        engine = Engine(name, path, batch, threads, arguments)
        found[name] = 100 * float(np.mean(np.argmax(engine.logits[:count], axis=1) == labels))
        engine.close()
    path.unlink()
    return found


def cpu() -> str:
    names = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    flags = next(line for line in open("/proc/cpuinfo") if line.startswith("flags")).split()
    isa = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "neither AVX2 nor AVX-512"
    return f"{names[0]}, {os.cpu_count()} CPUs, {isa}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rust", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--network", choices=list(NETWORKS), default="alexnet", help="of which network [%(default)s]")
    parser.add_argument("--engines", nargs="+", choices=ALL, help="default: those of f32; with --int8, few of them beside int8")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15, help="rounds of all engines, one after the other")
    parser.add_argument("--isa", choices=["best", "avx2"], default="best", help="avx2: hold to AVX2 what can be held")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="bars of the first number of threads, as SVG")
    parser.add_argument("--int8", type=Path, metavar="FILE", help="int8 weights of `trainer compress`: compares int8 engines, too")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="with --int8: the f32 weights that those were made of")
    parser.add_argument("--data", type=Path, default=dataset.FOLDER, help="with --int8: folder of Fashion-MNIST [%(default)s]")
    parser.add_argument("--accuracy", type=int, default=1000, metavar="N", help="with --int8: test images [%(default)s]")
    parser.add_argument("--calibration", type=int, default=200, metavar="N", help="with --int8: images for the peers [%(default)s]")
    parser.add_argument("--cpus", nargs="+", type=int, help="CPUs to run on, the last ones by default")
    arguments = parser.parse_args()
    arguments.engines = arguments.engines or (BESIDE_INT8 + INT8 if arguments.int8 else RUST + PACKAGE + PYTHON)
    if any(conv.norm for conv in NETWORKS[arguments.network].convolutions) and "candle" in arguments.engines:
        print("candle has no local response normalisation: left out", file=sys.stderr)
        arguments.engines.remove("candle")
    if not any(name in PYTHON for name in arguments.engines):
        parser.error(f"--engines needs one of {', '.join(PYTHON)}, whose logits are the expected ones")
    if bool(arguments.int8) != bool(arguments.weights):
        parser.error("--int8 and --weights belong together")
    if arguments.int8 and arguments.network != "alexnet":
        parser.error("--int8 measures on Fashion-MNIST, which is for --network alexnet")
    if not arguments.int8 and set(INT8) & set(arguments.engines):
        parser.error("int8 engines need --int8 and --weights")
    arguments.cpus = arguments.cpus or sorted(os.sched_getaffinity(0), reverse=True)
    if max(arguments.threads) > len(arguments.cpus):
        parser.error(f"--threads {max(arguments.threads)}: only {len(arguments.cpus)} CPUs")

    with tempfile.TemporaryDirectory() as folder:
        found = prepare(folder, arguments)
        print(f"{arguments.network}; {cpu()}; {platform.system()}; threads pinned to CPUs {arguments.cpus}; {arguments.rounds} rounds")
        if arguments.isa == "avx2":
            print("held to AVX2: infer-core, and of the others those that heed ONEDNN_MAX_CPU_ISA")
        head = ["engine", "batch", "threads", "median ms/image", "least ms/image", "of the fastest peer"]
        if arguments.int8:
            with safe_open(arguments.int8, "np") as file:
                ours = file.metadata().get("calibration_images", "unknown")
            nncf = importlib.metadata.version("nncf")
            print(MADE.format(ours=ours, nncf=nncf, count=arguments.calibration).rstrip())
            head += ["of the fastest int8 peer", f"accuracy, {arguments.accuracy} images"]
        print(f"\n| {' | '.join(head)} |\n{'|---' * len(head)}|")
        versions, groups = {}, []
        for threads in arguments.threads:
            for batch in arguments.batches:
                new, bars = compare(folder, batch, threads, found, arguments)
                versions |= new
                groups += [(f"batch {batch}", bars)] if threads == arguments.threads[0] else []
        if arguments.chart:
            threads = "one thread" if arguments.threads[0] == 1 else f"{arguments.threads[0]} threads"
            title = f"Milliseconds an image, {arguments.network}{'' if arguments.int8 else ' in f32'}, {threads}"
            arguments.chart.write_text(chart.chart(title, groups))
        print("\n" + ", ".join(f"{name} {version}" for name, version in versions.items()))


if __name__ == "__main__":
    main()
