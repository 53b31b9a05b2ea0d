"""A worker's part of an evaluation: its images through the model, and their matches.

Every `world_size`-th batch is one worker's. Batches are the same whatever the number of workers,
and tallies are joined by the numbers of the images, so the figures do not depend on it.
"""

from damo_yolo.config import Config
from damo_yolo.evaluation.coco_ap import ApTally, in_order
from damo_yolo.evaluation.ground_truth import ValidationSet, read_validation_set
from damo_yolo.evaluation.predict import predict
from damo_yolo.inference.backends import open_backend
from damo_yolo.inference.detect import DetectConfig
from damo_yolo.loading.loader import val_batches
from damo_yolo.samples import Detections


class PartJob(Config):
    """What a worker is told."""

    model_uri: str
    shards_uri: str
    detect: DetectConfig
    batch_size: int
    threads: int | None
    max_detections: int | None
    rank: int = 0
    world_size: int = 1


Part = tuple[list[Detections], dict[str, bytes]]
"""Detections, and by dataset the tally of a worker's images."""


def evaluate_part(job: PartJob) -> Part:
    """Find the objects of a worker's images and match them with the annotations."""
    validation = read_validation_set(job.shards_uri)
    backend = open_backend(job.model_uri, threads=job.threads)
    batches = val_batches(
        job.shards_uri,
        image_size=backend.image_size,
        batch_size=job.batch_size,
        rank=job.rank,
        world_size=job.world_size,
    )
    detections = list(predict(backend, batches, job.detect))
    tallies = tally_by_dataset(detections, validation, max_detections=job.max_detections)
    return detections, {name: tally.to_bytes() for name, tally in tallies.items()}


def tally_by_dataset(
    detections: list[Detections], validation: ValidationSet, *, max_detections: int | None
) -> dict[str, ApTally]:
    """Return the tally of each dataset's images that have an entry among the detections."""
    found = {item.key: item for item in detections}
    tallies: dict[str, ApTally] = {}
    for image_id, truth in enumerate(in_order(validation.truths), start=1):
        if truth.key not in found:
            continue
        if truth.dataset not in tallies:
            tallies[truth.dataset] = ApTally(
                len(validation.class_names), max_detections=max_detections
            )
        tallies[truth.dataset].add(image_id, truth, found[truth.key])
    return tallies


def join_parts(parts: list[Part]) -> tuple[list[Detections], dict[str, ApTally]]:
    """Return the detections of all parts by key, and the tally of each dataset."""
    detections = sorted((item for found, _ in parts for item in found), key=lambda item: item.key)
    tallies: dict[str, ApTally] = {}
    for _, own in parts:
        for name, data in own.items():
            tally = ApTally.from_bytes(data)
            tallies[name] = tallies[name] + tally if name in tallies else tally
    return detections, dict(sorted(tallies.items()))
