from dataclasses import replace

import numpy as np
import pytest

from damo_yolo.augment.mixup import Overlay, mixup
from tests.picture_builders import COLORS, painted


def test_pixels_are_the_mean_and_objects_those_of_both() -> None:
    first, second = painted(2, seed=1), painted(3, seed=2)

    mixed = mixup(first, second, Overlay())

    mean = (first.image.astype(float) + second.image) / 2
    assert np.abs(mixed.image - mean).max() <= 0.5
    np.testing.assert_allclose(mixed.boxes, np.concatenate((first.boxes, second.boxes)))
    assert mixed.labels.tolist() == [*first.labels, *second.labels]
    assert mixed.key == first.key


def test_the_partner_gets_its_own_ratio_back() -> None:
    wide = replace(painted(1, side=64), original_size=(200, 100))

    mixed = mixup(painted(0, side=64), wide, Overlay())

    np.testing.assert_allclose(mixed.boxes, wide.boxes * [1, 0.5, 1, 0.5])
    assert (mixed.image[32:] == 57).all()  # half of the grey below the letterboxed partner


def test_a_smaller_partner_leaves_black_and_a_mirrored_one_its_mirror_image() -> None:
    partner = painted(1, side=64)
    x1, y1, x2, y2 = partner.boxes[0] / 2

    mixed = mixup(painted(0, side=64), partner, Overlay(scale=0.5, mirrored=True))

    np.testing.assert_allclose(mixed.boxes, [[32 - x2, y1, 32 - x1, y2]])
    assert (mixed.image[32:] == 0).all()
    assert (mixed.image[:, 32:] == 0).all()


def test_a_larger_partner_is_cropped_and_its_boxes_are_clipped() -> None:
    boxes = np.array([[0, 0, 40, 64], [60, 10, 64, 20]], np.float32)
    partner = painted(0, side=64).with_objects(boxes, np.array([3, 4]))

    mixed = mixup(painted(0, side=64), partner, Overlay(scale=1.5, corner_x=0.5, corner_y=0.0))

    # 96 px wide, columns 16 to 80 are seen.
    np.testing.assert_allclose(mixed.boxes, [[0, 0, 44, 64], [64, 15, 64, 30]])


@pytest.mark.parametrize("seed", range(6))
def test_labels_stay_with_their_boxes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    partner = painted(4, seed=seed)
    overlay = Overlay(rng.uniform(0.5, 1.5), bool(seed % 2), rng.random(), rng.random())

    mixed = mixup(painted(0), partner, overlay)

    for (x1, y1, x2, y2), label in zip(mixed.boxes, mixed.labels, strict=True):
        if min(x2 - x1, y2 - y1) > 4:
            pixel = mixed.image[int((y1 + y2) / 2), int((x1 + x2) / 2)].astype(float)
            assert np.abs(pixel - COLORS[label] / 2).max() <= 2


def test_a_class_is_known_only_where_both_know_it() -> None:
    mixed = mixup(painted(1, known=(0, 1)), painted(1, known=(1, 2)), Overlay())

    assert np.flatnonzero(mixed.known).tolist() == [1]
