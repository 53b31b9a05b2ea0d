"""Fused detector -> ONNX that says what it is.

Input `images` (B, 3, S, S) float32 RGB 0..255; outputs `scores` (B, A, C) after the sigmoid and
`boxes` (B, A, 4) xyxy in pixels of the input, all float32 whatever the precision inside.
Options put what comes before and after the detector inside: see `GraphConfig`.

Values inside keep names: `tap.<layer>` is what a convolution returns, `tap.backbone.8` what the
backbone hands over. They cost nothing, and a comparison with the model can ask for them.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.export.graph import ExportedGraph
from damo_yolo.export.suppression import with_suppression
from damo_yolo.inference.backend import INPUT_NAME, OUTPUT_NAMES
from damo_yolo.inference.info import METADATA_KEY, DetectorInfo
from damo_yolo.models.detector import Detector

OPSET = 20
"""What torch's exporter writes by default; ONNX Runtime, OpenVINO and TensorRT all read it."""


class GraphConfig(Config):
    """What a graph holds beside the detector."""

    dynamic_batch: bool = False
    """True: any number of images at once; False: one, which runs fastest."""
    preprocess: bool = False
    """True: takes (B, H, W, 3) uint8 BGR images of any size, as OpenCV reads them, and gives boxes
    in their pixels; resize, colour order and scaling are in the graph."""
    nms: bool = False
    """True: gives the best 500 objects an image after suppression, see `suppression`."""


PLAIN = GraphConfig()


def export_onnx(
    detector: Detector, info: DetectorInfo, path: Path, config: GraphConfig = PLAIN
) -> DetectorInfo:
    """Write a fused detector as one ONNX file.

    The same weights give the same bytes: source lines and folders that the exporter notes in the
    graph are taken out.

    Args:
        detector: from `fuse`; float32 or, for an engine, a `half()` copy of it.
        info: written into the file.
        path: where to write.
        config: what the graph holds beside the detector.

    Returns:
        `info` with the precision of the weights and what the graph holds.
    """
    precision = "fp16" if next(detector.parameters()).dtype == torch.float16 else "fp32"
    held = {"precision": precision, "preprocess": config.preprocess, "nms": config.nms}
    info = info.model_copy(update=held)
    model = _trace(detector, info, config)
    _hide_taps(model.graph)
    if config.nms:
        model = with_suppression(model, info)
    model.producer_name, model.doc_string = "damo-yolo-pipeline", ""
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, info.model_dump_json()
    with storage.atomic_path(path) as draft:
        draft.write_bytes(model.SerializeToString(deterministic=True))
    return info


def _trace(detector: Detector, info: DetectorInfo, config: GraphConfig) -> Any:
    """Return the graph with the taps among its outputs."""
    batch, size = 2 if config.dynamic_batch else 1, info.image_size
    images = torch.zeros(batch, 3, size, size)
    open_sizes: dict[int, str] = {0: "batch"} if config.dynamic_batch else {}
    if config.preprocess:
        images = torch.zeros(batch, size + 8, size + 16, 3, dtype=torch.uint8)
        open_sizes |= {1: "height", 2: "width"}
    graph = ExportedGraph(detector, preprocess=config.preprocess, side=size).eval()
    with _quietly():
        program = torch.onnx.export(
            graph,
            (images,),
            input_names=[INPUT_NAME],
            output_names=[*OUTPUT_NAMES, *graph.tap_names(images)],
            opset_version=OPSET,
            dynamic_shapes=(open_sizes,) if open_sizes else None,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto  # made anew at each access
    _forget_origin(model.graph)
    return model


def _hide_taps(graph: Any) -> None:
    """Make the taps values inside: a name each, no output."""
    hidden = [value for value in graph.output if value.name not in OUTPUT_NAMES]
    for value in hidden:
        graph.output.remove(value)
        graph.value_info.append(value)


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
