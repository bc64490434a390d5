"""Images in, answers out: the same bits as infer-cli's, whatever form the images have, and failures that do not end a batch."""

import faulthandler
import io
import itertools
import os
import pickle
import resource
import signal
import threading
from pathlib import Path

import alexnet
import numpy as np
import pytest
from PIL import Image


def same(result, record: dict) -> None:
    """A result against a record of infer-cli, whose numbers are written as f32."""
    if "error" in record:
        assert isinstance(result, alexnet.Failure)
        assert result.error == record["error"]
        return
    assert isinstance(result, alexnet.Answer), result
    assert np.array_equal(np.float32(result.logits), np.float32(record["logits"]))
    found = [(best.class_index, best.label, np.float32(best.probability)) for best in result.top]
    expected = [(best["class"], best["label"], np.float32(best["probability"])) for best in record["top"]]
    assert found == expected
    assert (result.class_index, result.label, np.float32(result.probability)) == found[0]
    assert result.doubt == record.get("doubt")


@pytest.mark.parametrize("name", ["lenet5", "packed", "inside"])
def test_bits_are_those_of_infer_cli(name, weights, images, infer_cli, tmp_path, monkeypatch):
    path = weights[name]
    monkeypatch.chdir(tmp_path)  # where no weights lie
    records = infer_cli.records(*images, *([] if path is None else ["--weights", path]))
    classifier = alexnet.Classifier(path, threads=2)
    results = classifier.classify(images, top_k=3)
    assert [result.path for result in results] == [str(image) for image in images]
    for image, result in zip(images, results, strict=True):
        same(result, records[str(image)])
    failed = [Path(result.path).name for result in results if isinstance(result, alexnet.Failure)]
    assert failed == ["cut.png", "empty.png", "text.png"]
    assert len({result.label for result in results if isinstance(result, alexnet.Answer)}) > 1


def test_options_are_those_of_infer_cli(weights, images, infer_cli, tmp_path):
    labels = tmp_path / "labels"
    labels.write_text("\n".join("abcdefghij"))
    options = ["--invert", "--accept-damaged", "--orient=true", "--labels", labels]
    turned = tmp_path / "turned.jpg"
    image = Image.open(next(path for path in images if path.name == "large.jpg"))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(turned, exif=exif)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(turned.read_bytes()[:20_000])
    paths = [*images, turned, cut]
    records = infer_cli.records(*paths, "--weights", weights["lenet5"], *options)
    given = {"invert": True, "accept_damaged": True, "orient": True, "labels": labels}
    results = alexnet.Classifier(weights["lenet5"], **given).classify(paths, top_k=3)
    for path, result in zip(paths, results, strict=True):
        same(result, records[str(path)])
    upright = alexnet.Classifier(weights["lenet5"], **given | {"orient": False}).classify([turned])[0]
    assert upright.logits != results[-2].logits
    # Pillow's image is turned, too.
    pillow = alexnet.Classifier(weights["lenet5"], invert=True, orient=True).classify([Image.open(turned)])[0]
    assert pillow.logits == results[-2].logits


def test_every_form_of_an_image_is_the_same_image(weights, images):
    classifier = alexnet.Classifier(weights["lenet5"])
    for path in images:
        if path.name in ("text.png", "empty.png", "cut.png"):
            continue
        pillow = Image.open(path)
        pixels = pillow.convert("L" if pillow.mode == "L" else "RGB")
        array = np.asarray(pixels)
        forms = [
            str(path), path.read_bytes(), bytearray(path.read_bytes()), pillow, array,
            np.asfortranarray(array), np.repeat(array, 2, axis=0)[::2],
        ]
        if array.ndim == 2:
            forms.append(array[..., None])
        results = classifier.classify([path, *forms])
        for form, result in zip(forms, results[1:], strict=True):
            assert isinstance(result, alexnet.Answer), (path, result)
            assert result.logits == results[0].logits, (path, type(form))
            assert result.path == (form if isinstance(form, str) else None)


def test_lists_may_be_arrays_and_iterators(weights):
    classifier = alexnet.Classifier(weights["lenet5"])
    pixels = np.random.default_rng(1).integers(0, 256, (5, 30, 20, 3), np.uint8)
    expected = [answer.logits for answer in classifier.classify(list(pixels))]
    objects = np.empty(5, object)
    objects[:] = list(pixels)
    for images in (pixels, objects, iter(pixels), tuple(pixels)):
        assert [answer.logits for answer in classifier.classify(images)] == expected
    assert classifier.classify([]) == []


def test_images_that_cannot_be_used_are_failures_beside_answers(weights, images):
    classifier = alexnet.Classifier(weights["lenet5"])
    good = np.zeros((4, 4), np.uint8)
    cut = Image.open(next(path for path in images if path.name == "cut.png"))
    bad = {
        "found float32 of the shape (4, 4)": np.zeros((4, 4), np.float32),
        "found uint8 of the shape (4, 4, 4)": np.zeros((4, 4, 4), np.uint8),
        "found uint8 of the shape (4,)": np.zeros(4, np.uint8),
        "the image has no pixels": np.zeros((0, 4), np.uint8),
        "there are no bytes": b"",
        "not an image": b"text",
        "Pillow cannot read it": cut,
        "found I;16": Image.fromarray(np.zeros((4, 4), np.uint16)),
    }
    given = [image for one in bad.values() for image in (good, one)]
    results = classifier.classify(given)
    answers, failures = results[::2], results[1::2]
    assert all(isinstance(answer, alexnet.Answer) for answer in answers)
    assert len({tuple(answer.logits) for answer in answers}) == 1
    for words, failure in zip(bad, failures, strict=True):
        assert isinstance(failure, alexnet.Failure) and words in failure.error, (words, failure)
        with pytest.raises(AttributeError):
            failure.label  # noqa: B018


def test_results_are_rows(weights, images):
    answer, failure = alexnet.Classifier(weights["lenet5"]).classify([images[0], b"text"], top_k=2)
    row = answer.to_dict()
    assert list(row) == ["path", "class", "label", "probability", "top", "doubt", "error"]
    assert (row["path"], row["label"], row["error"]) == (str(images[0]), answer.label, None)
    assert [best["probability"] for best in row["top"]] == [best.probability for best in answer.top]
    assert answer.to_dict(logits=True)["logits"] == answer.logits
    assert list(failure.to_dict()) == list(row)
    assert failure.to_dict(logits=True)["logits"] is None
    assert [key for key, value in failure.to_dict().items() if value is not None] == ["error"]
    assert repr(answer).startswith(f"Answer('{answer.label}', probability=0.")
    assert repr(failure).startswith("Failure('not an image")


def test_top_k_is_at_most_the_number_of_classes(weights):
    classifier = alexnet.Classifier(weights["lenet5"])
    image = np.zeros((4, 4), np.uint8)
    assert [len(classifier.classify([image], top_k=k)[0].top) for k in (1, 10, 1000)] == [1, 10, 10]
    probabilities = [best.probability for best in classifier.classify([image], top_k=10)[0].top]
    assert probabilities == sorted(probabilities, reverse=True) and abs(sum(probabilities) - 1) < 1e-5


def test_what_is_no_list_of_images_is_refused(weights):
    classifier = alexnet.Classifier(weights["lenet5"])
    image = np.zeros((4, 4), np.uint8)
    for single in ("a.png", Path("a.png"), b"bytes", bytearray(b"bytes"), image, np.zeros((4, 4, 3), np.uint8), Image.new("L", (4, 4)), 1):
        with pytest.raises(TypeError, match=r"expected a list of images, found a single \w+: write classify\(\[image\]\)"):
            classifier.classify(single)
    with pytest.raises(TypeError, match="image 1: expected a path, bytes, a numpy array or an image of Pillow, found NoneType"):
        classifier.classify([image, None])
    with pytest.raises(ValueError, match="top_k: expected 1 or more, found 0"):
        classifier.classify([image], top_k=0)


def test_weights_that_cannot_be_used_are_refused_in_the_words_of_infer_cli(weights, infer_cli, tmp_path):
    text, short, empty = tmp_path / "text.safetensors", tmp_path / "short.safetensors", tmp_path / "empty"
    text.write_text("no weights")
    short.write_bytes(weights["lenet5"].read_bytes()[:-4])
    empty.mkdir()
    labels = tmp_path / "labels"
    labels.write_text("a\nb\n")
    for path, kind, names in [
        (tmp_path / "missing.safetensors", FileNotFoundError, None),
        (text, alexnet.WeightsError, None),
        (short, alexnet.WeightsError, None),
        (empty, alexnet.WeightsError, None),
        (weights["lenet5"], alexnet.WeightsError, labels),
        (weights["lenet5"], FileNotFoundError, tmp_path / "missing"),
    ]:
        with pytest.raises(kind) as error:
            alexnet.Classifier(path, labels=names)
        arguments = ["--labels", names] if names else []
        found = infer_cli.run("classify", "x.png", "--weights", path, *arguments)
        assert found.stderr == f"error: {error.value}\n"
    assert issubclass(alexnet.WeightsError, ValueError)
    for threads in (0, -1, 1025, 2**40):
        with pytest.raises(ValueError, match=f"threads: expected a number from 1 to 1024, found {threads}"):
            alexnet.Classifier(threads=threads)


def test_the_number_of_threads_changes_no_bit(weights, images):
    expected = None
    for threads in (1, 2, 3, 5):
        classifier = alexnet.Classifier(weights["packed"], threads=threads)
        assert classifier.threads == threads
        found = [repr(result.to_dict(logits=True)) for result in classifier.classify(images * 4)]
        alone = [repr(result.to_dict(logits=True)) for image in images for result in classifier.classify([image])]
        expected = expected or found
        assert found == expected and found == alone * 4


def test_threads_of_python_share_a_classifier(weights, images):
    classifier = alexnet.Classifier(weights["lenet5"], threads=2)
    expected = [repr(result) for result in classifier.classify(images)]
    found = [None] * 6

    def work(place: int) -> None:
        found[place] = [repr(result) for result in classifier.classify(images)]

    threads = [threading.Thread(target=work, args=[place]) for place in range(len(found))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * len(found)


def test_the_gil_is_released(weights, images, tmp_path):
    """The image comes through a pipe, which another thread of Python writes while `classify` reads: with the GIL held, neither ends."""
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    faulthandler.dump_traceback_later(60, exit=True)
    try:
        writer = threading.Thread(target=lambda: pipe.write_bytes(images[10].read_bytes()))
        writer.start()
        classifier = alexnet.Classifier(weights["lenet5"])
        through_pipe, expected = classifier.classify([pipe])[0], classifier.classify([images[10]])[0]
        writer.join()
    finally:
        faulthandler.cancel_dump_traceback_later()
    assert through_pipe.logits == expected.logits


def test_pixels_are_not_copied(weights):
    side = 12_000
    pixels = np.zeros((side, side), np.uint8)  # pages of zeros, which take no memory until they are written
    classifier = alexnet.Classifier(weights["lenet5"], threads=1)
    classifier.classify([pixels[:100, :100]])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert isinstance(classifier.classify([pixels])[0], alexnet.Answer)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert 1024 * grown < side * side / 2


def test_signals_end_a_call(weights):
    class Alarm(Exception):
        pass

    def ring(*_):
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(Alarm):  # no line of Python runs in this call
            alexnet.Classifier(weights["lenet5"]).classify(itertools.repeat(np.zeros((4, 4), np.uint8)))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_is_told_so(weights):
    classifier = alexnet.Classifier(weights["lenet5"], threads=2)
    read, write = os.pipe()
    if os.fork() == 0:
        try:
            classifier.classify([np.zeros((4, 4), np.uint8)])
        except RuntimeError as error:
            os.write(write, str(error).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert "made before the process was forked" in pipe.read()
    os.wait()
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(classifier)


def test_damage_is_found_in_memory_as_in_files(weights, images):
    """A file that ends early, in steps: an answer or a failure, the same for path and bytes."""
    classifier = alexnet.Classifier(weights["lenet5"])
    whole = next(path for path in images if path.name == "large.jpg").read_bytes()
    cuts = [whole[:length] for length in range(0, len(whole), len(whole) // 50)]
    results = classifier.classify([*cuts, io.BytesIO(whole).getvalue()])
    assert all(isinstance(result, alexnet.Failure) for result in results[:-1])
    assert isinstance(results[-1], alexnet.Answer)
