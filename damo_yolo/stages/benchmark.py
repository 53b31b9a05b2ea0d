"""How fast models are, side by side: runtimes, precisions, batches and threads in turn."""

import io
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.errors import ConfigError, DamoYoloError
from damo_yolo.evaluation.latency import (
    Call,
    Environment,
    LatencyConfig,
    LatencyRecord,
    caller,
    describe_environment,
    measure_latency,
    noise,
)
from damo_yolo.export.forms import FORMS, FormConfig, build_forms
from damo_yolo.export.onnx import GraphConfig
from damo_yolo.inference.backend import Backend
from damo_yolo.inference.backends import TorchBackend, open_backend
from damo_yolo.inference.detect import DetectConfig, detect
from damo_yolo.inference.images import to_network_input
from damo_yolo.inference.info import DetectorInfo
from damo_yolo.inference.model_folder import LoadedModel, load_model
from damo_yolo.inference.sources import Frame, read_frames
from damo_yolo.models.zoo import MODEL_NAMES, build_detector, detector_config
from damo_yolo.reporting.latency_plot import Bar, plot_latency

TORCH = "torch"
RESULT_FILE = "benchmark.json"
PLOT_FILE = "benchmark.svg"
FILE_SUFFIXES = (".onnx", ".xml", ".engine", ".plan")
NUM_CALIBRATION = 8


class BenchmarkConfig(Config):
    """What is timed."""

    forms: tuple[str, ...] = ("onnx", "openvino-fp16", "openvino-int8")
    """Keys of `FORMS` that run here, or `torch`; a file is what it is."""
    batches: tuple[int, ...] = (1,)
    threads: tuple[int | None, ...] = (None,)
    """None: the runtime's own choice."""
    postprocess: bool = True
    """False: the network alone, from a tensor in memory to its outputs, as the paper times it."""
    latency: LatencyConfig = Field(default_factory=LatencyConfig)


class BenchmarkRow(Config):
    """One model in one form under one load."""

    model: str
    form: str
    batch_size: int
    threads: int | None
    images_per_s: float
    """From the median."""
    latency: LatencyRecord


class BenchmarkResult(Config):
    """What `benchmark.json` holds."""

    rows: tuple[BenchmarkRow, ...]
    postprocess: bool
    environment: Environment


class Contender(Config, arbitrary_types_allowed=True):
    """A model in a form, ready to be opened."""

    model: str
    form: str
    open: Callable[[int | None], Backend]
    """Threads to backend."""


def benchmark_models(
    *,
    models: Sequence[str],
    out_uri: str | None = None,
    images_uri: str | None = None,
    config: BenchmarkConfig | None = None,
) -> BenchmarkResult:
    """Time models against each other: all in one run, call by call in turn.

    Args:
        models: model folders, exported files, or sizes (`damo-yolo-nm`, `damo-yolo-nm+hard_swish`)
            with random weights, which take as long.
        out_uri: where `benchmark.json` and the plot go; None: nowhere.
        images_uri: pictures to detect in; None: noise, in which little is found, so that
            post-processing is quick.
        config: what is timed.

    Raises:
        ConfigError: a model or a form is unknown.
        DamoYoloError: a form could not be built.
    """
    config = config or BenchmarkConfig()
    rows: list[BenchmarkRow] = []
    with tempfile.TemporaryDirectory() as folder:
        contenders = [
            contender
            for place, name in enumerate(models)
            for contender in contenders_of(name, Path(folder) / str(place), config)
        ]
        for threads in config.threads:
            backends = [contender.open(threads) for contender in contenders]
            for batch in config.batches:
                rows += time_together(
                    contenders,
                    backends,
                    batch=batch,
                    threads=threads,
                    images_uri=images_uri,
                    config=config,
                )
    result = BenchmarkResult(
        rows=tuple(rows), postprocess=config.postprocess, environment=describe_environment()
    )
    if out_uri:
        storage.write_text(storage.join(out_uri, RESULT_FILE), result.model_dump_json(indent=2))
        figure = io.BytesIO()
        bars = [_bar(row) for row in rows]
        plot_latency(bars, figure, subtitle=result.environment.cpu)
        storage.write_bytes(storage.join(out_uri, PLOT_FILE), figure.getvalue())
    return result


def contenders_of(name: str, folder: Path, config: BenchmarkConfig) -> list[Contender]:
    """Return a model in the forms asked for, exported below a folder."""
    unknown = [form for form in config.forms if form != TORCH and form not in FORMS]
    if unknown:
        raise ConfigError(
            f"no form is called {unknown[0]!r}", fix=f"use some of: torch, {', '.join(FORMS)}"
        )
    if Path(name).suffix in FILE_SUFFIXES:
        info = open_backend(name).info
        kind = {".onnx": "onnx", ".xml": "openvino"}.get(Path(name).suffix, "tensorrt")
        form = f"{kind}-{info.precision}"
        return [Contender(model=Path(name).stem, form=form, open=_opener(name))]
    model = _model_of(name)
    label = name if name.partition("+")[0] in MODEL_NAMES else Path(name).name
    folder.mkdir(parents=True)
    forms = build_forms(
        model.detector,
        model.info,
        [form for form in config.forms if form != TORCH],
        folder,
        load_images=lambda count: list(
            noise(model.info.image_size, batch=min(count, NUM_CALIBRATION))
        ),
        config=FormConfig(graph=GraphConfig(dynamic_batch=max(config.batches) > 1)),
    )
    found = []
    if TORCH in config.forms:
        found.append(Contender(model=label, form=TORCH, open=partial(_open_torch, model)))
    for built in forms:
        if built.path is None:
            raise DamoYoloError(f"{built.name} cannot be built: {built.note}", fix="leave it out")
        path = str(built.path)
        found.append(Contender(model=label, form=built.name, open=_opener(path)))
    return found


def _open_torch(model: LoadedModel, threads: int | None) -> Backend:
    return TorchBackend(model.detector, model.info, threads=threads)


def _opener(path: str) -> Callable[[int | None], Backend]:
    return lambda threads: open_backend(path, threads=threads)


def time_together(
    contenders: Sequence[Contender],
    backends: Sequence[Backend],
    *,
    batch: int,
    threads: int | None,
    images_uri: str | None,
    config: BenchmarkConfig,
) -> list[BenchmarkRow]:
    """Return one row per contender, all timed in the same rounds."""
    calls: dict[str, Call] = {}
    sizes = {}
    for contender, backend in zip(contenders, backends, strict=True):
        key = f"{contender.model} {contender.form}"
        images = _images(images_uri, backend.image_size, batch)
        calls[key] = _call(backend, images, postprocess=config.postprocess)
        sizes[key] = backend.image_size
    if len(calls) < len(contenders):
        raise ConfigError("a model was named twice", fix="name each model once")
    given = np.zeros((batch, 3, 1, 1), np.uint8)  # each call holds images of its own size
    records = measure_latency(calls, given, config.latency, threads=threads)
    return [
        BenchmarkRow(
            model=contender.model,
            form=contender.form,
            batch_size=batch,
            threads=threads,
            images_per_s=round(1000 * batch / record.p50_ms, 2),
            latency=record.model_copy(update={"image_size": sizes[key]}),
        )
        for contender, (key, record) in zip(contenders, records.items(), strict=True)
    ]


def _call(backend: Backend, images: NDArray[np.uint8], *, postprocess: bool) -> Call:
    if not postprocess:
        run = caller(backend)
        values: NDArray[Any] = images.astype(np.float32)
        return lambda _: run(values)
    keys = [""] * len(images)
    sizes = [(backend.image_size, backend.image_size)] * len(images)
    config = DetectConfig.of(backend)
    return lambda _: detect(backend, images, config, keys=keys, original_sizes=sizes)


def _images(uri: str | None, size: int, batch: int) -> NDArray[np.uint8]:
    if uri is None:
        return noise(size, batch=batch)
    frames = [frame for frame in islice(read_frames(uri), batch) if isinstance(frame, Frame)]
    if not frames:
        raise ConfigError(f"no picture of {uri} can be read", fix="give other images")
    inputs = [to_network_input(frame.pixels, size) for frame in frames]
    return np.stack([inputs[i % len(inputs)] for i in range(batch)])


def _model_of(name: str) -> LoadedModel:
    size, _, activation = name.partition("+")
    if size not in MODEL_NAMES:
        return load_model(name)
    overrides: dict[str, Any] = {"activation": activation} if activation else {}
    detector = build_detector(size, **overrides).eval()
    config = detector_config(size)
    info = DetectorInfo(
        model=size,
        image_size=config.image_size,
        class_names=tuple(f"class {i}" for i in range(config.num_classes)),
        score_threshold=config.score_threshold,
        iou_threshold=config.iou_threshold,
    )
    return LoadedModel(detector, info, name)


def _bar(row: BenchmarkRow) -> Bar:
    threads = "" if row.threads is None else f", {row.threads} threads"
    label = f"{row.model} {row.form}, batch {row.batch_size}{threads}"
    return label, row.latency.p10_ms, row.latency.p50_ms, row.latency.p90_ms
