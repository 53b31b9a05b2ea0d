"""Learn a label space from what a model finds in the validation images of every dataset.

The model was trained in a space where no class is joined, with each image's foreign classes masked:
that is one detector with a set of outputs per dataset.
"""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.boxes import xyxy_to_xywh
from damo_yolo.config import Config
from damo_yolo.datasets.records import read_records
from damo_yolo.errors import DataError
from damo_yolo.labels.classes import SourceClass
from damo_yolo.labels.learned import Group, LearnConfig, choose_groups
from damo_yolo.labels.merge_cost import Found, Objects, Validation, candidate_groups
from damo_yolo.labels.propose import unified_names
from damo_yolo.labels.review import ReviewRow
from damo_yolo.labels.space import LabelSpace
from damo_yolo.samples import ImageRecord
from damo_yolo.stages.labels import load_review, require_free, save_review

COSTS_FILE = "costs.csv"
DETECTION_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "image_id": pl.String,
    "category_id": pl.Int64,
    "bbox": pl.List(pl.Float64),
    "score": pl.Float64,
}


class LearnResult(Config):
    """What was learned."""

    num_source: int
    """Classes of the space without joins."""
    num_unified: int
    num_candidates: int
    """Groups that were cheap enough to join."""
    num_picked: int
    objective: float
    """Sum over the picked groups of cost - reward * (size - 1): the lower the better."""
    review_uri: str


def learn_labels(
    *,
    review_uri: str,
    records_uri: str,
    detections_uri: str,
    out_uri: str,
    config: LearnConfig | None = None,
    overwrite: bool = False,
) -> LearnResult:
    """Write a review that joins the classes which the model cannot tell apart.

    Args:
        review_uri: review in which no class is joined.
        records_uri: folder of the records that were merged with what it was applied to.
        detections_uri: `detections.json` of the model's evaluation.
        out_uri: folder for the learned review, and `costs.csv` with every candidate group.
        config: when classes are worth joining.
        overwrite: replace a review that is there.

    Raises:
        DataError: the review joins classes, it does not fit the records, the detections are
            not COCO results of their images, or a review is there.
    """
    config = config or LearnConfig()
    require_free(out_uri, overwrite=overwrite)
    rows, start = load_review(review_uri)
    space = LabelSpace.load(storage.join(records_uri, "label_space.csv"))
    classes = _class_of_each_output(rows, space)
    datasets = [item.dataset if item else "" for item in classes]
    detections = _read_detections(detections_uri, config.score_threshold)
    validations = _validations(records_uri, datasets, detections)
    groups = candidate_groups(datasets, validations, config)
    picked = choose_groups(datasets, groups, reward=config.reward)
    learned = _joined(rows, classes, picked)
    save_review(out_uri, learned, [], onto=start.onto)
    _write_costs(storage.join(out_uri, COSTS_FILE), groups, picked, space)
    return LearnResult(
        num_source=sum(item is not None for item in classes),
        num_unified=len({row.unified_name for row in learned if not row.is_ignored}),
        num_candidates=len(groups),
        num_picked=len(picked),
        objective=0.0 - sum(group.gain(config.reward) for group in picked),
        review_uri=out_uri,
    )


def _class_of_each_output(rows: Sequence[ReviewRow], space: LabelSpace) -> list[SourceClass | None]:
    """Return the source class of each class of the space, None where it has none."""
    kept = [row for row in rows if not row.is_ignored]
    name, count = Counter(row.unified_name for row in kept).most_common(1)[0]
    if count > 1:
        raise DataError(
            f"the review joins {count} classes as '{name}'",
            fix="begin with a review in which none is: damo-yolo labels propose --apart",
        )
    unknown = [row.unified_name for row in kept if row.unified_name not in space.names]
    if unknown:
        raise DataError(
            f"the records have no class '{unknown[0]}' of the review ({len(unknown)} are missing)",
            fix="give the records that were merged with the tables of this review",
        )
    by_name = {row.unified_name: row.source for row in kept}
    return [by_name.get(name) for name in space.names]


def _read_detections(uri: str, score_threshold: float) -> pl.DataFrame:
    try:
        frame = pl.read_json(storage.read_bytes(uri), schema=DETECTION_SCHEMA)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{uri} is no list of COCO results: {str(error).splitlines()[0]}",
            fix="give the detections.json that damo-yolo evaluate wrote",
        ) from None
    return frame.filter(pl.col("score") >= score_threshold)


def _validations(
    records_uri: str, datasets: Sequence[str], detections: pl.DataFrame
) -> dict[str, Validation]:
    """Return each dataset's objects and detections, images numbered within the dataset."""
    records: dict[str, list[ImageRecord]] = defaultdict(list)
    uri = storage.join(records_uri, "val.parquet")
    for record in read_records(uri):
        records[record.dataset].append(record)
    absent = sorted(set(datasets) - records.keys() - {""})
    if absent:
        raise DataError(
            f"{uri} has no validation image of {', '.join(absent)}",
            fix="give each dataset a val split: its classes are judged on its own images",
        )
    return {
        name: Validation(_objects(items, name, datasets), _found(items, detections))
        for name, items in records.items()
    }


def _objects(
    records: Sequence[ImageRecord], dataset: str, datasets: Sequence[str]
) -> dict[int, Objects]:
    """Return the objects of each of the dataset's own classes that has any."""
    own = [place for place, name in enumerate(datasets) if name == dataset]
    images = np.repeat(np.arange(len(records)), [len(item.class_ids) for item in records])
    labels = np.concatenate([np.zeros(0, np.int64), *(item.class_ids for item in records)])
    boxes = np.concatenate([np.zeros((0, 4)), *(item.boxes for item in records)])
    crowds = np.concatenate([np.zeros(0, bool), *(item.is_crowd for item in records)])
    known = _known(records, own)
    found = {}
    for column, place in enumerate(own):
        rows = labels == place
        if rows.any():
            found[place] = Objects(
                images[rows], xyxy_to_xywh(boxes[rows]), crowds[rows], known[:, column]
            )
    return found


def _known(records: Sequence[ImageRecord], own: Sequence[int]) -> NDArray[np.bool_]:
    """Return (I, K) whether the absence of an own class is evidence in an image."""
    ids = np.array(own, np.int32)
    known = np.ones((len(records), len(own)), bool)
    for row, record in enumerate(records):
        if record.known_ids is not None:
            known[row] = np.isin(ids, record.known_ids)
        known[row, np.isin(ids, record.unknown_ids)] = False
    return known


def _found(records: Sequence[ImageRecord], detections: pl.DataFrame) -> dict[int, Found]:
    places = pl.DataFrame(
        {"image_id": [item.key for item in records], "image": np.arange(len(records))}
    )
    frame = detections.join(places, on="image_id", how="inner", maintain_order="left")
    found = {}
    for (label,), rows in frame.group_by("category_id", maintain_order=True):
        found[int(str(label))] = Found(
            rows["image"].to_numpy(),
            np.array(rows["bbox"].to_list(), np.float64).reshape(-1, 4),
            rows["score"].to_numpy(),
        )
    return found


def _joined(
    rows: Sequence[ReviewRow], classes: Sequence[SourceClass | None], picked: Sequence[Group]
) -> list[ReviewRow]:
    """Return the rows with a common name for the classes of a group, each group together."""
    group_of = {member: group for group in picked for member in group.members}
    place_of = {item.key: place for place, item in enumerate(classes) if item is not None}
    ordered: dict[int, list[SourceClass]] = {}
    costs: dict[tuple[str, str], float] = {}
    for row in rows:
        if row.is_ignored:
            continue
        place = place_of[row.source.key]
        group = group_of.get(place)
        ordered.setdefault(group.members[0] if group else place, []).append(row.source)
        if group:
            costs[row.source.key] = group.cost
    names = unified_names(list(ordered.values()))
    by_key = {row.source.key: row for row in rows}
    learned = []
    for item in (member for members in ordered.values() for member in members):
        cost = costs.get(item.key)
        said = "no join is worth it" if cost is None else f"learned: costs {cost:.3f} AP50 a class"
        sure = None if cost is None else min(1.0, 1 - cost)
        learned.append(
            replace(by_key[item.key], unified_name=names[item.key], confidence=sure, reason=said)
        )
    return [*learned, *(row for row in rows if row.is_ignored)]


def _write_costs(
    uri: str, groups: Sequence[Group], picked: Sequence[Group], space: LabelSpace
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("picked", "cost", "classes"))
    taken = {group.members for group in picked}
    for group in sorted(groups, key=lambda item: (item.cost, item.members)):
        names = " + ".join(space.names[member] for member in group.members)
        writer.writerow(("yes" if group.members in taken else "", f"{group.cost:.4f}", names))
    storage.write_text(uri, text.getvalue())
