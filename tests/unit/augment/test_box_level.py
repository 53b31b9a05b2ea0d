from pathlib import Path

import numpy as np
import pytest

from damo_yolo.augment.box_level import (
    BoxLevelConfig,
    BoxPolicy,
    GeometricName,
    box_level,
    object_probabilities,
    scale_splits,
    spreads,
)
from damo_yolo.augment.gaussian import NEGLIGIBLE, GaussianMap
from damo_yolo.boxes import area
from damo_yolo.samples import Sample
from tests.picture_builders import painted

ALWAYS = {"object_prob": 1.0, "color_ratios": (1, 0, 0), "geometric_ratios": (1, 0, 0)}
"""Every object is drawn, as all of them count as small."""


def only(geometric: GeometricName, level: float, *, color_prob: float = 0.0) -> BoxLevelConfig:
    policy = BoxPolicy(
        color="brightness",
        color_prob=color_prob,
        color_level=0,
        geometric=geometric,
        geometric_prob=1.0 - color_prob,
        geometric_level=level,
    )
    splits = (1e9, 2e9, 3e9)
    return BoxLevelConfig.from_mapping({"policies": (policy,), "scale_splits": splits, **ALWAYS})


def golden_sample(data: dict[str, np.ndarray]) -> Sample:
    image = np.rint(data["sada.image"].transpose(1, 2, 0) * 255).astype(np.uint8)
    return Sample(
        key="golden/0",
        dataset="golden",
        image=image,
        boxes=data["sada.boxes"],
        labels=np.arange(4),
        known=np.ones(4, np.bool_),
        original_size=(96, 64),
    )


def test_splits_maps_and_probabilities_are_the_published_ones(golden_dir: Path) -> None:
    data = dict(np.load(golden_dir / "preprocess_augment.npz"))
    sample, config = golden_sample(data), BoxLevelConfig()
    areas = area(sample.boxes)

    splits = scale_splits(sample.image, config)
    np.testing.assert_allclose(splits, data["sada.scale_splits"])
    for ratios, name in ((config.color_ratios, "prob_area"), (config.geometric_ratios, "prob_geo")):
        shares = object_probabilities(areas, splits, ratios)
        np.testing.assert_allclose(config.object_prob * shares, data[f"sada.{name}"])
    for spread, name in (
        (spreads(areas, splits), "gauss_area751"),
        (np.ones(4), "gauss_plain"),
    ):
        bells = GaussianMap.around(sample.boxes, spread, width=96, height=64)
        whole = np.zeros((64, 96))
        whole[bells.rows, bells.columns] = bells.weights
        np.testing.assert_allclose(
            whole, data[f"sada.{name}"].clip(0, 1), atol=len(areas) * NEGLIGIBLE
        )


def test_a_colour_change_is_blended_in_as_published(golden_dir: Path) -> None:
    data = dict(np.load(golden_dir / "preprocess_augment.npz"))
    policy = BoxPolicy(
        color="color",
        color_prob=1,
        color_level=2,
        geometric="flip",
        geometric_prob=0,
        geometric_level=0,
    )
    config = BoxLevelConfig(policies=(policy,), object_prob=1.0, color_ratios=(1, 1, 1))
    sample = golden_sample(data)
    merged = data["sada.merge_color_l2"].transpose(1, 2, 0) * 255

    # An object is drawn with probability 1/3: find a generator that draws all four.
    seed = next(s for s in range(1000) if (_color_draws(s) < 1 / 3).all())
    changed = box_level(sample, np.random.default_rng(seed), config, ramp=1.0)

    assert np.abs(changed.image - merged).max() < 1.5  # rounded twice, published unrounded
    assert (changed.image != sample.image).any()


def _color_draws(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rng.integers(1)
    rng.random(2)
    return rng.random(4)


def test_a_ramp_of_zero_changes_nothing() -> None:
    sample = painted(5)

    for seed in range(20):
        changed = box_level(sample, np.random.default_rng(seed), BoxLevelConfig(), ramp=0.0)
        assert changed.image is sample.image
        assert changed.boxes is sample.boxes


def test_changes_come_as_often_as_the_ramp_says() -> None:
    config = only("flip", 1)
    sample = painted(1)
    changed = [
        box_level(sample, np.random.default_rng(seed), config, ramp=0.25).image is not sample.image
        for seed in range(400)
    ]

    assert np.mean(changed) == pytest.approx(0.25, abs=0.07)


def test_a_translated_object_leaves_its_original_and_brings_its_label() -> None:
    sample = painted(0, side=640).with_objects(
        np.array([[300, 300, 340, 350]], np.float32), np.array([7])
    )
    sample.image[300:350, 300:340] = 200

    changed = box_level(sample, np.random.default_rng(0), only("translate_x", 5), ramp=1.0)

    assert changed.labels.tolist() == [7, 7]
    assert changed.boxes[0].tolist() == [300, 300, 340, 350]
    assert abs(changed.boxes[1, 0] - 300) == 60  # level 5 of 10, of 120 px
    assert changed.boxes[1, [1, 3]].tolist() == [300, 350]
    middle = (changed.boxes[1, :2] + changed.boxes[1, 2:]) / 2
    assert (changed.image[int(middle[1]), int(middle[0])] >= 195).all()
    assert (sample.image[:, :240] == 0).all()  # the input stays as it was


def test_an_object_translated_out_of_sight_brings_nothing() -> None:
    sample = painted(0, side=640).with_objects(
        np.array([[0, 0, 640, 20]], np.float32), np.array([7])
    )
    upwards = [
        box_level(sample, np.random.default_rng(seed), only("translate_y", 10), ramp=1.0)
        for seed in range(8)
    ]

    assert {len(changed.labels) for changed in upwards} == {1, 2}


@pytest.mark.parametrize("name", ["flip", "rotate", "shear_x", "shear_y"])
def test_other_geometric_changes_stay_inside_their_boxes(name: GeometricName) -> None:
    sample = painted(0).with_objects(np.array([[20, 30, 80, 90]], np.float32), np.array([7]))
    rng = np.random.default_rng(1)
    sample.image[:] = rng.integers(0, 255, sample.image.shape)

    changed = box_level(sample, np.random.default_rng(0), only(name, 8), ramp=1.0)

    assert changed.boxes is not None
    assert changed.boxes.tolist() == sample.boxes.tolist()
    differs = (changed.image != sample.image).any(axis=2)
    assert differs[30:90, 20:80].any()
    differs[30:90, 20:80] = False
    assert not differs.any()


def test_flipping_an_object_mirrors_its_middle() -> None:
    sample = painted(0).with_objects(np.array([[20, 30, 80, 90]], np.float32), np.array([7]))
    sample.image[30:90, 48:50] = 255  # left of the middle at 50

    changed = box_level(sample, np.random.default_rng(0), only("flip", 1), ramp=1.0)

    assert changed.image[60, 50, 0] > 240
    assert changed.image[60, 48, 0] < 15


def test_tiny_and_empty_objects_pass() -> None:
    boxes = np.array([[5, 5, 5, 9], [5.2, 5.2, 5.8, 5.8], [0, 0, 128, 128]], np.float32)
    sample = painted(0).with_objects(boxes, np.arange(3))

    for name in ("flip", "rotate", "shear_x", "shear_y", "translate_x", "translate_y"):
        for seed in range(4):
            config = only(name, 8)
            box_level(sample, np.random.default_rng(seed), config, ramp=1.0)
            colored = only(name, 8, color_prob=1.0)
            box_level(sample, np.random.default_rng(seed), colored, ramp=1.0)
    assert np.isfinite(sample.boxes).all()
