"""What a run produces, and how it is told apart: typed entries of small JSON files.

Every stage writes one JSON beside its output; the next stage reads it. An `Artifact` names a file
or folder that can be deployed; its `sha256` ties a registered version to these very bytes.
"""

import hashlib
import json
from typing import Literal

from pydantic import Field

from damo_yolo.config import Config

Kind = Literal["checkpoint", "torch", "onnx", "openvino", "tensorrt", "tensorrt-rtx"]
Precision = Literal["fp32", "fp16", "int8"]


class Artifact(Config):
    """A detector in a form that can be deployed."""

    kind: Kind
    precision: Precision
    uri: str
    """The file to open (`.onnx`, `.xml`, `.plan`, `.pt`); its companions lie beside it."""
    sha256: str
    """Of the file, and of its companions in name order, concatenated."""
    model: str
    """Size of the detector: `damo-yolo-ns`."""
    image_size: int
    """Side of the square network input, pixels."""
    label_space_sha256: str
    metrics: dict[str, float] = Field(default_factory=dict)
    attested: bool = True
    """False where the artifact could not be built or run here; `note` says why."""
    note: str = ""


def output_uri(workspace: str, stage: str, **inputs: object) -> str:
    """Return where a stage puts its output: `<workspace>/<stage>-<hash of its inputs>`.

    The same inputs give the same place, other inputs another one, so a run never overwrites what
    an earlier run made and a repeated run finds its work done.

    Args:
        workspace: folder or s3:// prefix of all runs of a pipeline.
        stage: name of the stage, readable in a listing.
        inputs: everything that decides the output: locations, settings, code version.
    """
    text = json.dumps(inputs, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()[:12]
    return f"{workspace.rstrip('/')}/{stage}-{digest}"
