import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from damo_yolo.datasets.sample.canvas import Canvas
from damo_yolo.datasets.sample.plan import PlannedImage, PlannedObject, generator
from damo_yolo.datasets.sample.scene import draw_scene, pose, pose_angle


def test_a_box_is_the_extent_of_alpha() -> None:
    canvas = Canvas(np.zeros((100, 100, 3), np.uint8))
    sprite = _square(40)
    sprite[:5, :, 3] = 127  # not opaque: the box starts below
    assert canvas.place(sprite, (10, 20), index=3, is_group=False)
    (item,) = canvas.objects()
    assert item.box == (10, 25, 50, 60)
    assert item.mask.shape == (35, 40)
    assert item.mask.all()
    assert not item.is_cut


def test_a_sprite_over_the_border_is_clipped_and_counts_as_cut() -> None:
    canvas = Canvas(np.zeros((100, 100, 3), np.uint8))
    assert canvas.place(_square(40), (-10, 70), index=0, is_group=False)
    (item,) = canvas.objects()
    assert item.box == (0, 70, 30, 100)
    assert item.is_cut
    assert canvas.pixels()[70:, :30].min() == 255
    assert canvas.pixels()[:70].max() == 0


@pytest.mark.parametrize(("side", "fits"), [(11, False), (12, True), (60, True), (61, False)])
def test_box_sides_are_twelve_to_sixty_percent_of_the_image(side: int, *, fits: bool) -> None:
    canvas = Canvas(np.zeros((100, 100, 3), np.uint8))
    assert canvas.place(_square(side), (5, 5), index=0, is_group=False) is fits
    assert len(canvas.objects()) == fits


def test_an_object_is_covered_by_at_most_a_third_by_all_later_ones_together() -> None:
    canvas = Canvas(np.zeros((100, 100, 3), np.uint8))
    assert canvas.place(_square(40), (0, 0), index=0, is_group=False)
    assert not canvas.place(_square(40), (20, 0), index=1, is_group=False)  # would cover 50 %
    assert canvas.place(_square(40), (32, 0), index=1, is_group=False)  # covers 20 %
    assert not canvas.place(_square(40), (0, 32), index=2, is_group=False)  # 20 % and 16 % more
    assert canvas.place(_square(40), (0, 36), index=2, is_group=False)  # 20 % and 8 % more
    covered = [item.covered for item in canvas.objects()]
    assert covered == [pytest.approx(0.28), pytest.approx(0.02), 0]


def test_pixels_blend_by_alpha() -> None:
    canvas = Canvas(np.full((100, 100, 3), 100, np.uint8))
    sprite = _square(40)
    sprite[:] = sprite * 0.6  # 60 % opaque white, colours multiplied
    assert canvas.place(sprite, (0, 0), index=0, is_group=False)
    assert canvas.pixels()[10, 10].tolist() == [193, 193, 193]  # 0.6 * 255 + 0.4 * 100


def test_a_pose_has_the_side_asked_for_and_turns_counter_clockwise() -> None:
    upright = pose(_bar(), side=60, angle_deg=0, gain=1)
    assert upright.shape[0] == pytest.approx(60, abs=1)
    assert upright.shape[1] == pytest.approx(20, abs=1)
    turned = pose(_bar(), side=60, angle_deg=20, gain=1)
    top, bottom = (np.flatnonzero(turned[row, :, 3] > 127).mean() for row in (3, -4))
    assert top < bottom  # the upper end moves to the left


def test_brightening_never_exceeds_alpha() -> None:
    posed = pose(_bar(), side=60, angle_deg=10, gain=1.15)
    assert (posed[..., :3] <= posed[..., 3:]).all()


def test_angles_of_training_and_validation_never_meet() -> None:
    rng = np.random.default_rng(0)
    train = {int((pose_angle("train", rng) + 25) // 5) for _ in range(300)}
    val = {int((pose_angle("val", rng) + 25) // 5) for _ in range(300)}
    assert train == {0, 2, 4, 6, 8}
    assert val == {1, 3, 5, 7, 9}


def test_an_image_is_drawn_from_its_own_random_numbers_alone() -> None:
    objects = tuple(PlannedObject(0, is_group) for is_group in (False, True, False))
    plan = PlannedImage("coco", "train", 5, objects)
    photographs = (cv2.merge([np.arange(90_000, dtype=np.uint32).reshape(300, 300) % 251] * 3),)
    scenes = [
        draw_scene(
            plan,
            (_bar(),),
            (photographs[0].astype(np.uint8),),
            generator(seed, "coco", "train", 5),
        )
        for seed in (1, 1, 2)
    ]
    assert scenes[0].image.tobytes() == scenes[1].image.tobytes()
    assert [o.box for o in scenes[0].objects] == [o.box for o in scenes[1].objects]
    assert scenes[0].image.tobytes() != scenes[2].image.tobytes()


def _square(side: int) -> NDArray[np.float32]:
    return np.full((side, side, 4), 255, np.float32)


def _bar() -> NDArray[np.uint8]:
    """Return a sprite with an upright white bar, 60 by 20 pixels."""
    sprite = np.zeros((76, 76, 4), np.uint8)
    sprite[8:68, 28:48] = 255
    return sprite
