"""One Python engine in a process of its own, as inference.py starts it:

    python engine.py ENGINE FOLDER BATCH THREADS

FOLDER holds alexnet.safetensors, images.f32 and alexnet-BATCH.onnx. The engine prints a JSON line with its version and its logits; then, for each
number N that it reads, a JSON line with the seconds of each of N forward passes. The Rust engines speak the same.
"""

import json
import sys
import time
from pathlib import Path

import alexnet
import numpy as np
from safetensors.numpy import load_file


def pytorch(folder, images, threads, channels_last):
    import torch

    torch.set_num_threads(threads)
    network = alexnet.torch_module(load_file(Path(folder, "alexnet.safetensors")))
    images = torch.from_numpy(images)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)

    def forward():
        with torch.inference_mode():
            return network(images).numpy()

    return torch.__version__, forward


def onnxruntime(folder, images, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    model = Path(folder, f"alexnet-{len(images)}.onnx")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return onnxruntime.__version__, lambda: session.run(None, {"images": images})[0]


def openvino(folder, images, threads):
    import openvino

    compiled = openvino.Core().compile_model(
        Path(folder, f"alexnet-{len(images)}.onnx"),
        "CPU",
        {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"},
    )
    request = compiled.create_infer_request()

    def forward():
        request.infer([images], share_inputs=True)
        return request.get_output_tensor().data

    return openvino.__version__.split("-")[0], forward


ENGINES = {
    "pytorch": lambda *a: pytorch(*a, channels_last=False),
    "pytorch-channels-last": lambda *a: pytorch(*a, channels_last=True),
    "onnxruntime": onnxruntime,
    "openvino": openvino,
}


def main(engine: str, folder: str, batch: str, threads: str) -> None:
    images = np.fromfile(Path(folder, "images.f32"), np.float32).reshape(-1, 1, 224, 224)[: int(batch)].copy()
    version, forward = ENGINES[engine](folder, images, int(threads))
    print(json.dumps({"version": version, "logits": np.array(forward()).tolist()}), flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            forward()
            seconds.append(time.perf_counter() - start)
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
