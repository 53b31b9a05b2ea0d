import csv
import io
import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from damo_yolo.datasets.sample import annotate
from damo_yolo.datasets.sample.annotate import DrawnImage
from damo_yolo.datasets.sample.canvas import Box, DrawnObject
from damo_yolo.datasets.sample.classes import CLASSES, OPENIMAGES

PLACES = {item.unified_id: index for index, item in enumerate(CLASSES)}
CORNER = Box(0, 0, 30, 30)
KITE, RACE_CAR, RODENT, APPLE = (PLACES[unified_id] for unified_id in (375, 334, 586, 149))


def test_each_json_lists_its_own_classes_and_no_other_object() -> None:
    image = _image(_drawn(KITE), _drawn(RACE_CAR), _drawn(RODENT), _drawn(APPLE))
    coco = json.loads(annotate.coco_json([image], annotate.COCO_DIALECT))
    objects365 = json.loads(annotate.coco_json([image], annotate.OBJECTS365_DIALECT))
    full = json.loads(annotate.coco_json([image], annotate.FULL_DIALECT))
    assert [item["category_id"] for item in coco["annotations"]] == [38, 53]
    assert [item["category_id"] for item in objects365["annotations"]] == [309, 83]
    assert [item["category_id"] for item in full["annotations"]] == [375, 334, 586, 149]
    assert {"id": 309, "name": "Formula 1 "} in objects365["categories"]
    assert {"id": 586, "name": "mouse (rodent)"} in full["categories"]
    assert [len(file["categories"]) for file in (coco, objects365, full)] == [12, 19, 25]


def test_boxes_are_left_top_width_height_and_areas_those_of_the_mask() -> None:
    image = _image(_drawn(APPLE, box=Box(10, 20, 50, 50)))
    (item,) = json.loads(annotate.coco_json([image], annotate.OBJECTS365_DIALECT))["annotations"]
    assert item["bbox"] == [10, 20, 40, 30]
    assert item["area"] == 1200
    assert (item["id"], item["iscrowd"], item["isfake"], item["isreflected"]) == (1, 0, 0, 0)


def test_a_group_is_a_crowd_region_with_run_lengths() -> None:
    image = _image(_drawn(APPLE, box=Box(10, 20, 50, 50), is_group=True))
    (item,) = json.loads(annotate.coco_json([image], annotate.COCO_DIALECT))["annotations"]
    assert item["iscrowd"] == 1
    encoded = coco_mask.frPyObjects(item["segmentation"], image.height, image.width)
    decoded = coco_mask.decode(encoded)
    assert decoded.sum() == 1200
    assert decoded[20:50, 10:50].all()


def test_the_outline_of_an_object_lies_where_its_mask_is() -> None:
    image = _image(_drawn(APPLE, box=Box(10, 20, 50, 50)))
    (item,) = json.loads(annotate.coco_json([image], annotate.COCO_DIALECT))["annotations"]
    (polygon,) = item["segmentation"]
    points = np.reshape(polygon, (-1, 2))
    assert points.min(axis=0).tolist() == [10, 20]
    assert points.max(axis=0).tolist() == [49, 49]


def test_open_images_boxes_are_fractions_of_verified_classes_only() -> None:
    image = _image(
        _drawn(APPLE, box=Box(10, 20, 50, 50), covered=0.1),
        _drawn(RODENT, is_group=True),
        _drawn(KITE),
        verified=frozenset({APPLE, PLACES[157]}),
    )
    (row,) = _rows(annotate.openimages_boxes([image]))
    assert row["LabelName"] == "/m/014j1m"
    corners = [float(row[name]) for name in ("XMin", "XMax", "YMin", "YMax")]
    assert corners == [0.05, 0.25, 0.2, 0.5]
    assert (row["IsOccluded"], row["IsTruncated"], row["IsGroupOf"]) == ("1", "0", "0")
    assert len(row) == 13


def test_image_labels_say_present_and_absent_of_what_was_looked_for() -> None:
    image = _image(_drawn(APPLE), _drawn(RODENT), verified=frozenset({APPLE, PLACES[157]}))
    rows = _rows(annotate.openimages_image_labels([image]))
    found = {(row["LabelName"], row["Confidence"]) for row in rows}
    assert found == {("/m/014j1m", "1"), ("/m/01bjv", "0")}


def test_the_class_file_has_no_header_and_two_classes_called_mouse() -> None:
    rows = list(csv.reader(io.StringIO(annotate.openimages_classes().decode())))
    assert len(rows) == len(OPENIMAGES)
    assert [mid for mid, name in rows if name == "Mouse"] == ["/m/020lf", "/m/04rmv"]


def test_the_tree_holds_every_class_below_its_official_ancestors() -> None:
    tree = json.loads(annotate.openimages_hierarchy())
    paths = dict(_paths(tree, ()))
    assert tree["LabelName"] == "/m/0bl9f"
    assert paths["/m/0cyf8"] == ("/m/0bl9f", "/m/0jbk", "/m/03xxp", "/m/03vt0", "/m/0d_2m")
    assert {item.mid for item in OPENIMAGES.values()} <= paths.keys()


@pytest.mark.parametrize(
    ("mask", "lengths"), [([[0, 0], [0, 0]], [4]), ([[1, 0], [1, 1]], [0, 2, 1, 1])]
)
def test_run_lengths_go_down_the_columns_and_start_with_zeros(
    mask: list[list[int]], lengths: list[int]
) -> None:
    assert annotate.run_lengths(np.array(mask, np.uint8)) == lengths


def _drawn(
    index: int, *, box: Box = CORNER, is_group: bool = False, covered: float = 0.0
) -> DrawnObject:
    mask = np.ones((box.y2 - box.y1, box.x2 - box.x1), bool)
    return DrawnObject(index, is_group, box, mask, is_cut=False, covered=covered)


def _image(*objects: DrawnObject, verified: frozenset[int] | None = None) -> DrawnImage:
    return DrawnImage(7, "a7", "a7.jpg", 200, 100, objects, verified)


def _rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def _paths(node: dict[str, object], above: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]]:
    mid = str(node["LabelName"])
    children = node.get("Subcategory", [])
    assert isinstance(children, list)
    below = [pair for child in children for pair in _paths(child, (*above, mid))]
    return [(mid, above), *below]
