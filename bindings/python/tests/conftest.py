"""Weights and images for the tests, and infer-cli, whose answers are the expected ones."""

import json
import os
import subprocess
from pathlib import Path

import lenet5
import numpy as np
import pytest
from PIL import Image


class InferCli:
    """The program that $INFER_CLI names."""

    def __init__(self) -> None:
        self.program = os.environ["INFER_CLI"]

    def run(self, *arguments):
        return subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True)

    def records(self, *arguments) -> dict[str, dict]:
        """The records of `classify`, by path."""
        found = self.run("classify", "--format", "jsonl", "--logits", "--top-k", "3", "--quiet", *arguments)
        assert found.returncode in (0, 1), found.stderr
        lines = [json.loads(line) for line in found.stdout.splitlines()]
        return {line["path"]: line for line in lines}


@pytest.fixture(scope="session")
def infer_cli() -> InferCli:
    return InferCli()


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("alexnet")


@pytest.fixture(scope="session")
def weights(folder: Path, infer_cli: InferCli) -> dict[str, Path | None]:
    """Weights of LeNet-5 as they were made and packed, and the model inside."""
    made, packed = folder / "lenet5.safetensors", folder / "packed.safetensors"
    lenet5.save(made)
    found = infer_cli.run("pack", "--weights", made, "--output", packed)
    assert found.returncode == 0, found.stderr
    return {"lenet5": made, "packed": packed, "inside": None}


@pytest.fixture(scope="session")
def images(folder: Path) -> list[Path]:
    """Images of many kinds, and some that are none."""
    random = np.random.default_rng(5)
    images = folder / "images"
    images.mkdir()

    def noise(*shape: int) -> np.ndarray:
        return random.integers(0, 256, shape, np.uint8)

    for number in range(40):
        Image.fromarray(noise(28, 28)).save(images / f"gray-{number:02}.png")
    for number in range(5):
        Image.fromarray(noise(50, 31, 3)).save(images / f"colour-{number}.png")
    Image.fromarray(noise(300, 400, 3)).save(images / "large.jpg")
    Image.fromarray(noise(20, 20, 3)).quantize(16).save(images / "palette.png")
    Image.fromarray(noise(20, 20, 4), "RGBA").save(images / "transparent.png")
    (images / "text.png").write_text("no image")
    (images / "empty.png").touch()
    whole = (images / "gray-00.png").read_bytes()
    (images / "cut.png").write_bytes(whole[: len(whole) // 2])
    return sorted(images.iterdir())
