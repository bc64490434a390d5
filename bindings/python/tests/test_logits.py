"""Logits of prepared inputs, against numpy in double precision."""

import alexnet
import lenet5
import numpy as np
import pytest


@pytest.fixture(scope="module")
def classifier(weights):
    return alexnet.Classifier(weights["lenet5"], threads=2)


def inputs(classifier, batch: int) -> np.ndarray:
    return np.random.default_rng(batch).random((batch, *classifier.input_shape), np.float32)


@pytest.mark.parametrize("batch", [1, 2, 15, 16, 17, 33, 100])
def test_logits_are_those_of_the_formulas(classifier, batch):
    values = inputs(classifier, batch)
    logits = classifier.logits(values)
    assert logits.dtype == np.float32 and logits.shape == (batch, len(classifier.classes))
    expected = lenet5.logits(values)
    assert np.abs(expected).max() > 0.5
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()


def test_logits_are_those_of_classify(classifier):
    pixels = np.random.default_rng(3).integers(0, 256, (20, *classifier.input_shape[1:]), np.uint8)
    prepared = (pixels / np.float32(255)).astype(np.float32)[:, None]
    answers = classifier.classify(list(pixels))
    assert np.array_equal(classifier.logits(prepared), np.float32([answer.logits for answer in answers]))


def test_memory_of_any_layout_gives_the_same(classifier):
    values = inputs(classifier, 10)
    expected = classifier.logits(values)
    read_only = values.copy()
    read_only.setflags(write=False)
    for other in (read_only, np.asfortranarray(values), np.repeat(values, 2, axis=0)[::2]):
        assert np.array_equal(classifier.logits(other), expected)
    assert classifier.logits(values[:0]).shape == (0, len(classifier.classes))


def test_other_arrays_are_refused(classifier):
    values = inputs(classifier, 3)
    channels, height, width = classifier.input_shape
    expected = rf"expected an array of float32 of the shape \(batch, {channels}, {height}, {width}\), found "
    for other, found in [
        (values.astype(np.float64), rf"float64 of the shape \(3, {channels}, {height}, {width}\)"),
        (values[0], rf"float32 of the shape \({channels}, {height}, {width}\)"),
        (values[..., :-1], rf"float32 of the shape \(3, {channels}, {height}, {width - 1}\)"),
        (values.astype(">f4"), ">f4 of the shape"),
    ]:
        with pytest.raises(ValueError, match=expected + found):
            classifier.logits(other)
    with pytest.raises(TypeError, match=expected + "list"):
        classifier.logits(values.tolist())
    for number in (np.nan, np.inf, -np.inf):
        values[2, 0, 4, 4] = number
        with pytest.raises(ValueError, match=f"expected finite numbers, found {str(number).replace('nan', 'NaN')}"):
            classifier.logits(values)


def test_sums_that_overflow_are_an_error(weights, tmp_path):
    content = bytearray(weights["lenet5"].read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    data = np.frombuffer(content, "<f4", offset=start)
    data *= 1e12
    path = tmp_path / "large.safetensors"
    path.write_bytes(content)
    classifier = alexnet.Classifier(path)
    words = r"the network's output for class \d is .*: its weights are too large"
    with pytest.raises(ValueError, match=words):
        classifier.logits(inputs(classifier, 2))
    failure = classifier.classify([np.full((4, 4), 255, np.uint8)])[0]
    assert isinstance(failure, alexnet.Failure) and failure.error.startswith("the network's output for class ")


def test_a_classifier_describes_itself(classifier):
    assert (classifier.network, classifier.threads, len(classifier.classes)) == ("lenet5", 2, 10)
    assert repr(classifier).startswith("<alexnet.Classifier lenet5, input 1×28×28, 10 classes, 2 threads>")
    inside = alexnet.Classifier()
    assert inside.network == "alexnet-rank128" and "Ankle boot" in inside.classes
