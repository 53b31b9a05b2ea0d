"""Fused detector -> ONNX that says what it is.

Input `images` (B, 3, S, S) float32 RGB 0..255; outputs `scores` (B, A, C) after the sigmoid and
`boxes` (B, A, 4) xyxy in pixels of the input, all float32 whatever the precision inside.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from damo_yolo import storage
from damo_yolo.inference.backends import INPUT_NAME, OUTPUT_NAMES
from damo_yolo.inference.info import METADATA_KEY, DetectorInfo
from damo_yolo.models.detector import Detector

OPSET = 20
"""What torch's exporter writes by default; ONNX Runtime, OpenVINO and TensorRT all read it."""


def export_onnx(
    detector: Detector,
    info: DetectorInfo,
    path: Path,
    *,
    dynamic_batch: bool = False,
) -> DetectorInfo:
    """Write a fused detector as one ONNX file.

    The same weights give the same bytes: source lines and folders that the exporter notes in the
    graph are taken out.

    Args:
        detector: from `fuse`; float32 or, for an engine, a `half()` copy of it.
        info: written into the file.
        path: where to write.
        dynamic_batch: the number of images is open; False: one image, which runs fastest.

    Returns:
        `info` with the precision of the weights.
    """
    precision = "fp16" if next(detector.parameters()).dtype == torch.float16 else "fp32"
    info = info.with_precision(precision)
    size = info.image_size
    images = torch.zeros(2 if dynamic_batch else 1, 3, size, size)
    with _quietly():
        program = torch.onnx.export(
            _Float32Ends(detector).eval(),
            (images,),
            input_names=[INPUT_NAME],
            output_names=list(OUTPUT_NAMES),
            opset_version=OPSET,
            dynamic_shapes=({0: "batch"},) if dynamic_batch else None,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _forget_origin(model.graph)
    model.producer_name, model.doc_string = "damo-yolo-pipeline", ""
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, info.model_dump_json()
    with storage.atomic_path(path) as draft:
        draft.write_bytes(model.SerializeToString(deterministic=True))
    return info


class _Float32Ends(nn.Module):
    """The detector between float32 images and float32 outputs."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        dtype = next(self.detector.parameters()).dtype
        scores, boxes = self.detector(images.to(dtype))
        return scores.float(), boxes.float()


def _forget_origin(graph: Any) -> None:
    """Drop the notes on source files, modules and rewrites; they name this machine's folders."""
    del graph.metadata_props[:]
    graph.doc_string = ""
    for part in (graph.node, graph.initializer, graph.input, graph.output, graph.value_info):
        for item in part:
            del item.metadata_props[:]
            item.doc_string = ""


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Hold back what the exporter says of itself; its errors still come through."""
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
