"""Networks on their target: what each takes, and what its operators take inside it."""

import json
import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from damo_yolo.errors import ConfigError
from damo_yolo.export.onnx import export_onnx
from damo_yolo.inference.backend import INPUT_NAME
from damo_yolo.inference.info import DetectorInfo
from damo_yolo.inference.openvino_runtime import import_openvino
from damo_yolo.models.config import DetectorConfig
from damo_yolo.models.detector import Detector
from damo_yolo.models.reparam import fuse
from damo_yolo.search.fitted_latency import OpTime

OP_RUNS = 12
"""Runs under the operator profiler; each operator's fastest counts."""

logger = logging.getLogger(__name__)


class Placed(NamedTuple):
    """A network on its target."""

    run: Callable[[], object]
    """One image, end to end."""
    ops: tuple[OpTime, ...]


def place(target: str, config: DetectorConfig, *, threads: int) -> Placed:
    """Bring a detector with random weights onto a target and measure its operators.

    Raises:
        ConfigError: no target has this name.
        MissingExtraError: its runtime is not installed.
    """
    if target not in TARGETS:
        raise ConfigError(
            f"no target is called {target!r}", fix=f"use one of: {', '.join(TARGETS)}"
        )
    return TARGETS[target](config, threads)


def time_in_turn(runs: Sequence[Callable[[], object]], *, rounds: int) -> list[float]:
    """Return milliseconds of each, the fastest of rounds that take all in turn.

    What else the machine does only ever adds to a time.
    """
    for run in runs:
        run()
    seconds = np.empty((rounds, len(runs)))
    for turn in range(rounds):
        for index, run in enumerate(runs):
            start = time.perf_counter()
            run()
            seconds[turn, index] = time.perf_counter() - start
    return [float(value) * 1e3 for value in seconds.min(axis=0)]


def _place_openvino(config: DetectorConfig, threads: int) -> Placed:
    import torch

    openvino = import_openvino()
    images = torch.zeros(1, 3, config.image_size, config.image_size)
    model = openvino.convert_model(fuse(Detector(config)), example_input=images)
    model.reshape(list(images.shape))
    settings: dict[str, Any] = {  # those of inference.backends
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
    }
    core = openvino.Core()
    pixels = _pixels(config)
    watched = core.compile_model(model, "CPU", settings | {"PERF_COUNT": True})
    shapes = {
        node.get_friendly_name(): _openvino_shape(node)
        for node in watched.get_runtime_model().get_ordered_ops()
        if str(node.get_rt_info()["layerType"].astype(str)).endswith("Convolution")
    }
    request = watched.create_infer_request()
    fastest: dict[str, float] = {}
    for _ in range(OP_RUNS):
        request.infer([pixels])
        for op in request.get_profiling_info():
            ms = op.real_time.total_seconds() * 1e3
            fastest[op.node_name] = min(fastest.get(op.node_name, ms), ms)
    timed = [(shape, fastest[name]) for name, shape in shapes.items() if name in fastest]
    plain = core.compile_model(model, "CPU", settings).create_infer_request()
    return Placed(lambda: plain.infer([pixels]), _together(timed))


def _openvino_shape(node: Any) -> "Shape":
    weights = [int(side) for side in node.input(1).get_shape()]
    return _shape(
        node.input(0).get_shape(), weights, node.output(0).get_shape(), grouped=len(weights) > _RANK
    )


def _place_onnx(config: DetectorConfig, threads: int) -> Placed:
    import onnxruntime

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "network.onnx"
        export_onnx(fuse(Detector(config)), _info(config), path)
        content = path.read_bytes()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        plain = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(name) / "profile")
        watched = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
        feed = {INPUT_NAME: _pixels(config)}
        for _ in range(OP_RUNS):
            watched.run(None, feed)
        events = json.loads(Path(watched.end_profiling()).read_text(encoding="utf-8"))
    fastest: dict[str, tuple[Shape, float]] = {}
    for event in events:
        facts = event.get("args", {})
        if "Conv" not in facts.get("op_name", "") or not event["name"].endswith("_kernel_time"):
            continue
        shapes = [next(iter(shape.values())) for shape in facts["input_type_shape"]]
        output = next(iter(facts["output_type_shape"][0].values()))
        shape, ms = _onnx_shape(shapes[0], shapes[1], output), event["dur"] / 1e3
        fastest[event["name"]] = (shape, min(fastest.get(event["name"], (shape, ms))[1], ms))
    return Placed(lambda: plain.run(None, feed), _together(list(fastest.values())))


def _onnx_shape(image: list[int], weights: list[int], output: list[int]) -> "Shape":
    return _shape(image, weights, output, grouped=weights[1] == 1 and output[1] > 1)


def _place_tensorrt(config: DetectorConfig, threads: int) -> Placed:  # noqa: ARG001 - a GPU has none
    """Place an engine; it fuses operators across convolutions, so only whole networks are timed."""
    from damo_yolo.export.tensorrt import build_engine
    from damo_yolo.inference.tensorrt_runtime import open_engine

    info = _info(config)
    with tempfile.TemporaryDirectory() as name:
        onnx_path, engine_path = Path(name) / "network.onnx", Path(name) / "network.engine"
        export_onnx(fuse(Detector(config)).half(), info, onnx_path)
        build_engine(onnx_path, info, engine_path)
        backend = open_engine(str(engine_path))
    pixels = _pixels(config)
    return Placed(lambda: backend(pixels), ())


TARGETS: Mapping[str, Callable[[DetectorConfig, int], Placed]] = {
    "openvino-cpu": _place_openvino,
    "onnx": _place_onnx,
    "tensorrt": _place_tensorrt,
}

Shape = tuple[int, int, int, int, int, bool]
"""Input and output channels, kernel, side of the output, stride, depthwise."""

_RANK = 4


def _shape(image: Any, weights: Sequence[int], output: Any, *, grouped: bool) -> Shape:
    side = int(output[2])
    return (int(image[1]), int(output[1]), weights[-1], side, int(image[2]) // side, grouped)


def _together(timed: Sequence[tuple[Shape, float]]) -> tuple[OpTime, ...]:
    totals: dict[Shape, float] = {}
    for shape, ms in timed:
        totals[shape] = totals.get(shape, 0.0) + ms
    names = ("cin", "cout", "kernel", "size", "stride", "depthwise")
    return tuple(
        OpTime.model_validate({**dict(zip(names, shape, strict=True)), "ms": ms})
        for shape, ms in totals.items()
    )


def _pixels(config: DetectorConfig) -> Any:
    side = config.image_size
    return np.random.default_rng(0).uniform(0, 255, (1, 3, side, side)).astype(np.float32)


def _info(config: DetectorConfig) -> DetectorInfo:
    return DetectorInfo(
        model="profiled",
        image_size=config.image_size,
        class_names=tuple(str(index) for index in range(config.num_classes)),
        score_threshold=config.score_threshold,
        iou_threshold=config.iou_threshold,
    )
