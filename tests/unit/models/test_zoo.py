from typing import Any

import pytest
import torch

from damo_yolo.errors import ConfigError
from damo_yolo.models.zoo import MODEL_NAMES, build_detector, detector_config, model_table


def test_seven_sizes_have_names() -> None:
    sizes = [name.removeprefix("damo-yolo-") for name in MODEL_NAMES]

    assert sizes == ["t", "s", "m", "l", "ns", "nm", "nl"]


def test_nano_sizes_are_made_for_smaller_images_and_more_candidates() -> None:
    nano, tiny = detector_config("damo-yolo-nm"), detector_config("damo-yolo-t")

    assert (nano.image_size, nano.score_threshold, nano.iou_threshold) == (416, 0.03, 0.65)
    assert (tiny.image_size, tiny.score_threshold, tiny.iou_threshold) == (640, 0.05, 0.7)
    assert (nano.reg_max, tiny.reg_max) == (7, 16)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="damo-yolo-xxl") as caught:
        build_detector("damo-yolo-xxl")

    assert all(name in caught.value.fix for name in MODEL_NAMES)


def test_overrides_reach_the_config() -> None:
    detector = build_detector("damo-yolo-ns", 701, bn_momentum=0.1, activation="relu")

    assert detector.config.num_classes == 701
    assert detector.config.bn_momentum == 0.1
    assert detector.config.activation == "relu"


def test_a_config_keeps_its_classes_unless_told_otherwise() -> None:
    config = build_detector("damo-yolo-ns", 12).config

    assert build_detector(config).config.num_classes == 12
    assert build_detector(config, 3).config.num_classes == 3


@pytest.mark.parametrize("override", [{"reg_max": 0}, {"colour": "red"}, {"activation": "tanh"}])
def test_an_override_that_does_not_fit_is_a_config_error(override: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(override))):
        build_detector("damo-yolo-ns", **override)


def test_the_same_seed_builds_the_same_weights() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build_detector("damo-yolo-ns", 2).state_dict())

    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_the_table_has_a_row_per_size_with_published_accuracy() -> None:
    rows = {row.name: row for row in model_table()}

    assert tuple(rows) == MODEL_NAMES
    assert rows["damo-yolo-m"].published_ap == 49.2
    assert rows["damo-yolo-m"].published_ap_distilled == 50.2
    assert rows["damo-yolo-ns"].published_ap_distilled is None
    assert rows["damo-yolo-ns"].input_size == 416
