"""int8 networks of the Python engines, made of an ONNX file and calibration images."""

import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np


def qdq(source: Path, images: np.ndarray, batch: int) -> bytes:
    """An ONNX file in QDQ form: activations in unsigned bytes, weights in signed ones with a scale for each output."""
    import onnxruntime.quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(q.CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = batches(images, batch)

        def get_next(self):
            return next(self.batches, None)

    prepared, target = source.with_name("prepared.onnx"), source.with_name("quantised.onnx")
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    q.quantize_static(
        prepared,
        target,
        Reader(),
        quant_format=q.QuantFormat.QDQ,
        per_channel=True,
        activation_type=q.QuantType.QUInt8,
        weight_type=q.QuantType.QInt8,
        extra_options={"WeightSymmetric": True},
    )
    return target.read_bytes()


def with_batch(model: bytes, batch: int) -> bytes:
    """The same ONNX file for another batch."""
    import onnx

    model = onnx.load_from_string(model)
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    return model.SerializeToString()


def nncf(source: Path, target: Path, images: np.ndarray, batch: int) -> None:
    """An OpenVINO file, quantised by NNCF as it does by default: both activations and weights symmetric."""
    import nncf
    import openvino

    data = nncf.Dataset(list(batches(images, batch)))
    with redirect_stdout(sys.stderr):
        model = nncf.quantize(openvino.Core().read_model(source), data, subset_size=len(images) // batch)
    openvino.save_model(model, target, compress_to_fp16=False)


def batches(images: np.ndarray, batch: int):
    """What the engines take as input, batch by batch; a rest is left out."""
    for start in range(0, len(images) - batch + 1, batch):
        yield {"images": images[start : start + batch]}
