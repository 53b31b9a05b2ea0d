"""The detector against outputs of the published code."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from damo_yolo.models.box_decoder import BoxDecoder, anchor_points
from damo_yolo.models.detector import Detector
from damo_yolo.models.postprocess import postprocess
from damo_yolo.models.reparam import fuse
from damo_yolo.models.zoo import build_detector

SIZES = ("T", "M", "Ns")


@pytest.fixture(scope="module", params=SIZES)
def filled(request: pytest.FixtureRequest, fill_model: Callable[..., None]) -> tuple[str, Detector]:
    size: str = request.param
    detector = build_detector(f"damo-yolo-{size}")
    fill_model(detector, size)
    return size, detector.eval()


@pytest.mark.parametrize("size", SIZES)
def test_keys_and_shapes_are_the_published_ones_in_the_published_order(
    size: str, golden_dir: Path
) -> None:
    published = json.loads((golden_dir / f"state_dict_{size}.json").read_text())

    ours = build_detector(f"damo-yolo-{size}").state_dict()

    assert list(ours) == list(published)
    assert {key: list(value.shape) for key, value in ours.items()} == published


@pytest.mark.parametrize("number", [1, 2])
def test_scores_and_boxes_equal_the_published_ones(
    filled: tuple[str, Detector], number: int, golden_dir: Path
) -> None:
    size, detector = filled
    golden = np.load(golden_dir / f"forward_{size}.npz")
    images = _images(golden, number)

    for each in (detector, fuse(detector)):
        with torch.no_grad():
            scores, boxes = each(images)
        np.testing.assert_allclose(scores, golden[f"scores{number}"], rtol=0, atol=1e-5)
        np.testing.assert_allclose(boxes, golden[f"boxes{number}"], rtol=0, atol=2e-3)


def test_backbone_neck_and_raw_head_outputs_equal_the_published_ones(
    filled: tuple[str, Detector], golden_dir: Path
) -> None:
    size, detector = filled
    golden = np.load(golden_dir / f"forward_{size}.npz")
    with torch.no_grad():
        levels = detector.backbone(_images(golden, 1))
        features = detector.neck(levels)
        class_logits, side_logits = detector.head(features)

    start = 0
    for level in range(3):
        _assert_same_map(levels[level], golden, f"backbone{level}")
        _assert_same_map(features[level], golden, f"neck{level}")
        raw = torch.from_numpy(golden[f"reg_logits_l{level}_1"])  # (1, 4R, H, W)
        rows = raw.flatten(2).mT.reshape(1, -1, 4, raw.shape[1] // 4)  # (1, A, 4, R)
        end = start + rows.shape[1]
        torch.testing.assert_close(side_logits[:, start:end], rows, rtol=0, atol=2e-4)
        first = class_logits[0, start : start + 32, 0].sigmoid()
        count = min(32, rows.shape[1])
        expected = golden[f"cls_prob_l{level}_first_1"]  # class 0, row by row, then class 1
        np.testing.assert_allclose(first[:count], expected[:count], rtol=0, atol=1e-5)
        start = end


@pytest.mark.parametrize("size", ["T", "Ns"])
def test_a_forward_in_training_mode_equals_the_published_one(
    size: str, golden_dir: Path, fill_model: Callable[..., None]
) -> None:
    golden = np.load(golden_dir / f"train_step_{size}.npz")
    detector = build_detector(f"damo-yolo-{size}").train()
    fill_model(detector)
    with torch.no_grad():
        output = detector(torch.from_numpy(golden["images"]).float() / 64 - 2)

    for level, feature in enumerate(output.features):
        moments = [feature.double().mean(), feature.double().std(correction=0)]
        np.testing.assert_allclose(moments, golden[f"neck{level}_meanstd"], rtol=1e-5, atol=1e-6)
    scores = output.class_logits.sigmoid().double().sum()
    np.testing.assert_allclose(scores, golden["cls_scores_sum"], rtol=1e-5)
    np.testing.assert_allclose(output.boxes.double().sum(), golden["decoded_boxes_sum"], rtol=1e-5)
    state = detector.state_dict()
    sums = [state[key].double().sum() for key in golden["bn_after.keys"].tolist()]
    np.testing.assert_allclose(sums, golden["bn_after.sum"], rtol=1e-4, atol=1e-3)


def test_decoded_boxes_equal_the_published_ones(golden_dir: Path) -> None:
    golden = np.load(golden_dir / "decode.npz")
    logits, priors = torch.from_numpy(golden["logits"]), torch.from_numpy(golden["priors"])
    decoder = BoxDecoder(16)

    boxes = decoder(logits, priors[..., :2], priors[..., 2:3])
    origin = torch.zeros_like(priors[..., :2])
    unit = decoder(logits, origin, torch.ones_like(origin[..., :1]))  # -left, -top, right, bottom

    np.testing.assert_allclose(boxes, golden["boxes"], rtol=0, atol=1e-3)
    signed = golden["integral"] * np.array([-1, -1, 1, 1], dtype=np.float32)
    np.testing.assert_allclose(unit, signed, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("tag", "height", "width"), [("64x96", 64, 96), ("416x416", 416, 416)])
def test_anchor_points_equal_the_published_priors(
    tag: str, height: int, width: int, golden_dir: Path
) -> None:
    golden = np.load(golden_dir / "decode.npz")
    steps = (8, 16, 32)

    points, strides = anchor_points([(height // s, width // s) for s in steps], steps)

    priors = torch.cat((points, strides, strides), dim=1).double()
    assert len(priors) == golden[f"priors_{tag}_n"]
    np.testing.assert_array_equal(priors[:40], golden[f"priors_{tag}_first"])
    np.testing.assert_array_equal(priors.sum(dim=0), golden[f"priors_{tag}_sum"])


@pytest.mark.parametrize("case", ["gpu", "nano", "strict", "empty"])
def test_detections_equal_the_published_ones(case: str, golden_dir: Path) -> None:
    golden = np.load(golden_dir / "postprocess.npz")
    score_threshold, iou_threshold = golden[f"{case}.thr"].tolist()

    found = postprocess(
        torch.from_numpy(golden["scores"]),
        torch.from_numpy(golden["boxes"]),
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
    )

    assert len(found) == 2
    for number, (boxes, scores, labels) in enumerate(found):
        np.testing.assert_array_equal(boxes, golden[f"{case}.{number}.boxes"])
        np.testing.assert_array_equal(scores, golden[f"{case}.{number}.scores"])
        np.testing.assert_array_equal(labels, golden[f"{case}.{number}.labels"])


def test_detections_are_capped_as_published(golden_dir: Path) -> None:
    golden = np.load(golden_dir / "postprocess.npz")

    ((boxes, scores, _),) = postprocess(
        torch.from_numpy(golden["cap.scores_in"]),
        torch.from_numpy(golden["cap.boxes_in"]),
        score_threshold=0.05,
        iou_threshold=0.7,
    )

    np.testing.assert_array_equal(boxes, golden["cap.boxes"])
    np.testing.assert_array_equal(scores, golden["cap.scores"])


def _images(golden: "np.lib.npyio.NpzFile", number: int) -> Tensor:
    return torch.from_numpy(golden[f"image{number}"]).float() / 64 - 2


def _assert_same_map(actual: Tensor, golden: "np.lib.npyio.NpzFile", name: str) -> None:
    assert list(actual.shape) == golden[f"{name}_shape_1"].tolist()
    moments = [actual.double().mean(), actual.double().std(correction=0)]
    np.testing.assert_allclose(moments, golden[f"{name}_meanstd_1"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        actual.flatten()[:32], golden[f"{name}_first_1"], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(
        actual.mean(dim=(0, 2, 3)), golden[f"{name}_chmean_1"], rtol=1e-4, atol=1e-4
    )
