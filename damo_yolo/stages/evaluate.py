"""AP of a trained model or an exported artifact on the validation shards."""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from damo_yolo import storage
from damo_yolo.boxes import xyxy_to_xywh
from damo_yolo.config import Config
from damo_yolo.evaluation.coco_ap import ApResult, average_precision
from damo_yolo.evaluation.ground_truth import ValidationSet, read_validation_set
from damo_yolo.evaluation.predict import predict
from damo_yolo.inference.backends import open_backend
from damo_yolo.inference.detect import DetectConfig
from damo_yolo.inference.info import DetectorInfo, check_same_classes
from damo_yolo.loading.loader import val_batches
from damo_yolo.samples import Detections

METRICS_FILE = "metrics.json"
DETECTIONS_FILE = "detections.json"


class EvaluateConfig(Config):
    """How to evaluate; the defaults are the published ones."""

    score_threshold: float | None = Field(default=None, ge=0, le=1)
    """None: the artifact's. Higher is quicker and loses recall."""
    iou_threshold: float | None = Field(default=None, gt=0, le=1)
    """None: the artifact's."""
    max_detections: int | None = Field(default=None, ge=1)
    """Counted per image, among classes that are known there; None: the 100 best of each class."""
    batch_size: int = Field(default=8, ge=1)
    threads: int | None = Field(default=None, ge=1)
    """Processor threads; None: the runtime's own choice."""


class EvaluateResult(Config):
    """What `metrics.json` holds. The figures at the top are those of the headline dataset."""

    model: str
    precision: str
    model_uri: str
    headline: str
    """Name of the headline dataset."""
    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    recall: float
    num_images: int
    num_objects: int
    overall: ApResult
    """All validation images of all datasets together, with every class."""
    datasets: dict[str, ApResult]
    """Per source dataset, with every class."""
    score_threshold: float
    iou_threshold: float
    max_detections: int | None
    image_size: int
    label_space_sha256: str
    manifest_sha256: str
    """Of the validation shards."""


def evaluate_model(
    *, model_uri: str, shards_uri: str, out_uri: str, config: EvaluateConfig | None = None
) -> EvaluateResult:
    """Measure AP overall, per source dataset and per class.

    Args:
        model_uri: model folder, `.onnx`, OpenVINO `.xml`, or the JSON of an artifact.
        shards_uri: folder that the shard stage wrote.
        out_uri: where `metrics.json` and `detections.json` go.
        config: how to evaluate.

    Raises:
        DataError: the model's classes are not those of the shards, or no image can be evaluated.
        StorageError: a location cannot be read or written.
    """
    config = config or EvaluateConfig()
    validation = read_validation_set(shards_uri)
    backend = open_backend(model_uri, threads=config.threads)
    check_same_classes(
        backend.class_names, validation.class_names, what=f"{model_uri} and {shards_uri}"
    )
    detect_config = _thresholds(backend.info, config)
    batches = val_batches(shards_uri, image_size=backend.image_size, batch_size=config.batch_size)
    detections = list(predict(backend, batches, detect_config))
    result = _result(validation, detections, model_uri=model_uri, info=backend.info, config=config)
    _write_detections(storage.join(out_uri, DETECTIONS_FILE), detections)
    storage.write_text(storage.join(out_uri, METRICS_FILE), result.model_dump_json(indent=2))
    return result


def _thresholds(info: DetectorInfo, config: EvaluateConfig) -> DetectConfig:
    """Return the thresholds; 500 objects stay, as some fall out for being of unknown classes."""
    score, iou = config.score_threshold, config.iou_threshold
    return DetectConfig(
        score_threshold=info.score_threshold if score is None else score,
        iou_threshold=info.iou_threshold if iou is None else iou,
    )


def _result(
    validation: ValidationSet,
    detections: Sequence[Detections],
    *,
    model_uri: str,
    info: DetectorInfo,
    config: EvaluateConfig,
) -> EvaluateResult:
    settings: dict[str, Any] = {
        "class_names": validation.class_names,
        "max_detections": config.max_detections,
    }
    datasets = {
        name: average_precision(detections, validation.of_dataset(name), **settings)
        for name in validation.datasets
    }
    only = len(datasets) == 1
    overall = (
        datasets[validation.headline]
        if only
        else average_precision(detections, validation.truths, **settings)
    )
    headline = datasets[validation.headline]
    thresholds = _thresholds(info, config)
    return EvaluateResult(
        model=info.model,
        precision=info.precision,
        model_uri=model_uri,
        headline=validation.headline,
        **{name: getattr(headline, name) for name in _HEADLINE_FIGURES},
        overall=overall,
        datasets=datasets,
        score_threshold=thresholds.score_threshold,
        iou_threshold=thresholds.iou_threshold,
        max_detections=config.max_detections,
        image_size=info.image_size,
        label_space_sha256=validation.label_space_sha256,
        manifest_sha256=validation.manifest_sha256,
    )


_HEADLINE_FIGURES = (
    "ap",
    "ap50",
    "ap75",
    "ap_small",
    "ap_medium",
    "ap_large",
    "recall",
    "num_images",
    "num_objects",
)


def _write_detections(uri: str, detections: Sequence[Detections]) -> None:
    """Write COCO results; `image_id` is the key of the image, boxes are xywh pixels."""
    entries = [
        {
            "image_id": item.key,
            "category_id": label,
            "bbox": [round(value, 3) for value in box],
            "score": round(score, 6),
        }
        for item in detections
        for box, score, label in zip(
            xyxy_to_xywh(item.boxes).tolist(),
            item.scores.tolist(),
            item.labels.tolist(),
            strict=True,
        )
    ]
    storage.write_text(uri, json.dumps(entries, separators=(",", ":")))
