"""Detections survive their files; a model of 701 classes is mapped back onto COCO's own 80."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from damo_yolo.datasets.catalog import DatasetSpec, SplitSpec
from damo_yolo.errors import DataError
from damo_yolo.evaluation import detection_files
from damo_yolo.evaluation.coco_ap import average_precision
from damo_yolo.evaluation.detection_files import (
    read_detections,
    write_coco_results,
    write_detections,
)
from damo_yolo.evaluation.ground_truth import ImageTruth
from damo_yolo.evaluation.source_classes import SourceClasses
from damo_yolo.labels.mapping import LabelMapping
from damo_yolo.labels.space import LabelSpace
from damo_yolo.samples import Detections
from tests.evaluation_builders import BOX, coco_val80, make_found, perturbed, random_case


def test_detections_come_back_to_the_last_bit(tmp_path: Path) -> None:
    detections, _ = random_case(images=5, classes=3, seed=0)
    empty = make_found([], [], [], key="a/empty")
    uri = str(tmp_path / "detections.parquet")

    write_detections([*detections, empty], uri)

    back = list(read_detections(uri))
    for before, after in zip([*detections, empty], back, strict=True):
        assert before.key == after.key
        for name in ("boxes", "scores", "labels"):
            first, second = getattr(before, name), getattr(after, name)
            assert first.dtype == second.dtype
            assert np.array_equal(first, second)


def test_files_of_several_groups_come_back_in_order_one_group_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detection_files, "IMAGES_AT_ONCE", 2)
    detections, _ = random_case(images=5, classes=3, seed=0)
    uri = str(tmp_path / "detections.parquet")

    write_detections(detections, uri)

    assert pq.ParquetFile(uri).num_row_groups == 3
    assert [item.key for item in read_detections(uri)] == [item.key for item in detections]
    for before, after in zip(detections, read_detections(uri), strict=True):
        assert np.array_equal(before.boxes, after.boxes)


def test_another_file_is_no_file_of_detections(tmp_path: Path) -> None:
    path = tmp_path / "detections.parquet"
    path.write_text("no")

    with pytest.raises(DataError, match="no file of detections"):
        next(read_detections(str(path)))


def test_no_detection_is_an_empty_list(tmp_path: Path) -> None:
    write_coco_results([], str(tmp_path / "d.json"))

    assert json.loads((tmp_path / "d.json").read_text()) == []


def test_results_of_the_701_in_cocos_own_ids_give_cocos_ap(
    shared_data_dir: Path, tmp_path: Path
) -> None:
    space = LabelSpace.load("unified_701")
    mapping = LabelMapping.load("coco", space)
    _, truths = coco_val80(shared_data_dir)
    annotations = shared_data_dir / "coco_val80" / "annotations" / "instances_val2017.json"
    ids = sorted(item["id"] for item in json.loads(annotations.read_text())["categories"])
    unified = np.array([mapping.unified_id(str(one)) for one in ids])
    in_701 = [as_unified(found, unified) for found in perturbed(truths, seed=4)]
    stray = make_found([BOX], [0.99], [int(np.setdiff1d(range(701), unified)[0])], key="coco/1")
    spec = DatasetSpec(
        name="coco", format="coco", mapping="coco", val=SplitSpec(annotations="a", images="b")
    )

    uri = tmp_path / "detections.coco.json"
    write_coco_results(
        [*in_701, stray], str(uri), class_ids=SourceClasses.of(spec, space).class_ids
    )

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(annotations))
        run = COCOeval(coco, coco.loadRes(str(uri)), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    known = np.isin(np.arange(701), unified)
    mapped = [
        ImageTruth(t.key, t.dataset, t.boxes, unified[t.class_ids], t.is_crowd, known)
        for t in truths
    ]
    ours = average_precision([*in_701, stray], mapped, class_names=space.names)
    assert ours.num_classes == sum(1 for _ in np.unique([c for t in truths for c in t.class_ids]))
    # The file rounds boxes to a thousandth of a pixel.
    assert run.stats[:3].tolist() == pytest.approx([ours.ap, ours.ap50, ours.ap75], abs=2e-3)
    assert {entry["category_id"] for entry in json.loads(uri.read_text())} <= set(ids)


def as_unified(
    found: Detections, unified: "np.ndarray[tuple[int], np.dtype[np.int64]]"
) -> Detections:
    return Detections(found.key, found.boxes, found.scores, unified[found.labels])


def test_the_class_tree_is_in_ids_of_the_label_space(shared_data_dir: Path) -> None:
    folder = shared_data_dir / "openimages_format"
    tree = next(folder.rglob("*label500-hierarchy.json"))
    space = LabelSpace.load("unified_701")
    spec = DatasetSpec(
        name="oid",
        format="openimages",
        mapping="openimages_500",
        classes="classes.csv",
        hierarchy=str(tree),
        val=SplitSpec(annotations="a", images="b"),
    )

    classes = SourceClasses.of(spec, space)

    mapping = LabelMapping.load("openimages_500", space)
    car, land_vehicle, vehicle = (
        mapping.unified_id(mid) for mid in ("/m/0k4j", "/m/01prls", "/m/07yv9")
    )
    assert car is not None
    assert classes.ancestors[car] == {land_vehicle, vehicle}
    assert len(classes.class_ids) == 500
