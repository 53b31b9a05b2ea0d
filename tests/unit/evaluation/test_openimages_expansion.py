"""Our expansion of annotations up the class tree, against a published sample of it.

`expanded_validation_sample.csv` holds real boxes of 3,519 images as the 2018 challenge expanded
them: each box, then the same box for every class above. The boxes alone are put back into the files
of a release, read as any dataset is, and expanded again.
"""

import csv
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from damo_yolo.datasets.catalog import DatasetSpec, SplitSpec
from damo_yolo.datasets.readers import read_dataset
from damo_yolo.datasets.source import Findings
from damo_yolo.evaluation.ground_truth import ImageTruth
from damo_yolo.evaluation.openimages_ap import IOU, expanded, openimages_ap50
from damo_yolo.evaluation.source_classes import SourceClasses
from damo_yolo.labels.mapping import LabelMapping
from damo_yolo.labels.space import LabelSpace
from damo_yolo.samples import Detections
from tests.evaluation_builders import perturbed

WIDTH, HEIGHT = 1000, 800
SIDES = ("XMin", "YMin", "XMax", "YMax")
NAMES_OF_2018 = {
    "/m/076lb9": "Training bench",
    "/m/020lf": "Computer mouse",
    "/m/026qbn5": "Studio couch",
}
"""Named otherwise in the class file of 2019, which calls two classes Bench and two Mouse."""

Rows = Counter[tuple[str, tuple[float, ...]]]
"""Name and corners in pixels, to how often."""


@dataclass
class Published:
    """The file, taken apart."""

    sources: list[dict[str, str]] = field(default_factory=list)
    """Rows that were there before the expansion."""
    doubled: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Class, and the class above it that was added a second time, to how often."""
    images: dict[str, Rows] = field(default_factory=lambda: defaultdict(Counter))
    """All rows of each image."""


@dataclass
class Again:
    """The same boxes, read from the files of a release."""

    published: Published
    truths: list[ImageTruth]
    classes: SourceClasses
    names: dict[int, str]
    """Id in the label space to name."""
    findings: Findings

    def rows(self, truth: ImageTruth) -> Rows:
        boxes, labels, _ = expanded(truth, self.classes.ancestors)
        return Counter(
            (self.names[label], place(box))
            for box, label in zip(boxes, labels.tolist(), strict=True)
        )


@pytest.fixture(scope="module")
def again(shared_data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Again:
    folder = shared_data_dir / "openimages_format"
    class_file = folder / "challenge-2019-classes-description-500.two-column.csv"
    with class_file.open(encoding="utf-8", newline="") as file:
        names = {row[0]: row[1] for row in csv.reader(file)} | NAMES_OF_2018
    spec = DatasetSpec(
        name="oid",
        format="openimages",
        mapping="openimages_500",
        classes=str(class_file),
        hierarchy=str(folder / "challenge-2019-label500-hierarchy.json"),
        val=SplitSpec(annotations="", images=""),
    )
    space = LabelSpace.load("unified_701")
    mapping = LabelMapping.load(spec.mapping, space)
    classes = SourceClasses.of(spec, space)
    named = {unified: names[str(mid)] for unified, mid in classes.class_ids.items()}
    above = {
        named[label]: {named[one] for one in classes.ancestors.get(label, ())} for label in named
    }
    published = take_apart(folder / "expanded_validation_sample.csv", above)
    split = write_release(published, names, tmp_path_factory.mktemp("release"))
    findings = Findings()
    truths = [
        ImageTruth(
            record.key,
            record.dataset,
            record.boxes,
            record.class_ids.astype(np.int64),
            record.is_crowd,
            np.isin(np.arange(len(space)), list(named)),
        )
        for record in read_dataset(
            spec.model_copy(update={"val": split}), "val", mapping, findings=findings
        )
    ]
    return Again(published, truths, classes, named, findings)


def take_apart(path: Path, above: dict[str, set[str]]) -> Published:
    """Walk down the file: a box of a class is followed by the same box for each class above."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    published, owed = Published(), Counter[str]()
    box: tuple[str, ...] = ()
    for row in rows:
        name, image_id = row["LabelName"], row["ImageID"].removesuffix(".jpg")
        if not name:  # an image without boxes
            published.images[image_id] = Counter()
            continue
        before, box = box, (image_id, *(row[side] for side in SIDES))
        corners = np.array([float(row[side]) for side in SIDES]) * (WIDTH, HEIGHT, WIDTH, HEIGHT)
        published.images[image_id][name, place(corners)] += 1
        if box == before and name in owed:
            owed[name] -= 1
            if owed[name] < 0:
                published.doubled[published.sources[-1]["LabelName"], name] += 1
            continue
        assert all(count <= 0 for count in owed.values()), f"before {row} lacks {owed}"
        published.sources.append({**row, "ImageID": image_id})
        owed = Counter(above[name])
    return published


def write_release(published: Published, names: dict[str, str], folder: Path) -> SplitSpec:
    """Write the boxes before expansion as a release does, with mids, and the sizes of images."""
    mids = {name: mid for mid, name in names.items()}
    with (folder / "boxes.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("ImageID", "LabelName", *SIDES))
        for row in published.sources:
            writer.writerow(
                (row["ImageID"], mids[row["LabelName"]], *(row[side] for side in SIDES))
            )
    ids = "\n".join(published.images)
    sizes = "\n".join(f"{image_id},{WIDTH},{HEIGHT}" for image_id in published.images)
    (folder / "set.txt").write_text(ids, encoding="utf-8")
    (folder / "sizes.csv").write_text(f"ImageID,Width,Height\n{sizes}\n", encoding="utf-8")
    return SplitSpec(
        annotations=str(folder / "boxes.csv"),
        images=str(folder),
        image_set=str(folder / "set.txt"),
        image_sizes=str(folder / "sizes.csv"),
    )


def place(box: NDArray[np.floating[Any]]) -> tuple[float, ...]:
    return tuple(box.astype(np.float32).tolist())


def test_expanded_boxes_equal_the_published_rows(again: Again) -> None:
    """Row by row, but for one thing: a class reached on two ways through the tree is one object.

    Crab is seafood, hence shellfish, and an invertebrate, hence shellfish; the file has both rows.
    """
    lacking: Counter[str] = Counter()
    for truth in again.truths:
        published, ours = again.published.images[truth.key.removeprefix("oid/")], again.rows(truth)
        assert not ours - published
        lacking.update(name for name, _ in (published - ours).elements())

    assert len(again.truths) == len(again.published.images) == 3520
    assert len(again.published.sources) == 23_632
    assert sum(rows.total() for rows in again.published.images.values()) == 36_191
    assert again.findings.counts == {}
    assert lacking == {"Shellfish": 143}
    assert again.published.doubled == {
        ("Oyster", "Shellfish"): 78,
        ("Shrimp", "Shellfish"): 42,
        ("Crab", "Shellfish"): 12,
        ("Lobster", "Shellfish"): 11,
    }


def test_ap50_is_what_the_published_rows_give(again: Again) -> None:
    """Detections near the objects and elsewhere, judged by plain loops over the file's rows."""
    truths = again.truths[:150]
    everything = [as_annotated(truth, again.classes) for truth in truths]
    found = perturbed(everything, seed=0)

    ours = openimages_ap50(
        found, truths, class_ids=again.classes.class_ids, ancestors=again.classes.ancestors
    )

    objects = {
        label: {
            truth.key: [
                np.array(box, np.float32)
                for one, box in again.published.images[truth.key.removeprefix("oid/")].elements()
                if one == name
            ]
            for truth in truths
        }
        for label, name in again.names.items()
    }
    theirs = {
        label: plain_ap50(label, found, boxes)
        for label, boxes in objects.items()
        if any(boxes.values())
    }
    shellfish = next(label for label, name in again.names.items() if name == "Shellfish")
    assert theirs.keys() == ours.per_class.keys()
    assert ours.per_class.pop(shellfish) > theirs.pop(shellfish)  # two rows, one object to find
    assert ours.per_class == pytest.approx(theirs, abs=1e-9)
    assert len(theirs) > 150
    assert 0.2 < float(np.mean(list(theirs.values()))) < 0.8


def as_annotated(truth: ImageTruth, classes: SourceClasses) -> ImageTruth:
    boxes, labels, crowd = expanded(truth, classes.ancestors)
    return ImageTruth(truth.key, truth.dataset, boxes, labels, crowd, truth.known)


def plain_ap50(
    label: int, found: list[Detections], objects: dict[str, list[NDArray[np.float32]]]
) -> float:
    """Return the area under the precision envelope."""
    total = sum(map(len, objects.values()))
    ranked = sorted(
        (
            (float(score), item.key, box)
            for item in found
            for box, score, mine in zip(item.boxes, item.scores, item.labels, strict=True)
            if mine == label
        ),
        key=lambda entry: -entry[0],
    )
    taken: set[tuple[str, int]] = set()
    recall, precision, right = [0.0], [1.0], 0
    for rank, (_, key, box) in enumerate(ranked, start=1):
        overlaps = [iou(box, other) for other in objects[key]]
        best = int(np.argmax(overlaps)) if overlaps else -1
        if best >= 0 and overlaps[best] >= IOU and (key, best) not in taken:
            taken.add((key, best))
            right += 1
        recall.append(right / total)
        precision.append(right / rank)
    return sum((recall[i] - recall[i - 1]) * max(precision[i:]) for i in range(1, len(recall)))


def iou(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    a, b = one.astype(np.float64), other.astype(np.float64)
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    common = float(np.prod(sides.clip(0)))
    return common / (float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - common)
