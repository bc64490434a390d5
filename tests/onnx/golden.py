"""Makes tests/golden/onnx.safetensors of ONNX's backend test cases: what tests/tests/onnx compares with.

    pip install onnx==1.22.0 numpy safetensors
    python tests/onnx/golden.py

The onnx package has its test cases in it (later versions do not). Every case whose model is a single node of one of OPERATORS
is in the file: in the metadata `cases`, a JSON array of its name, operator, attributes, and the types and shapes of its
inputs; and, where infer-core's layers can compute it, its inputs and output as tensors, named as the case and then `/0`,
`/1`, …, `/expected`. Of a batch of more than IMAGES images, only the first is kept, so that the file stays small; `images`
says how many there were.
"""

import json
from pathlib import Path

import numpy
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

GOLDEN = Path(__file__).parent.parent / "golden"
OPERATORS = ["Conv", "MaxPool", "Gemm", "Relu", "Softmax"]
IMAGES = 4


def attributes(node: onnx.NodeProto) -> dict:
    values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}


def pads(given: dict, sizes: list[int], kernel: list[int], strides: list[int]) -> list[int]:
    """Those before each dimension, then those behind each."""
    same = given.get("auto_pad", "NOTSET")
    if same in ("NOTSET", "VALID"):
        return given.get("pads", [0] * 2 * len(kernel))
    before, after = [], []
    for size, window, stride in zip(sizes, kernel, strides):
        total = max((-(-size // stride) - 1) * stride + window - size, 0)
        less, more = total // 2, total - total // 2
        before.append(less if same == "SAME_UPPER" else more)
        after.append(more if same == "SAME_UPPER" else less)
    return before + after


def runs(operator: str, given: dict, inputs: list[numpy.ndarray]) -> bool:
    """Whether infer-core's layers can compute it: floats, square windows, the same on all sides, none dilated or grouped."""
    if any(array.dtype != numpy.float32 for array in inputs):
        return False
    if operator not in ("Conv", "MaxPool"):
        return True
    kernel = given.get("kernel_shape", list(inputs[-1].shape[2:]))
    strides = given.get("strides", [1] * len(kernel))
    return (
        len(kernel) == 2
        and given.get("group", 1) == 1
        and set(given.get("dilations", [1])) == {1}
        and len(set(kernel)) == len(set(strides)) == len(set(pads(given, inputs[0].shape[2:], kernel, strides))) == 1
    )


def tensor(path: Path) -> numpy.ndarray:
    message = onnx.TensorProto()
    message.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(message)


def main() -> None:
    assert onnx.__version__ == "1.22.0", f"made for onnx 1.22.0, found {onnx.__version__}"
    cases, tensors = [], {}
    for path in sorted((Path(onnx.__file__).parent / "backend" / "test" / "data").glob("*/*/model.onnx")):
        graph = onnx.load(path).graph
        if len(graph.node) != 1 or graph.node[0].op_type not in OPERATORS:
            continue
        folder, name = path.parent, f"{path.parent.parent.name}/{path.parent.name}"
        sets = sorted(folder.glob("test_data_set_*"))
        assert len(sets) == 1, name
        # Some inputs are in the model, the others beside it, in the order of the graph's.
        known = {weights.name: numpy_helper.to_array(weights) for weights in graph.initializer}
        free = [value.name for value in graph.input if value.name not in known]
        known |= {value: tensor(sets[0] / f"input_{i}.pb") for i, value in enumerate(free)}
        inputs = [known[value] for value in graph.node[0].input]
        operator, given = graph.node[0].op_type, attributes(graph.node[0])
        case = {"name": name, "operator": operator, "attributes": given}
        case["inputs"] = [{"type": str(array.dtype), "shape": list(array.shape)} for array in inputs]
        cases.append(case)
        if runs(operator, given, inputs):
            expected = tensor(sets[0] / "output_0.pb")
            if operator in ("Conv", "MaxPool"):
                case["images"] = len(inputs[0])
                if len(inputs[0]) > IMAGES:
                    inputs[0], expected = inputs[0][:1], expected[:1]
            arrays = {str(i): array for i, array in enumerate(inputs)} | {"expected": expected}
            tensors |= {f"{name}/{key}": numpy.ascontiguousarray(array) for key, array in arrays.items()}
    metadata = {
        "made_by": f"tests/onnx/golden.py, onnx {onnx.__version__}",
        "source": "ONNX (https://onnx.ai), onnx/backend/test/data; Apache-2.0, copyright the ONNX Project Contributors",
        "cases": json.dumps(cases),
    }
    save_file(tensors, GOLDEN / "onnx.safetensors", metadata)
    print(f"{len(cases)} cases, {len({name.rpartition('/')[0] for name in tensors})} of them with tensors")


if __name__ == "__main__":
    main()
