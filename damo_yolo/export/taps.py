"""Where does an artifact part from the model? Values inside both, from the input to the detections.

An exported graph keeps the name of every tap (see `graph`), so any ONNX file or IR of this project
can be asked for what its layers return, next to the fused model in torch.
Shapes: B images, S side of the input, A anchor points, C classes, K channels of a map.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from damo_yolo.config import Config
from damo_yolo.export.causes import explain
from damo_yolo.export.graph import INPUT_TAP, STAGE_TAPS, recorded_taps
from damo_yolo.inference.backend import INPUT_NAME
from damo_yolo.inference.openvino_runtime import import_openvino
from damo_yolo.models.detector import Detector

Taps = dict[str, NDArray[np.float32]]
"""Name to value, in the order of computation."""

SCORES_TAP, BOXES_TAP = "tap.decode.scores", "tap.decode.boxes"
SUMMARY = (INPUT_TAP, *STAGE_TAPS, SCORES_TAP, BOXES_TAP)
"""The taps a record lists; the others, one a convolution, narrow a departure down."""
TOLERANCES = {"fp32": 1e-3, "fp16": 0.05, "int8": 0.5}
"""Relative difference of a tap beyond which it departs, by precision of the artifact."""


class Departure(Config):
    """The first tap at which two detectors differ."""

    tap: str
    difference: float
    """Root mean square of the difference over that of the reference."""
    cause: str


def torch_taps(fused: Detector, images: NDArray[Any]) -> Taps:
    """Return what a fused detector computes of (B, 3, S, S) RGB images."""
    import torch

    with torch.inference_mode(), recorded_taps(fused) as taps:
        scores, boxes = fused(torch.from_numpy(np.asarray(images, np.float32)))
    values = {name: value.float().numpy() for name, value in taps.items()}
    ends = {SCORES_TAP: scores.numpy(), BOXES_TAP: boxes.numpy()}
    return {INPUT_TAP: np.asarray(images, np.float32)} | values | ends


def file_taps(path: Path, images: NDArray[Any]) -> Taps:
    """Return what an ONNX file or an IR computes of what its graph takes.

    Args:
        path: an `.onnx` or `.xml` of this project.
        images: as the graph takes them.
    """
    feed = {INPUT_NAME: images}
    found = _onnx_taps(path, feed) if path.suffix == ".onnx" else _openvino_taps(path, feed)
    for output, tap in (("scores", SCORES_TAP), ("boxes", BOXES_TAP)):
        if output in found:
            found[tap] = found.pop(output)
    if INPUT_TAP not in found:  # nothing is in front of the network
        found[INPUT_TAP] = images
    return {name: np.asarray(value, np.float32) for name, value in found.items()}


def compare(reference: Mapping[str, Any], candidate: Mapping[str, Any]) -> dict[str, float]:
    """Return the relative difference of every tap that both have, in the reference's order."""
    return {
        name: relative_difference(value, candidate[name])
        for name, value in reference.items()
        if name in candidate and candidate[name].shape == value.shape
    }


def find_departure(
    reference: Mapping[str, Any], candidate: Mapping[str, Any], *, tolerance: float
) -> Departure | None:
    """Return the first tap that differs by more than the tolerance, and why; None: they agree.

    A tap inside a stage counts only where the end of that stage departs too: quantisation scales
    channels in one layer and takes it back in the next, which changes no result.
    """
    differences = compare(reference, candidate)
    departing: list[str] = []
    for name, difference in differences.items():
        if difference > tolerance:
            departing.append(name)
        if name not in SUMMARY:
            continue
        if difference > tolerance:
            first = departing[0]
            cause = explain(first, reference[first], candidate[first], tolerance=tolerance)
            return Departure(tap=first, difference=differences[first], cause=cause)
        departing.clear()
    return None


def relative_difference(reference: NDArray[Any], candidate: NDArray[Any]) -> float:
    """Return the root mean square of the difference over that of the reference."""
    scale = float(np.sqrt(np.mean(np.square(reference, dtype=np.float64))))
    gap = np.subtract(candidate, reference, dtype=np.float64)
    return float(np.sqrt(np.mean(gap**2))) / max(scale, 1e-12)


def _onnx_taps(path: Path, feed: Mapping[str, Any]) -> dict[str, Any]:
    import onnx
    import onnxruntime

    model = onnx.load(path)
    inside = [value for value in model.graph.value_info if value.name.startswith("tap.")]
    made = {name for node in model.graph.node for name in node.output}
    model.graph.output.extend(value for value in inside if value.name in made)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feed)), strict=True))


def _openvino_taps(path: Path, feed: Mapping[str, Any]) -> dict[str, Any]:
    openvino = import_openvino()
    core = openvino.Core()
    model = core.read_model(path)
    names = sorted(
        name
        for node in model.get_ordered_ops()
        for port in node.outputs()
        for name in port.get_names()
        if name.startswith("tap.") and node.get_type_name() != "Result"
    )
    model.add_outputs(names)
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled.create_infer_request().infer(dict(feed))
    return {name: np.array(value) for port, value in found.items() for name in port.get_names()}
