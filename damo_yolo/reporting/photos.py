"""Photographs of a report: training samples, detections, and the images where most goes wrong."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.evaluation.detection_files import DETECTIONS_TABLE, read_detections
from damo_yolo.inference.draw import draw_detections
from damo_yolo.inference.images import read_image
from damo_yolo.inference.predictor import SHOWN_SCORE, NamedDetection
from damo_yolo.loading.preview import draw_training_batch
from damo_yolo.reporting.figures import jpeg_uri
from damo_yolo.reporting.gather import RunFiles
from damo_yolo.samples import Detections
from damo_yolo.shards.manifest import Manifest
from damo_yolo.shards.read import RawSample, ShardReader
from damo_yolo.training.config import TrainConfig
from damo_yolo.training.launch import CONFIG_FILE

NUM_FIRST = 6
NUM_WORST = 6
WIDTH = 420


def training_samples(files: RunFiles) -> str:
    """Return a batch of the student's training as a `data:` address; empty without one."""
    at = files.locations
    if not (at.student_uri and at.shards_uri and at.plan_uri):
        return ""
    config_uri = storage.join(at.student_uri, CONFIG_FILE)
    config = TrainConfig.from_yaml(storage.read_text(config_uri), source=config_uri)
    picture = draw_training_batch(
        at.shards_uri,
        at.plan_uri,
        image_size=config.image_size,
        augment=config.augment,
        seed=config.seed,
        phase="mosaic" if config.schedule.mosaic else "plain",
    )
    return jpeg_uri(picture)


def first_detections(files: RunFiles) -> Iterator[tuple[str, str]]:
    """Yield key and picture of the first headline images with what the student finds."""
    if not _is_there(files):
        return
    manifest = Manifest.load(storage.join(files.locations.shards_uri, "val"))
    rows = np.flatnonzero(pc.equal(manifest.datasets, files.headline))[:NUM_FIRST]
    keys = [manifest.keys[int(row)].as_py() for row in rows]
    for raw, found in _samples(files, manifest, keys):
        yield raw.key, _picture(files, raw, found)


def worst_images(files: RunFiles) -> Iterator[tuple[str, str]]:
    """Yield caption and picture of the images with the most errors."""
    if not _is_there(files) or files.errors is None:
        return
    manifest = Manifest.load(storage.join(files.locations.shards_uri, "val"))
    worst = {item.key: item for item in files.errors.worst[:NUM_WORST]}
    for raw, found in _samples(files, manifest, list(worst)):
        item = worst[raw.key]
        caption = (
            f"{raw.key}: {item.num_missed} missed (white boxes: annotated), {item.num_wrong} wrong,"
            f" {item.num_right} right"
        )
        yield caption, _picture(files, raw, found, with_truth=True)


def _is_there(files: RunFiles) -> bool:
    at = files.locations
    return bool(at.shards_uri and at.student_evaluation_uri) and storage.exists(
        storage.join(at.student_evaluation_uri, DETECTIONS_TABLE)
    )


def _samples(
    files: RunFiles, manifest: Manifest, keys: Sequence[str]
) -> Iterator[tuple[RawSample, Detections | None]]:
    uri = storage.join(files.locations.student_evaluation_uri, DETECTIONS_TABLE)
    found = {item.key: item for item in read_detections(uri) if item.key in keys}
    rows = [pc.index(manifest.keys, key).as_py() for key in keys]
    with ShardReader(manifest) as reader:
        for raw in reader.read([row for row in rows if row >= 0]):
            yield raw, found.get(raw.key)


def _picture(
    files: RunFiles, raw: RawSample, found: Detections | None, *, with_truth: bool = False
) -> str:
    image = read_image(raw.image)
    if with_truth:
        image = _outlined(image, raw)
    named = [] if found is None else _named(files, found)
    return jpeg_uri(draw_detections(image, named, min_side=320), max_width=WIDTH)


def _outlined(image: NDArray[np.uint8], raw: RawSample) -> NDArray[np.uint8]:
    """Return a copy with the annotated boxes in white."""
    outlined = image.copy()
    for left, top, right, bottom in raw.boxes.round().astype(int).tolist():
        cv2.rectangle(outlined, (left, top), (right, bottom), (255, 255, 255), 1)
    return outlined


def _named(files: RunFiles, found: Detections) -> list[NamedDetection]:
    shown = files.errors.shown_score if files.errors else SHOWN_SCORE
    rows = zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
    return [
        NamedDetection(files.name_of(label), label, score, (box[0], box[1], box[2], box[3]))
        for box, score, label in rows
        if score >= shown
    ]
