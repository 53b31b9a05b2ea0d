"""What an artifact does on the validation images, next to the model it was made from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from damo_yolo.config import Config
from damo_yolo.evaluation.coco_ap import ApResult, average_precision
from damo_yolo.evaluation.ground_truth import ValidationSet
from damo_yolo.evaluation.latency import (
    LatencyConfig,
    LatencyRecord,
    caller,
    measure_latency,
    noise,
)
from damo_yolo.evaluation.predict import predict, predict_together
from damo_yolo.export.parity import ParityMeter, ParityRecord
from damo_yolo.export.taps import Departure
from damo_yolo.inference.backend import Backend
from damo_yolo.inference.detect import Found
from damo_yolo.loading.loader import val_batches
from damo_yolo.samples import Batch, Detections

REFERENCE = "torch"
"""Name of the model as trained among the backends."""


class AttestConfig(Config):
    """How artifacts are held against the model."""

    batch_size: int = 8
    threads: int | None = None
    """Processor threads of every backend; None: the runtime's own choice."""
    latency: LatencyConfig = LatencyConfig(warmup=3, repeats=30, limit_s=20.0)


class Attestation(Config):
    """What was measured of one artifact, on the headline validation images."""

    ap: ApResult
    ap_drop: float
    """AP of the model less AP of the artifact: negative where the artifact is better."""
    ap50_drop: float
    parity: ParityRecord
    latency: LatencyRecord
    """One image a call, artifacts and model in turn."""
    taps: dict[str, float] = Field(default_factory=dict)
    """Relative difference from the model where its parts hand over, on a few images."""
    departure: Departure | None = None
    """The first tap beyond the tolerance of the precision, and why; None: all within."""

    def to_metrics(self) -> dict[str, float]:
        """Return the figures that an `Artifact` carries."""
        parity, latency = self.parity, self.latency
        figures = {
            "ap": self.ap.ap,
            "ap50": self.ap.ap50,
            "ap_drop": self.ap_drop,
            "ap50_drop": self.ap50_drop,
            "max_score_diff": parity.max_score_diff,
            "mean_score_diff": parity.mean_score_diff,
            "max_box_diff_px": parity.max_box_diff_px,
            "mean_box_diff_px": parity.mean_box_diff_px,
            "found_again": parity.found_again,
            "score_spread": parity.score_spread,
            "num_images": float(parity.num_images),
            "latency_p50_ms": latency.p50_ms,
            "latency_p90_ms": latency.p90_ms,
        }
        return {name: value for name, value in figures.items() if value is not None}


def headline_ap(
    backend: Backend, validation: ValidationSet, shards_uri: str, config: AttestConfig
) -> float:
    """Return the AP of a detector on the headline validation images."""
    batches = _headline_batches(backend, validation, shards_uri, config)
    truths = validation.of_dataset(validation.headline)
    found = list(predict(backend, batches))
    return average_precision(found, truths, class_names=validation.class_names).ap


def headline_images(
    backend: Backend, validation: ValidationSet, shards_uri: str, count: int
) -> NDArray[np.uint8]:
    """Return (count, 3, S, S) of the headline validation images."""
    config = AttestConfig(batch_size=count)
    batch = next(iter(_headline_batches(backend, validation, shards_uri, config)))
    return batch.images.numpy()


def attest(
    backends: Mapping[str, Backend],
    validation: ValidationSet,
    shards_uri: str,
    config: AttestConfig,
) -> dict[str, Attestation]:
    """Run every backend on the headline validation images and compare it with the reference.

    Args:
        backends: name to detector; `REFERENCE` among them.
        validation: annotations of the shards.
        shards_uri: folder that the shard stage wrote.
        config: how.

    Returns:
        Name to what was measured, the reference compared with itself among them.
    """
    tallies = {name: _Tally() for name in backends}
    batches = _headline_batches(backends[REFERENCE], validation, shards_uri, config)
    for predictions in predict_together(backends, batches):
        for name, tally in tallies.items():
            tally.update(predictions[REFERENCE], predictions[name])
    truths = validation.of_dataset(validation.headline)
    aps = {
        name: average_precision(tally.detections, truths, class_names=validation.class_names)
        for name, tally in tallies.items()
    }
    images = noise(backends[REFERENCE].image_size)
    calls = {name: caller(backend) for name, backend in backends.items()}
    latencies = measure_latency(calls, images, config.latency, threads=config.threads)
    reference = aps[REFERENCE]
    return {
        name: Attestation(
            ap=aps[name],
            ap_drop=reference.ap - aps[name].ap,
            ap50_drop=reference.ap50 - aps[name].ap50,
            parity=tally.parity.record(),
            latency=latencies[name],
        )
        for name, tally in tallies.items()
    }


@dataclass(slots=True)
class _Tally:
    """Of one backend."""

    parity: ParityMeter = field(default_factory=ParityMeter)
    detections: list[Detections] = field(default_factory=list)

    def update(self, reference: Found, own: Found) -> None:
        assert reference.scores is not None
        assert reference.boxes is not None
        if own.scores is None or own.boxes is None:
            self.parity.update_spread(reference.scores)
        else:
            self.parity.update((reference.scores, reference.boxes), (own.scores, own.boxes))
        for first, second in zip(reference.detections, own.detections, strict=True):
            self.parity.update_objects(first, second)
        self.detections.extend(own.detections)


def _headline_batches(
    backend: Backend, validation: ValidationSet, shards_uri: str, config: AttestConfig
) -> Iterable[Batch]:
    return val_batches(
        shards_uri,
        image_size=backend.image_size,
        batch_size=config.batch_size,
        datasets=[validation.headline],
    )
