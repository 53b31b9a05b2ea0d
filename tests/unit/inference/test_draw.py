import numpy as np
import pytest

from damo_yolo.inference.draw import colour_of, draw_detections
from damo_yolo.inference.predictor import NamedDetection

GREY = np.full((100, 120, 3), 90, np.uint8)
FACTOR = 5  # 100 px become at least 480


def one(
    name: str = "cat", box: tuple[float, float, float, float] = (20, 40, 60, 80), class_id: int = 0
) -> NamedDetection:
    return NamedDetection(name, class_id, 0.75, box)


def test_small_images_are_enlarged_by_a_whole_factor_and_large_ones_kept() -> None:
    assert draw_detections(GREY, []).shape == (500, 600, 3)
    large = np.zeros((480, 700, 3), np.uint8)
    assert draw_detections(large, []).shape == large.shape


def test_the_box_is_outlined_in_the_colour_of_its_class_and_not_filled() -> None:
    picture = draw_detections(GREY, [one()])

    assert tuple(picture[60 * FACTOR, 20 * FACTOR]) == colour_of(0)
    assert tuple(picture[80 * FACTOR, 40 * FACTOR]) == colour_of(0)
    assert tuple(picture[70 * FACTOR, 40 * FACTOR]) == (90, 90, 90)


def test_the_image_itself_is_left_alone() -> None:
    before = GREY.copy()

    draw_detections(GREY, [one()], min_side=10)

    assert np.array_equal(GREY, before)


def test_the_name_is_written_beside_the_box() -> None:
    drawn, empty = draw_detections(GREY, [one()]), draw_detections(GREY, [])
    above = slice(30 * FACTOR, 39 * FACTOR)

    assert (drawn[above] != empty[above]).any()


@pytest.mark.parametrize("box", [(0, 0, 5, 5), (115, 95, 120, 100), (-9, -9, 200, 200)])
def test_names_at_the_edge_stay_on_the_picture(box: tuple[float, float, float, float]) -> None:
    long_name = "a very long name of a class"

    picture = draw_detections(GREY, [one(long_name, box)])

    inked = (picture == np.array(colour_of(0))).all(axis=2)
    assert inked.sum(axis=1).max() > 150  # a whole label's width, not a cut one


def test_names_of_objects_in_one_place_do_not_hide_each_other() -> None:
    same_place = [one(class_id=i) for i in range(4)]

    picture = draw_detections(GREY, same_place)

    for class_id in range(4):
        assert (picture == np.array(colour_of(class_id))).all(axis=2).sum() > 400


def test_classes_differ_in_colour_and_keep_theirs() -> None:
    colours = [colour_of(i) for i in range(40)]

    assert len(set(colours)) == 40
    assert colours == [colour_of(i) for i in range(40)]
    near = np.abs(np.array(colours[:-1]) - np.array(colours[1:])).sum(axis=1)
    assert near.min() > 60


def test_letters_that_the_font_lacks_are_replaced() -> None:
    plain = draw_detections(GREY, [one("Jalapeno")])

    assert np.array_equal(draw_detections(GREY, [one("Jalapeño")]), plain)
    assert draw_detections(GREY, [one("猫")]).shape == plain.shape
