"""hotcoco against pycocotools, ours against pycocotools used in its own plain way."""

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from damo_yolo.evaluation.coco_ap import average_precision
from damo_yolo.evaluation.cross_check import largest_difference, pycocotools_precision
from damo_yolo.evaluation.ground_truth import ImageTruth
from damo_yolo.samples import Detections
from tests.evaluation_builders import (
    BOX,
    coco_val80,
    make_found,
    make_truth,
    perturbed,
    random_case,
)


@pytest.mark.parametrize("known_share", [1.0, 0.6])
@pytest.mark.parametrize("seed", range(12))
def test_both_evaluators_agree_on_crowds_ties_sizes_and_partial_labels(
    seed: int, known_share: float
) -> None:
    images, classes = 4 + 3 * seed, 2 + seed % 7
    names = tuple(str(i) for i in range(classes))
    detections, truths = random_case(
        images=images, classes=classes, seed=seed, known_share=known_share
    )

    ours = average_precision(detections, truths, class_names=names)
    theirs = pycocotools_precision(detections, truths, class_names=names)

    assert largest_difference(ours, theirs) < 1e-9
    assert ours.ap > 0.05


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_real_photographs_with_perturbed_boxes_give_the_figures_of_plain_pycocotools(
    seed: int, shared_data_dir: Path
) -> None:
    names, truths = coco_val80(shared_data_dir)
    detections = perturbed(truths, seed=seed)

    ours = average_precision(detections, truths, class_names=names)

    theirs = whole_run(detections, truths, classes=80)
    figures = (
        *(ours.ap, ours.ap50, ours.ap75, ours.ap_small, ours.ap_medium, ours.ap_large),
        *(ours.recall_1, ours.recall_10, ours.recall),
        *(ours.recall_small, ours.recall_medium, ours.recall_large),
    )
    assert figures == pytest.approx(theirs, abs=1e-9)
    assert 0.3 < ours.ap50 < 0.9
    assert any(truth.is_crowd.any() for truth in truths)


def test_a_difference_of_one_class_is_seen() -> None:
    truths = [make_truth(boxes=[BOX, BOX], labels=(0, 1))]
    whole, half = (
        average_precision([make_found([BOX] * n, [0.9] * n, range(n))], truths, class_names="abc")
        for n in (2, 1)
    )

    assert largest_difference(whole, whole) == 0.0
    assert largest_difference(whole, half) == pytest.approx(1.0)


def whole_run(
    detections: list[Detections], truths: list[ImageTruth], *, classes: int
) -> list[float]:
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
    stats: list[float] = run.stats.tolist()
    return stats
