"""Validation batches through one or several backends: detections, each image decoded once."""

from collections.abc import Iterable, Iterator, Mapping

from damo_yolo.inference.backend import Backend
from damo_yolo.inference.detect import DetectConfig, Found, run_and_detect
from damo_yolo.samples import Batch, Detections


def predict(
    backend: Backend, batches: Iterable[Batch], config: DetectConfig | None = None
) -> Iterator[Detections]:
    """Yield the detections of every image, in order.

    Args:
        backend: the detector.
        batches: from `val_batches`.
        config: thresholds; None: the published ones, 500 objects an image.
    """
    for prediction in predict_together({"": backend}, batches, config):
        yield from prediction[""].detections


def predict_together(
    backends: Mapping[str, Backend], batches: Iterable[Batch], config: DetectConfig | None = None
) -> Iterator[dict[str, Found]]:
    """Yield, for every batch, what each backend says of it.

    Args:
        backends: name to detector.
        batches: from `val_batches`.
        config: thresholds for all; None: each backend's published ones, 500 objects an image.
    """
    configs = {name: config or DetectConfig.of(backend) for name, backend in backends.items()}
    for batch in batches:
        images = batch.images.numpy()
        predictions: dict[str, Found] = {}
        for name, backend in backends.items():
            predictions[name] = run_and_detect(
                backend,
                images,
                configs[name],
                keys=batch.keys,
                original_sizes=batch.original_sizes,
            )
        yield predictions
