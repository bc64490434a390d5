"""Types of the module, whose documentation is that of its objects: `help(alexnet.Classifier)`."""

import os
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt

__all__ = ["Answer", "Classifier", "Failure", "Prediction", "WeightsError", "__version__"]
__version__: str

_Image: TypeAlias = str | os.PathLike[str] | bytes | bytearray | npt.NDArray[np.uint8] | _PillowImage
"""A path, the bytes of a file, an array of pixels, or an image of Pillow (`PIL.Image.Image`)."""

_PillowImage: TypeAlias = Any

class WeightsError(ValueError): ...

@final
class Prediction:
    @property
    def class_index(self) -> int: ...
    @property
    def label(self) -> str: ...
    @property
    def probability(self) -> float: ...

@final
class Answer:
    @property
    def path(self) -> str | None: ...
    @property
    def class_index(self) -> int: ...
    @property
    def label(self) -> str: ...
    @property
    def probability(self) -> float: ...
    @property
    def top(self) -> list[Prediction]: ...
    @property
    def logits(self) -> list[float]: ...
    @property
    def doubt(self) -> Literal["light border", "unsure"] | None: ...
    def to_dict(self, *, logits: bool = False) -> dict[str, Any]: ...

@final
class Failure:
    @property
    def path(self) -> str | None: ...
    @property
    def error(self) -> str: ...
    def to_dict(self, *, logits: bool = False) -> dict[str, Any]: ...

@final
class Classifier:
    def __new__(
        cls,
        weights: str | os.PathLike[str] | None = None,
        *,
        threads: int | None = None,
        labels: str | os.PathLike[str] | None = None,
        invert: bool = False,
        orient: bool | None = None,
        accept_damaged: bool = False,
    ) -> Classifier: ...
    @property
    def classes(self) -> list[str]: ...
    @property
    def network(self) -> str: ...
    @property
    def input_shape(self) -> tuple[int, int, int]: ...
    @property
    def threads(self) -> int: ...
    def classify(self, images: Iterable[_Image], *, top_k: int = 1) -> list[Answer | Failure]: ...
    def logits(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]: ...
