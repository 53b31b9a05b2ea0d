"""What is put inside a graph gives what is done outside."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from damo_yolo.errors import DataError
from damo_yolo.export.graph import INPUT_TAP
from damo_yolo.export.onnx import GraphConfig, export_onnx
from damo_yolo.export.openvino import export_openvino
from damo_yolo.export.taps import file_taps
from damo_yolo.inference.backends import OnnxBackend, open_backend
from damo_yolo.inference.detect import DetectConfig, detect, detect_image
from damo_yolo.inference.images import to_network_input
from damo_yolo.samples import Detections
from tests.detector_builders import textured_images
from tests.unit.export.conftest import Exported

SIZES = ((64, 64), (64, 64))
KEYS = ("a", "b")


@pytest.fixture(scope="module")
def complete(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The detector with everything inside."""
    path = tmp_path_factory.mktemp("complete") / "model.onnx"
    config = GraphConfig(preprocess=True, nms=True, dynamic_batch=True)
    export_onnx(exported.fused, exported.info, path, config)
    return path


def photo(height: int, width: int) -> NDArray[np.uint8]:
    """Return smooth RGB pixels, as photographs are."""
    coarse = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    resized = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return resized.astype(np.uint8)


def test_suppression_inside_gives_the_boxes_of_our_post_processing(
    exported: Exported, tmp_path: Path
) -> None:
    path = tmp_path / "nms.onnx"
    info = export_onnx(exported.fused, exported.info, path, GraphConfig(nms=True))
    images = textured_images(2).numpy()
    config = DetectConfig.of(exported.reference)

    expected = detect(exported.reference, images, config, keys=KEYS, original_sizes=SIZES)
    backend = open_backend(str(path), threads=1)
    found = detect(backend, images, config, keys=KEYS, original_sizes=SIZES)

    assert info.nms
    assert backend.info.iou_threshold == exported.info.iou_threshold
    for ours, theirs in zip(expected, found, strict=True):
        assert len(ours.labels) > 50
        assert ours.labels.tolist() == theirs.labels.tolist()
        assert np.allclose(ours.scores, theirs.scores, atol=1e-4)
        assert np.allclose(ours.boxes, theirs.boxes, atol=0.05)


def test_empty_places_have_no_score_and_no_label(exported: Exported, tmp_path: Path) -> None:
    path = tmp_path / "nms.onnx"
    strict = exported.info.model_copy(update={"score_threshold": 0.999})
    export_onnx(exported.fused, strict, path, GraphConfig(nms=True))
    session = onnxruntime.InferenceSession(path)

    feed = {"images": textured_images(1).float().numpy()}
    boxes, scores, labels = session.run(["boxes", "scores", "labels"], feed)

    assert (boxes.shape, scores.shape, labels.shape) == ((1, 500, 4), (1, 500), (1, 500))
    assert (scores == 0).all()
    assert (labels == -1).all()


@pytest.mark.parametrize(("height", "width"), [(90, 120), (200, 131), (64, 64)])
def test_preprocessing_inside_is_ours_within_a_grey_level(
    complete: Path, height: int, width: int
) -> None:
    pixels = photo(height, width)

    inside = file_taps(complete, np.ascontiguousarray(pixels[None, ..., ::-1]))[INPUT_TAP][0]

    outside = to_network_input(pixels, 64).astype(np.float32)
    assert np.abs(inside - outside).max() <= 1
    assert np.abs(inside - outside).mean() < 0.2
    assert np.abs(inside - outside[::-1]).mean() > 10  # other colour order would show


def test_a_complete_graph_finds_the_same_objects_in_pixels_of_the_image(
    exported: Exported, complete: Path
) -> None:
    pixels, config = exactly_resized(), DetectConfig.of(exported.reference)

    ours = detect_image(exported.reference, pixels, config)
    theirs = detect_image(open_backend(str(complete), threads=1), pixels, config)

    assert ours.boxes[:, 3].max() > 100  # three times as high as the network's input
    assert_same_objects(ours, theirs)


def test_raw_scores_of_a_complete_graph_are_refused(complete: Path) -> None:
    with pytest.raises(DataError, match="gives no raw scores"):
        open_backend(str(complete))(textured_images(1).numpy())


def test_the_file_says_all_that_is_needed(exported: Exported, complete: Path) -> None:
    info = OnnxBackend(complete).info

    assert (info.preprocess, info.nms, info.precision) == (True, True, "fp32")
    assert info.class_names == exported.info.class_names
    assert info.label_space_sha256 == exported.info.label_space_sha256
    onnx.checker.check_model(onnx.load(complete), full_check=True)


def test_openvino_reads_a_complete_graph(complete: Path, tmp_path: Path) -> None:
    path, first = tmp_path / "complete.xml", OnnxBackend(complete, threads=1)
    export_openvino(complete, first.info, path, "fp32")
    pixels, config = exactly_resized(), DetectConfig.of(first)

    second = open_backend(str(path), threads=1)

    assert_same_objects(detect_image(first, pixels, config), detect_image(second, pixels, config))


def exactly_resized() -> NDArray[np.uint8]:
    """Return 192 x 128 pixels that become 64 x 64 without rounding: whole blocks of one colour."""
    small = textured_images(1)[0].permute(1, 2, 0).numpy()
    return np.ascontiguousarray(small.repeat(3, axis=0).repeat(2, axis=1))


def assert_same_objects(first: Detections, second: Detections) -> None:
    """Every object has one of its class in the same place, in whatever order equal scores come."""
    assert len(first.labels) == len(second.labels) > 50
    for label, box, score in zip(first.labels, first.boxes, first.scores, strict=True):
        gaps = np.abs(second.boxes - box).max(axis=1) + 1e3 * (second.labels != label)
        assert gaps.min() < 0.1
        assert abs(second.scores[gaps.argmin()] - score) < 1e-4
