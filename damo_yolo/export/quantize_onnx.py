"""ONNX -> INT8 ONNX with QuantizeLinear and DequantizeLinear, which TensorRT and ONNX Runtime read.

TensorRT takes signed integers without a zero point only, so ranges are symmetric here; OpenVINO's
own INT8 (`openvino`) is free to use zero points.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.export.openvino import graph_input
from damo_yolo.inference.info import METADATA_KEY, DetectorInfo


def quantize_onnx(
    onnx_path: Path, info: DetectorInfo, path: Path, images: Sequence[NDArray[np.uint8]]
) -> DetectorInfo:
    """Write an ONNX file of this project with its convolutions in INT8.

    The first convolution and the decoding stay in floating point.

    Args:
        onnx_path: from `export_onnx`, float32.
        info: of that file.
        path: where to write.
        images: (3, S, S) RGB 0..255 each: the ranges are measured on them.

    Returns:
        `info` with the precision of the file.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    model = onnx.load(onnx_path)
    names = [node.name for node in model.graph.node if node.op_type == "Conv"]
    info = info.with_precision("int8")
    with _quietly(), storage.atomic_path(path) as draft:
        quantize_static(
            model,
            draft,
            _Reader(images, info),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=[names[0], names[-1]],
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,  # TensorRT wants the bias as it is
                "CalibMovingAverage": True,  # the mean of extremes, not the extreme of all
            },
        )
        quantised = onnx.load(draft)
        entry = next(prop for prop in quantised.metadata_props if prop.key == METADATA_KEY)
        entry.value = info.model_dump_json()
        draft.write_bytes(quantised.SerializeToString(deterministic=True))
    return info


class _Reader:
    """Images one by one, as ONNX Runtime's calibration asks for them."""

    def __init__(self, images: Sequence[NDArray[np.uint8]], info: DetectorInfo) -> None:
        self._feeds = (graph_input(image, info) for image in images)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._feeds, None)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Hold back advice that ONNX Runtime logs through the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
