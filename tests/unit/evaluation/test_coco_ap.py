import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from damo_yolo.evaluation.coco_ap import ApResult, average_precision
from damo_yolo.evaluation.ground_truth import ImageTruth
from damo_yolo.samples import Detections

NAMES = ("cat", "dog", "bird")
BOX = (10.0, 10.0, 110.0, 110.0)


def truth(
    key: str = "a/1",
    boxes: Sequence[Sequence[float]] = (BOX,),
    labels: Sequence[int] = (0,),
    *,
    crowd: Sequence[bool] | None = None,
    known: Sequence[int] = (0, 1, 2),
    num_classes: int = 3,
) -> ImageTruth:
    return ImageTruth(
        key=key,
        dataset=key.partition("/")[0],
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        class_ids=np.array(labels, np.int64),
        is_crowd=np.array([False] * len(labels) if crowd is None else crowd, np.bool_),
        known=np.isin(np.arange(num_classes), known),
    )


def found(
    boxes: Sequence[Sequence[float]],
    scores: Sequence[float],
    labels: Sequence[int],
    *,
    key: str = "a/1",
) -> Detections:
    return Detections(
        key=key,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.array(scores, np.float32),
        labels=np.array(labels, np.int64),
    )


def evaluate(detections: list[Detections], truths: list[ImageTruth]) -> ApResult:
    return average_precision(detections, truths, class_names=NAMES)


def test_the_right_box_gives_one_and_a_missed_object_zero() -> None:
    truths = [truth("a/1"), truth("a/2", labels=(1,))]

    result = evaluate([found([BOX], [0.9], [0], key="a/1")], truths)

    assert [item.ap for item in result.per_class] == pytest.approx([1.0, 0.0])
    assert result.ap == pytest.approx(0.5)
    assert (result.num_images, result.num_objects, result.num_classes) == (2, 2, 2)


def test_a_better_scored_wrong_box_halves_the_precision() -> None:
    wrong = (200.0, 200.0, 300.0, 300.0)

    result = evaluate([found([BOX, wrong], [0.8, 0.9], [0, 0])], [truth()])

    assert result.ap == pytest.approx(0.5)
    assert result.ap50 == pytest.approx(0.5)


def test_a_box_of_iou_0_62_counts_at_three_of_ten_thresholds() -> None:
    low = (10.0, 10.0, 110.0, 72.0)

    result = evaluate([found([low], [0.9], [0])], [truth()])

    assert result.ap == pytest.approx(0.3)
    assert result.ap50 == pytest.approx(1.0)
    assert result.ap75 == pytest.approx(0.0)


def test_size_bands_without_an_object_say_minus_one() -> None:
    small = (0.0, 0.0, 20.0, 20.0)

    result = evaluate([found([small], [0.9], [0])], [truth(boxes=(small,))])

    assert result.ap_small == pytest.approx(1.0)
    assert (result.ap_medium, result.ap_large) == (-1.0, -1.0)


def test_no_object_at_all_gives_minus_one_and_no_class() -> None:
    result = evaluate([found([BOX], [0.9], [0])], [truth(boxes=(), labels=())])

    assert result.ap == -1.0
    assert result.per_class == ()


def test_a_detection_of_a_class_unknown_in_the_image_is_dropped() -> None:
    truths = [truth("a/1", known=(0, 2)), truth("a/2", labels=(1,), known=(1,))]
    dogs = [
        found([BOX, BOX], [0.9, 0.99], [0, 1], key="a/1"),  # a dog may well be there, unannotated
        found([BOX], [0.5], [1], key="a/2"),
    ]

    assert evaluate(dogs, truths).ap == pytest.approx(1.0)
    known = [truth("a/1"), truths[1]]
    assert evaluate(dogs, known).per_class[1].ap == pytest.approx(0.5)


def test_of_a_present_but_incomplete_class_matches_count_and_the_rest_is_ignored() -> None:
    elsewhere = (-30.0, 200.0, 300.0, 300.0)
    incomplete = [truth(known=(1, 2))]

    hit = evaluate([found([elsewhere, BOX], [0.9, 0.8], [0, 0])], incomplete)
    miss = evaluate([found([elsewhere], [0.9], [0])], incomplete)

    assert hit.ap == pytest.approx(1.0)
    assert miss.ap == pytest.approx(0.0)
    assert hit.num_objects == 1


def test_crowd_regions_absorb_detections_and_are_no_objects() -> None:
    crowd = (200.0, 200.0, 400.0, 400.0)
    inside = [(210.0, 210.0, 260.0, 260.0), (300.0, 300.0, 350.0, 350.0)]
    truths = [truth(boxes=(BOX, crowd), labels=(0, 0), crowd=(False, True))]

    result = evaluate([found([*inside, BOX], [0.99, 0.98, 0.5], [0, 0, 0])], truths)

    assert result.ap == pytest.approx(1.0)
    assert result.num_objects == 1


def test_a_class_with_nothing_but_crowds_is_not_in_the_mean() -> None:
    truths = [truth(boxes=(BOX, BOX), labels=(0, 1), crowd=(False, True))]

    result = evaluate([found([BOX], [0.9], [0])], truths)

    assert [item.name for item in result.per_class] == ["cat"]
    assert result.ap == pytest.approx(1.0)


def test_the_hundred_best_are_counted_after_unknown_classes_are_dropped() -> None:
    many = [BOX] * 150
    crowded_out = found([*many, BOX], [0.9] * 150 + [0.5], [1] * 150 + [0])

    assert evaluate([crowded_out], [truth(known=(0,))]).ap == pytest.approx(1.0)
    assert evaluate([crowded_out], [truth(known=(0, 1))]).ap == pytest.approx(0.0)


def test_the_order_of_images_and_detections_changes_nothing() -> None:
    detections, truths = random_case(images=6, classes=3, seed=1)

    assert evaluate(detections, truths) == evaluate(detections[::-1], truths[::-1])


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    evaluate([found([BOX], [0.9], [0])], [truth()])

    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_figure_equals_one_whole_run_of_pycocotools(seed: int) -> None:
    detections, truths = random_case(images=25, classes=9, seed=seed)

    ours = average_precision(detections, truths, class_names=[str(i) for i in range(9)])

    theirs = whole_run(detections, truths, classes=9)
    figures = (ours.ap, ours.ap50, ours.ap75, ours.ap_small, ours.ap_medium, ours.ap_large)
    assert figures == tuple(theirs[:6])
    assert ours.recall == theirs[8]
    assert 0.1 < ours.ap < 0.9


def random_case(
    *, images: int, classes: int, seed: int
) -> tuple[list[Detections], list[ImageTruth]]:
    """Objects of all sizes, some of them crowds; detections near them and elsewhere."""
    rng = np.random.default_rng(seed)
    detections, truths = [], []
    for image in range(images):
        count = int(rng.integers(0, 9))
        corners = rng.uniform(0, 300, (count, 2))
        boxes = np.concatenate((corners, corners + rng.uniform(8, 200, (count, 2))), axis=1)
        labels = rng.integers(0, classes - 1, count)  # the last class has no object
        key = f"a/{image:03d}"
        crowd = (rng.random(count) < 0.15).tolist()
        truths.append(
            truth(
                key,
                boxes.tolist(),
                labels.tolist(),
                crowd=crowd,
                known=range(classes),
                num_classes=classes,
            )
        )
        near = np.repeat(boxes, 3, axis=0) + rng.normal(0, 4, (3 * count, 4))
        far = np.tile([5.0, 5.0, 50.0, 60.0], (4, 1)) + rng.uniform(0, 40, (4, 1))
        names = np.concatenate((np.repeat(labels, 3), rng.integers(0, classes, 4)))
        scores = rng.random(len(names)).round(2)  # with ties
        order = np.argsort(-scores, kind="stable")
        every = np.concatenate((near, far))[order]
        detections.append(
            found(every.tolist(), scores[order].tolist(), names[order].tolist(), key=key)
        )
    return detections, truths


def whole_run(detections: list[Detections], truths: list[ImageTruth], *, classes: int) -> Any:
    """Return the twelve figures of pycocotools, used in its own plain way."""
    ids = {item.key: i for i, item in enumerate(truths, start=1)}
    objects: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for item in truths:
        for box, label, crowd in zip(item.boxes, item.class_ids, item.is_crowd, strict=True):
            x1, y1, x2, y2 = (float(np.float32(v)) for v in box)
            w, h = float(np.float32(x2) - np.float32(x1)), float(np.float32(y2) - np.float32(y1))
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": ids[item.key],
                    "category_id": int(label),
                    "bbox": [x1, y1, w, h],
                    "area": w * h,
                    "iscrowd": int(crowd),
                }
            )
    for entry in detections:
        for box, score, label in zip(entry.boxes, entry.scores, entry.labels, strict=True):
            sides = [float(v) for v in box[2:] - box[:2]]
            results.append(
                {
                    "image_id": ids[entry.key],
                    "category_id": int(label),
                    "bbox": [float(box[0]), float(box[1]), *sides],
                    "score": float(score),
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in ids.values()],
            "categories": [{"id": i} for i in range(classes)],
            "annotations": objects,
            "info": {},
        }
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(results), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats.tolist()
