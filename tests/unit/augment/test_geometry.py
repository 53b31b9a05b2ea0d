from pathlib import Path

import numpy as np
import pytest

from damo_yolo.augment.geometry import (
    Affine,
    add_channel,
    affine,
    flip,
    resize,
    resize_image,
    stays_visible,
    warp_image,
    warp_objects,
)
from tests.picture_builders import centres_show_labels, painted


def golden(folder: Path) -> dict[str, np.ndarray]:
    return dict(np.load(folder / "preprocess_augment.npz"))


def test_stretching_gives_the_published_pixels(golden_dir: Path) -> None:
    data = golden(golden_dir)

    stretched = resize_image(data["pre.image_hwc_rgb"], width=96, height=64)

    difference = stretched.transpose(2, 0, 1).astype(int) - data["pre.stretch_64x96"][0]
    assert np.abs(difference).max() <= 1


def test_affine_matrix_warp_and_boxes_are_the_published_ones(golden_dir: Path) -> None:
    data = golden(golden_dir)
    draw = Affine(*data["affine.values_angle_scale_shx_shy_tx_ty"])

    np.testing.assert_allclose(draw.matrix((1280, 1280), (640, 640)), data["affine.M"], atol=1e-9)

    matrix = draw.matrix((128, 128), (64, 64))
    image = warp_image(add_channel(data["affine.image"]), matrix, width=64, height=64)
    assert np.abs(image.astype(int) - data["affine.out_image"]).max() <= 1

    boxes = data["affine.targets"][:, :4].astype(np.float32)
    moved, kept = warp_objects(boxes, matrix, scale=draw.scale, width=64, height=64)
    np.testing.assert_allclose(moved, data["affine.out_targets"][kept, :4], atol=1e-3)
    assert data["affine.out_targets"][kept, 4].tolist() == data["affine.targets"][kept, 4].tolist()


def test_visible_objects_are_the_published_candidates(golden_dir: Path) -> None:
    data = golden(golden_dir)
    before = (data["mosaic.b1"] * data["mosaic.scale"]).astype(np.float32)

    kept = stays_visible(before, data["mosaic.b2"].astype(np.float32))

    assert kept.tolist() == data["mosaic.candidates"].tolist()


@pytest.mark.parametrize(
    ("left_over", "kept"),
    [
        ((0, 0, 30, 40), True),
        ((0, 0, 2, 40), False),  # 2 px wide
        ((0, 0, 3, 59), True),  # 177 px^2 of 1000, 19.7 times as high as wide
        ((0, 0, 3, 60), False),  # 20 times
        ((0, 0, 10, 10), False),  # 100 px^2: exactly a tenth
    ],
)
def test_slivers_and_remnants_are_dropped(left_over: tuple[float, ...], *, kept: bool) -> None:
    before = np.array([[0, 0, 25, 40]], np.float32)

    assert stays_visible(before, np.array([left_over], np.float32)).tolist() == [kept]


def test_no_object_is_no_problem() -> None:
    empty = np.zeros((0, 4), np.float32)

    assert stays_visible(empty, empty).shape == (0,)
    for changed in (flip(painted(0)), resize(painted(0), width=32, height=48)):
        assert changed.boxes.shape == (0, 4)
        assert changed.labels.shape == (0,)


def test_flipping_mirrors_pixels_and_boxes() -> None:
    sample = painted(1, side=64)

    mirrored = flip(sample)

    x1, y1, x2, y2 = sample.boxes[0]
    assert mirrored.boxes[0].tolist() == [64 - x2, y1, 64 - x1, y2]
    assert (mirrored.image == sample.image[:, ::-1]).all()
    assert (flip(mirrored).image == sample.image).all()


def test_resizing_scales_each_axis_by_itself() -> None:
    sample = painted(1, side=64)

    stretched = resize(sample, width=128, height=32)

    assert stretched.image.shape == (32, 128, 3)
    np.testing.assert_allclose(stretched.boxes, sample.boxes * [2, 0.5, 2, 0.5])


@pytest.mark.parametrize("seed", range(8))
def test_labels_stay_with_their_boxes_through_affine_flip_and_resize(seed: int) -> None:
    rng = np.random.default_rng(seed)
    draw = Affine(
        rotation_deg=rng.uniform(-10, 10),
        scale=rng.uniform(0.5, 1.5),
        shear_x_deg=rng.uniform(-2, 2),
        shear_y_deg=rng.uniform(-2, 2),
        centre_x=rng.uniform(0.3, 0.7),
        centre_y=rng.uniform(0.3, 0.7),
    )

    changed = resize(flip(affine(painted(6, seed=seed), draw)), width=256, height=160)

    assert centres_show_labels(changed) >= 1
