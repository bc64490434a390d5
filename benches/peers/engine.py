"""One Python engine in a process of its own, as inference.py starts it:

    python engine.py ENGINE FOLDER NETWORK IMAGES BATCH THREADS

FOLDER holds alexnet.safetensors and alexnet-BATCH.onnx, and what int8 engines need. The engine prints a JSON line with its version and
the logits of all images in the file IMAGES, computed in batches; then, for each number N that it reads, a JSON line with the
seconds of each of N forward passes over the first batch. The Rust engines speak the same.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from networks import NETWORKS, Network
from safetensors.numpy import load_file


def pytorch(folder, network, batch, threads, channels_last):
    import torch

    torch.set_num_threads(threads)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    module = network.torch_module(load_file(Path(folder, "alexnet.safetensors"))).to(memory_format=layout)

    def forward(images):
        with torch.inference_mode():
            return module(torch.from_numpy(images).to(memory_format=layout)).numpy()

    return torch.__version__, forward


def onnxruntime(folder, _network, batch, threads, model="alexnet-{}.onnx"):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    model = Path(folder, model.format(batch))
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return onnxruntime.__version__, lambda images: session.run(None, {"images": images})[0]


def openvino(folder, network, batch, threads, model="alexnet-{}.onnx", precision="f32"):
    import openvino

    core = openvino.Core()
    file = core.read_model(Path(folder, model.format(batch)))
    file.reshape([batch, network.channels, network.side, network.side])
    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    request = core.compile_model(file, "CPU", options).create_infer_request()

    def forward(images):
        request.infer([images], share_inputs=True)
        return request.get_output_tensor().data

    return openvino.__version__.split("-")[0], forward


def package(folder, _network, _batch, threads):
    """The Python package of this repository."""
    import alexnet

    classifier = alexnet.Classifier(Path(folder, "alexnet.safetensors"), threads=threads)
    return alexnet.__version__, classifier.logits


ENGINES = {
    "alexnet-python": package,
    "pytorch": lambda *a: pytorch(*a, channels_last=False),
    "pytorch-channels-last": lambda *a: pytorch(*a, channels_last=True),
    "onnxruntime": onnxruntime,
    "onnxruntime-int8": lambda *a: onnxruntime(*a, model="alexnet-int8-{}.onnx"),
    "openvino": openvino,
    "openvino-bf16": lambda *a: openvino(*a, precision="bf16"),
    "openvino-int8": lambda *a: openvino(*a, model="alexnet-nncf.xml"),
    "openvino-int8-qdq": lambda *a: openvino(*a, model="alexnet-int8-{}.onnx"),
}


def main(engine: str, folder: str, name: str, images: str, batch: str, threads: str) -> None:
    network: Network = NETWORKS[name]
    batches = np.fromfile(images, np.float32).reshape(-1, int(batch), network.channels, network.side, network.side)
    version, forward = ENGINES[engine](folder, network, int(batch), int(threads))
    # An engine may give its own memory for an answer.
    logits = np.concatenate([np.array(forward(images)) for images in batches])
    print(json.dumps({"version": version, "logits": logits.tolist()}), flush=True)
    images = batches[0]
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            forward(images)
            seconds.append(time.perf_counter() - start)
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
