"""Suppression inside the graph is our post-processing: same objects, same order, bit for bit."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from damo_yolo.export.suppression import MAX_DETECTIONS, with_suppression
from damo_yolo.inference.info import DetectorInfo
from damo_yolo.inference.openvino_runtime import import_openvino
from damo_yolo.models.postprocess import postprocess

NUM_POINTS, NUM_CLASSES = 600, 5
INFO = DetectorInfo(
    model="none",
    image_size=64,
    class_names=tuple("abcde"),
    score_threshold=0.05,
    iou_threshold=0.7,
)

Kept = list[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]]


@pytest.fixture(scope="module")
def suppression(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph that holds nothing but the suppression."""
    text = f"""
    <ir_version: 10, opset_import: ["" : 20]>
    given (float[batch,{NUM_POINTS},{NUM_CLASSES}] a, float[batch,{NUM_POINTS},4] b)
      => (float[batch,{NUM_POINTS},{NUM_CLASSES}] scores, float[batch,{NUM_POINTS},4] boxes)
    {{
      scores = Identity (a)
      boxes = Identity (b)
    }}
    """
    path = tmp_path_factory.mktemp("suppression") / "model.onnx"
    onnx.save(with_suppression(onnx.parser.parse_model(text), INFO), path)
    return path


def crowded(seed: int, *, levels: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return scores and boxes of two images; scores take so many values, so few levels tie."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels + 1, (2, NUM_POINTS, NUM_CLASSES)) / levels
    corners = rng.uniform(0, 60, (2, NUM_POINTS, 2))
    boxes = np.concatenate((corners, corners + rng.uniform(8, 20, (2, NUM_POINTS, 2))), axis=2)
    return scores.astype(np.float32), boxes.astype(np.float32)


def ours(scores: NDArray[np.float32], boxes: NDArray[np.float32], *, most: int) -> Kept:
    found = postprocess(
        torch.from_numpy(scores),
        torch.from_numpy(boxes),
        score_threshold=INFO.score_threshold,
        iou_threshold=INFO.iou_threshold,
        max_detections=most,
    )
    return [(box.numpy(), score.numpy(), label.numpy()) for box, score, label in found]


@pytest.mark.parametrize("levels", [8, 64, 1_000_000])
def test_more_than_500_survivors_are_cut_where_ours_are_also_among_equal_scores(
    suppression: Path, levels: int
) -> None:
    scores, boxes = crowded(0, levels=levels)
    everyone = ours(scores, boxes, most=scores.size)
    assert all(len(labels) > MAX_DETECTIONS for _, _, labels in everyone)  # the cut is reached
    assert all(len(labels) < (scores[0] > 0.05).sum() for _, _, labels in everyone)
    if levels < 1000:  # and goes through equal scores
        assert all(s[MAX_DETECTIONS - 1] == s[MAX_DETECTIONS] for _, s, _ in everyone)
    session = onnxruntime.InferenceSession(suppression, providers=["CPUExecutionProvider"])

    found = session.run(["boxes", "scores", "labels"], {"a": scores, "b": boxes})

    for theirs, own in zip(zip(*found, strict=True), ours(scores, boxes, most=500), strict=True):
        own_boxes, own_scores, own_labels = own
        assert np.array_equal(theirs[0], own_boxes)
        assert np.array_equal(theirs[1], own_scores)
        assert np.array_equal(theirs[2], own_labels)


@pytest.mark.parametrize("levels", [8, 64, 1_000_000])
def test_in_openvino_only_the_order_among_equal_scores_is_open(
    suppression: Path, levels: int
) -> None:
    scores, boxes = crowded(0, levels=levels)
    openvino = import_openvino()
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(openvino.convert_model(suppression), "CPU", settings)

    values = compiled({"a": scores, "b": boxes})

    found = zip(*(values[name] for name in ("boxes", "scores", "labels")), strict=True)
    everyone = ours(scores, boxes, most=scores.size)
    for theirs, own in zip(found, everyone, strict=True):
        assert np.array_equal(theirs[1], own[1][:MAX_DETECTIONS])
        last = own[1][MAX_DETECTIONS - 1]
        assert objects(*theirs) <= objects(*own)
        assert {o for o in objects(*theirs) if o[1] > last} == {
            o for o in objects(*own) if o[1] > last
        }


def objects(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], labels: NDArray[np.int64]
) -> set[tuple[tuple[float, ...], float, int]]:
    """Return the detections of an image in no order."""
    return {
        (tuple(box.tolist()), float(score), int(label))
        for box, score, label in zip(boxes, scores, labels, strict=True)
    }
