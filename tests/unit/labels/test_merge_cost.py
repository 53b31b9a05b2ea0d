"""What joining classes costs, on images small enough to reckon by hand; and pycocotools agrees."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from damo_yolo.labels.learned import Group, LearnConfig
from damo_yolo.labels.merge_cost import (
    Found,
    Objects,
    Validation,
    average_precision,
    candidate_groups,
    merged,
)

Entry = tuple[int, list[float], float]


def found(*entries: Entry) -> Found:
    images, boxes, scores = zip(*entries, strict=True) if entries else ((), (), ())
    return Found(
        np.array(images, np.int64),
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(scores, np.float64),
    )


def objects(*entries: tuple[int, list[float]]) -> Objects:
    images, boxes = zip(*entries, strict=True)
    return Objects(np.array(images), np.array(boxes, np.float64), np.zeros(len(images), bool))


def box(x: float) -> list[float]:
    return [x, 0.0, 10.0, 10.0]


def test_average_precision_by_hand() -> None:
    truth = objects((0, box(0)), (1, box(0)))
    right, wrong, late = (0, box(1), 0.9), (0, box(50), 0.8), (1, box(0), 0.7)

    assert average_precision(found(right, late), truth) == pytest.approx(1.0)
    # recall to 0.5 at precision 1 (51 of 101 points), then to 1 at precision 2/3 (50 points)
    both = average_precision(found(right, wrong, late), truth)
    assert both == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert average_precision(found(), truth) == 0


def test_an_image_where_the_class_is_unknown_has_no_wrong_detection() -> None:
    truth = objects((0, box(0)))
    known = Objects(truth.images, truth.boxes, truth.is_crowd, np.array([True, False]))
    detections = found((0, box(0), 0.5), (1, box(0), 0.9))

    assert average_precision(detections, truth) == pytest.approx(0.5)
    assert average_precision(detections, known) == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(6))
def test_average_precision_is_that_of_pycocotools(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth_boxes = generator.uniform(10, 60, (30, 4))
    images = generator.integers(0, 8, 30)
    crowd = generator.random(30) < 0.15
    near = truth_boxes[generator.integers(0, 30, 50)] + generator.normal(0, 4, (50, 4))
    near_images = generator.integers(0, 8, 50)
    near_images[:40] = images[generator.integers(0, 30, 40)]
    near[:40] = truth_boxes[:30][generator.integers(0, 30, 40)] + generator.normal(0, 3, (40, 4))
    near[:30], near_images[:30] = truth_boxes + generator.normal(0, 3, (30, 4)), images
    near[:, 2:] = near[:, 2:].clip(1)
    scores = generator.permutation(50) / 50

    ours = average_precision(Found(near_images, near, scores), Objects(images, truth_boxes, crowd))

    assert 0.1 < ours < 0.99
    assert ours == pytest.approx(
        _coco_ap50(images, truth_boxes, crowd, near_images, near, scores), abs=1e-6
    )


def _coco_ap50(*arrays: NDArray[Any]) -> float:
    images, boxes, crowd, found_images, found_boxes, scores = (item.tolist() for item in arrays)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": image} for image in range(8)],
            "categories": [{"id": 1}],
            "annotations": [
                {"id": n + 1, "image_id": i, "category_id": 1, "bbox": b, "iscrowd": int(c),
                 "area": b[2] * b[3]}
                for n, (i, b, c) in enumerate(zip(images, boxes, crowd, strict=True))
            ],
        }  # fmt: skip
        truth.createIndex()
        results = truth.loadRes(
            [
                {"image_id": i, "category_id": 1, "bbox": b, "score": s}
                for i, b, s in zip(found_images, found_boxes, scores, strict=True)
            ]
        )
        evaluation = COCOeval(truth, results, "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.evaluate()
        evaluation.accumulate()
    return float(evaluation.eval["precision"][0, :, 0, 0, 2].mean())


def test_merged_outputs_lose_the_weaker_of_two_boxes_on_one_thing() -> None:
    one, two = found((0, box(0), 0.9), (1, box(0), 0.3)), found((0, box(1), 0.8), (1, box(30), 0.5))
    together = merged([one, two])

    assert sorted(together.scores.tolist()) == [0.3, 0.5, 0.9]


def two_datasets(*, confused: bool) -> dict[str, Validation]:
    """Return a (0: cat, 1: car) and b (2: cat, 3: truck); b's truck output fires on a's cars.

    Where it is confused, it also fires, surer, on background.
    """
    a_found = {
        0: found((0, box(0), 0.9)),
        1: found((1, box(0), 0.8), (2, box(0), 0.7)),
        2: found((0, box(0), 0.6)),
        3: found((1, box(1), 0.6), *(((n, box(40), 0.95) for n in (0, 1)) if confused else ())),
    }
    b_found = {
        0: found((0, box(0), 0.5)),
        2: found((0, box(0), 0.9)),
        3: found((1, box(0), 0.9)),
    }
    return {
        "a": Validation({0: objects((0, box(0))), 1: objects((1, box(0)), (2, box(0)))}, a_found),
        "b": Validation({2: objects((0, box(0))), 3: objects((1, box(0)))}, b_found),
    }


def test_only_classes_that_meet_are_candidates_and_harmless_joins_cost_nothing() -> None:
    groups = candidate_groups("aabb", two_datasets(confused=False), LearnConfig())

    assert groups == [Group((0, 2), 0.0), Group((1, 3), 0.0)]


def test_a_join_that_spoils_a_class_is_too_dear() -> None:
    config = LearnConfig(max_drop=1.0, max_pair_cost=1.0)
    cheap = candidate_groups("aabb", two_datasets(confused=True), LearnConfig())
    every = candidate_groups("aabb", two_datasets(confused=True), config)

    assert cheap == [Group((0, 2), 0.0)]
    # a's cars, found as 3rd and 4th after two mistakes: precision 1/2 instead of 1; trucks lose 0
    assert every[1].members == (1, 3)
    assert every[1].cost == pytest.approx((0.5 + 0) / 2)


def test_larger_groups_grow_out_of_pairs() -> None:
    thing = {place: found((0, box(0), 0.9)) for place in range(3)}
    validations = {
        name: Validation({place: objects((0, box(0)))}, thing) for place, name in enumerate("abc")
    }
    groups = candidate_groups("abc", validations, LearnConfig())

    assert [group.members for group in groups] == [(0, 1), (0, 2), (1, 2), (0, 1, 2)]
