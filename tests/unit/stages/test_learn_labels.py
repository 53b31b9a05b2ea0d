"""Learning a label space: from records and a model's detections to a review."""

import json
from pathlib import Path

import numpy as np
import pytest

from damo_yolo.datasets.records import write_records
from damo_yolo.errors import DataError
from damo_yolo.labels.learned import LearnConfig
from damo_yolo.samples import ImageRecord
from damo_yolo.stages.labels import apply_labels, propose_labels
from damo_yolo.stages.learn_labels import learn_labels

NUM_IMAGES = 6
PLACES = {"home": ("puppy", "van"), "street": ("dog", "truck")}
"""Ids in the space without joins: 0 puppy, 1 van, 2 dog, 3 truck."""
LEFT, RIGHT = [0.0, 0.0, 20.0, 20.0], [40.0, 0.0, 60.0, 20.0]
Detection = dict[str, object]


def write_inputs(folder: Path) -> None:
    """Write the review, the tables, and records: every image has one of each class of its own."""
    lists = []
    for dataset, names in PLACES.items():
        file = folder / f"{dataset}.csv"
        file.write_text("source_id,source_name\n" + "".join(f"{n},{n}\n" for n in names))
        lists.append(f"{dataset}={file}")
    propose_labels(lists, str(folder / "apart"), min_confidence=2.0)
    tables = apply_labels(str(folder / "apart"), str(folder / "tables"))
    (folder / "records").mkdir()
    (folder / "records/label_space.csv").write_text(Path(tables.label_space).read_text())
    records = [
        ImageRecord(
            key=f"{dataset}/{image}",
            dataset=dataset,
            image_uri="",
            width=64,
            height=48,
            boxes=np.array([LEFT, RIGHT], np.float32),
            class_ids=np.array([first, first + 1], np.int32),
            source_ids=PLACES[dataset],
            is_crowd=np.zeros(2, bool),
        )
        for first, dataset in ((0, "home"), (2, "street"))
        for image in range(NUM_IMAGES)
    ]
    write_records(records, str(folder / "records/val.parquet"))


def write_detections(folder: Path) -> None:
    """Write what a model finds: dogs are puppies; a truck output also fires beside vans."""
    entries: list[Detection] = []
    for dataset in PLACES:
        for image in range(NUM_IMAGES):
            found = [(0, LEFT, 0.8), (2, LEFT, 0.7), (1, RIGHT, 0.6), (3, RIGHT, 0.5)]
            if dataset == "home":
                found += [(3, [place, 30.0, place + 9, 45.0], 0.9) for place in (0.0, 10.0, 20.0)]
            entries += [
                {
                    "image_id": f"{dataset}/{image}",
                    "category_id": label,
                    "bbox": [x, y, right - x, bottom - y],
                    "score": score,
                }
                for label, (x, y, right, bottom), score in found
            ]
    (folder / "detections.json").write_text(json.dumps(entries))


def learn(folder: Path, config: LearnConfig | None = None, review: str = "apart") -> str:
    result = learn_labels(
        review_uri=str(folder / review),
        records_uri=str(folder / "records"),
        detections_uri=str(folder / "detections.json"),
        out_uri=str(folder / "learned"),
        config=config,
    )
    assert result.num_source == 4
    return (folder / "learned/classes.csv").read_text()


def test_classes_that_the_detector_confuses_are_one_whatever_their_names(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    write_detections(tmp_path)

    review = learn(tmp_path)

    lines = [line.split(",") for line in review.splitlines()[1:]]
    assert [(line[0], line[1], line[2]) for line in lines] == [
        ("puppy", "home", "puppy"),
        ("puppy", "street", "dog"),
        ("van", "home", "van"),
        ("truck", "street", "truck"),
    ]
    applied = apply_labels(str(tmp_path / "learned"), str(tmp_path / "learned_tables"))
    assert applied.num_unified == 3


def test_the_costs_of_all_candidates_are_told(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    write_detections(tmp_path)

    learn(tmp_path, LearnConfig(max_drop=1, max_pair_cost=1))

    # Of 24 detections on 6 van images 18 are mistakes, and surer: precision 1/4 instead of 1.
    assert (tmp_path / "learned/costs.csv").read_text() == (
        "picked,cost,classes\nyes,0.0000,puppy + dog\n,0.3750,van + truck\n"
    )


def test_a_review_that_joins_classes_is_no_beginning(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    write_detections(tmp_path)
    file = tmp_path / "apart/classes.csv"
    file.write_text(file.read_text().replace("dog,street,dog", "puppy,street,dog"))

    with pytest.raises(DataError, match="the review joins 2 classes as 'puppy'"):
        learn(tmp_path)


def test_records_of_another_space_are_refused(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    write_detections(tmp_path)
    (tmp_path / "records/label_space.csv").write_text("unified_id,name\n0,cat\n")

    with pytest.raises(DataError, match=r"the records have no class 'puppy' .*4 are missing"):
        learn(tmp_path)


def test_detections_that_are_none_are_named(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    (tmp_path / "detections.json").write_text('{"ap": 0.5')

    with pytest.raises(DataError, match="is no list of COCO results"):
        learn(tmp_path)


def test_a_model_that_finds_nothing_joins_nothing(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    (tmp_path / "detections.json").write_text("[]")

    lines = learn(tmp_path).splitlines()[1:]

    assert len({line.split(",")[0] for line in lines}) == 4


def test_a_dataset_without_validation_images_is_named(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    write_detections(tmp_path)
    write_records([], str(tmp_path / "records/val.parquet"))

    with pytest.raises(DataError, match="no validation image of home, street"):
        learn(tmp_path)
