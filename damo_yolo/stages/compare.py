"""Two evaluated models on the same images: which is better, and how sure that is."""

from collections.abc import Sequence

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.evaluation.bootstrap import BootstrapConfig, Comparison, compare
from damo_yolo.evaluation.detection_files import DETECTIONS_TABLE, read_detections
from damo_yolo.evaluation.ground_truth import ImageTruth, read_validation_set
from damo_yolo.evaluation.matches import Matches

COMPARISON_FILE = "comparison.json"


class CompareResult(Config):
    """Content of `comparison.json`."""

    a_uri: str
    b_uri: str
    headline: Comparison
    """On the headline dataset."""
    headline_name: str
    class_names: dict[int, str]
    """Of the classes in the comparison."""
    datasets: dict[str, Comparison]
    """On every other dataset that has objects."""


def compare_models(
    a_uri: str,
    b_uri: str,
    *,
    shards_uri: str,
    out_uri: str = "",
    config: BootstrapConfig | None = None,
) -> CompareResult:
    """Return how much better model A is than model B, with an interval.

    Args:
        a_uri: folder that the evaluate stage wrote for A.
        b_uri: the same for B, on the same shards.
        shards_uri: those shards.
        out_uri: where `comparison.json` goes; empty: nowhere.
        config: how often images are drawn again.

    Raises:
        DataError: there are no detections, or the images hold no object.
        StorageError: a location cannot be read or written.
    """
    validation = read_validation_set(shards_uri)
    found = [storage.join(uri, DETECTIONS_TABLE) for uri in (a_uri, b_uri)]
    num_classes = len(validation.class_names)

    def compared(truths: Sequence[ImageTruth]) -> Comparison:
        a, b = (Matches.of(read_detections(uri), truths, num_classes=num_classes) for uri in found)
        return compare(a, b, config)

    headline = compared(validation.of_dataset(validation.headline))
    others = {name: validation.of_dataset(name) for name in validation.datasets}
    others.pop(validation.headline)
    result = CompareResult(
        a_uri=a_uri,
        b_uri=b_uri,
        headline=headline,
        headline_name=validation.headline,
        class_names={
            item.class_id: validation.class_names[item.class_id] for item in headline.per_class
        },
        datasets={
            name: compared(truths)
            for name, truths in others.items()
            if any((~truth.is_crowd).any() for truth in truths)
        },
    )
    if out_uri:
        location = storage.join(out_uri, COMPARISON_FILE)
        storage.write_text(location, result.model_dump_json(indent=2))
    return result
