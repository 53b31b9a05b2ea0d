"""What an artifact says of itself, so that one file is enough to use it."""

from collections.abc import Sequence
from typing import Self

from pydantic import Field

from damo_yolo.config import Config
from damo_yolo.errors import DataError

METADATA_KEY = "damo_yolo"
"""Under this key lies the JSON of a `DetectorInfo`: ONNX metadata_props, OpenVINO rt_info."""


class DetectorInfo(Config):
    """The facts that turn outputs into named objects. Written into every exported file."""

    model: str
    """Size of the detector: `damo-yolo-ns`."""
    precision: str = "fp32"
    image_size: int = Field(gt=0, multiple_of=32)
    """Side of the square input, pixels. Images are stretched to it; values are RGB 0..255."""
    class_names: tuple[str, ...]
    label_space_sha256: str = ""
    score_threshold: float = Field(ge=0, le=1)
    """Objects of lower score are noise to the published post-processing."""
    iou_threshold: float = Field(gt=0, le=1)
    """Two boxes of one class that overlap more are one object."""
    preprocess: bool = False
    """The graph takes (B, H, W, 3) BGR images of any size and gives boxes in their pixels."""
    nms: bool = False
    """The graph gives objects, not a score for every class of every anchor point."""
    manifest_sha256: str = ""
    """The shards that the model was trained on."""
    code_version: str = ""

    @classmethod
    def of_file(cls, text: str | None, *, source: str) -> Self:
        """Read the facts found in an artifact.

        Raises:
            DataError: the file holds none: this project did not export it.
        """
        if not text:
            raise DataError(
                f"{source} does not say what its classes are",
                fix="open an artifact written by `damo-yolo export`",
            )
        return cls.model_validate_json(text)

    @property
    def is_complete(self) -> bool:
        """Tell whether the graph holds more than the detector."""
        return self.preprocess or self.nms

    def with_precision(self, precision: str) -> Self:
        """Return the same facts for another precision of the same detector."""
        return self.model_copy(update={"precision": precision})


def check_same_classes(first: Sequence[str], second: Sequence[str], *, what: str) -> None:
    """Raise `DataError` where two lists of class names differ, naming the first difference."""
    if tuple(first) == tuple(second):
        return
    pairs = enumerate(zip(first, second, strict=False))
    where = next((f"class {i} is {a!r} and {b!r}" for i, (a, b) in pairs if a != b), None)
    where = where or f"{len(first)} and {len(second)} classes"
    raise DataError(
        f"{what} have different classes: {where}",
        fix="use the shards and the model of one label space",
    )
