import numpy as np
import pytest

from damo_yolo.inference.detect import DetectConfig, detect
from damo_yolo.inference.predictor import NamedDetection, Predictor
from tests.unit.inference.fixed import FixedBackend

SCORES = [[0.9, 0.0, 0.1], [0.0, 0.6, 0.0], [0.85, 0.0, 0.0], [0.0, 0.2, 0.0]]
BOXES = [[8, 8, 40, 40], [32, 0, 80, 16], [9, 8, 40, 40], [0, 0, 9, 9]]
IMAGE = np.zeros((32, 128, 3), np.uint8)  # twice as wide as the input of 64, half as high


def test_objects_get_names_and_boxes_of_the_image_as_stored() -> None:
    found = Predictor(FixedBackend(SCORES, BOXES))(IMAGE)

    assert [(item.name, item.class_id) for item in found] == [("cat", 0), ("dog", 1)]
    assert [item.score for item in found] == pytest.approx([0.9, 0.6])
    assert found[0].box == (16.0, 4.0, 80.0, 20.0)


def test_boxes_are_cut_at_the_edge_of_the_image() -> None:
    found = Predictor(FixedBackend(SCORES, BOXES))(IMAGE)

    assert found[1].box == (64.0, 0.0, 128.0, 8.0)


def test_thresholds_can_be_chosen() -> None:
    backend = FixedBackend(SCORES, BOXES)

    everything = Predictor(backend, score_threshold=0.05)(IMAGE)
    kept_apart = Predictor(backend, iou_threshold=1.0)(IMAGE)
    best = Predictor(backend, max_detections=1)(IMAGE)

    assert [item.name for item in everything] == ["cat", "dog", "dog", "bird"]
    assert [item.name for item in kept_apart] == ["cat", "cat", "dog"]
    assert [item.name for item in best] == ["cat"]


def test_an_image_without_objects_gives_an_empty_list() -> None:
    assert Predictor(FixedBackend(np.zeros((4, 3)), BOXES))(IMAGE) == []


def test_several_images_are_seen_one_by_one_at_the_size_of_the_input() -> None:
    backend = FixedBackend(SCORES, BOXES)
    other = np.full((64, 64, 3), 7, np.uint8)

    answers = list(Predictor(backend).predict([IMAGE, other]))

    assert [len(answer) for answer in answers] == [2, 2]
    assert answers[1][0].box == (8.0, 8.0, 40.0, 40.0)
    assert [seen.shape for seen in backend.seen] == [(1, 3, 64, 64)] * 2
    assert backend.seen[1].max() == 7.0


def test_a_detection_turns_into_plain_values() -> None:
    item = NamedDetection("cat", 0, 0.5, (1.0, 2.0, 3.0, 4.0))

    assert item.to_json() == {
        "name": "cat",
        "class_id": 0,
        "score": 0.5,
        "box": (1.0, 2.0, 3.0, 4.0),
    }


def test_a_batch_keeps_keys_and_rescales_each_image_by_its_own_ratios() -> None:
    backend = FixedBackend(SCORES, BOXES)

    first, second = detect(
        backend,
        np.zeros((2, 3, 64, 64), np.uint8),
        DetectConfig.of(backend),
        keys=("a/1", "a/2"),
        original_sizes=((128, 32), (64, 64)),
    )

    assert (first.key, second.key) == ("a/1", "a/2")
    assert first.boxes[0].tolist() == [16.0, 4.0, 80.0, 20.0]
    assert second.boxes[0].tolist() == [8.0, 8.0, 40.0, 40.0]
    assert first.scores.tolist() == pytest.approx([0.9, 0.6, 0.2, 0.1])
    assert first.labels.tolist() == [0, 1, 1, 2]
