from pathlib import Path

import numpy as np
import pytest

from damo_yolo.augment.geometry import Affine, add_channel, warp_image
from damo_yolo.augment.mosaic import mosaic, place_tile
from tests.picture_builders import centres_show_labels, painted

WHOLE_CANVAS = Affine(scale=0.5)
MIDDLE = Affine(scale=1.0)


def test_tiles_lie_where_the_published_code_puts_them(golden_dir: Path) -> None:
    rows = np.load(golden_dir / "preprocess_augment.npz")["mosaic.rows"].tolist()

    for index, x, y, width, height, input_height, input_width, *spans in rows:
        canvas = (2 * input_width, 2 * input_height)
        on_canvas, on_tile = place_tile(index, (x, y), (width, height), canvas)
        assert [*on_canvas, *on_tile] == spans


def test_the_middle_of_the_canvas_is_seen_pixel_by_pixel() -> None:
    tiles = [painted(4, side=64, seed=seed) for seed in range(4)]

    picture = mosaic(tiles, (64, 64), MIDDLE)

    canvas = np.vstack(
        [np.hstack([tiles[0].image, tiles[1].image]), np.hstack([tiles[2].image, tiles[3].image])]
    )
    assert (picture.image == canvas[32:96, 32:96]).all()


def test_what_no_tile_covers_is_grey() -> None:
    tiles = [painted(0, side=64, seed=seed) for seed in range(4)]

    picture = mosaic(tiles, (32, 96), WHOLE_CANVAS)

    assert (picture.image[18:, :15] == 0).all()  # of the left tiles 32 columns remain, halved
    assert (picture.image[:14] == 114).all()  # the upper tiles begin at row 32, halved
    assert (picture.image[20:, 52:] == 114).all()  # the right ones end at column 96, halved


def test_boxes_move_with_their_tiles() -> None:
    tiles = [painted(1, side=64, seed=seed) for seed in range(4)]

    picture = mosaic(tiles, (64, 64), WHOLE_CANVAS)

    offsets = [(0, 0), (64, 0), (0, 64), (64, 64)]
    expected = [
        (tile.boxes[0] + [x, y, x, y]) / 2 for tile, (x, y) in zip(tiles, offsets, strict=True)
    ]
    np.testing.assert_allclose(picture.boxes, expected, atol=1e-4)
    assert picture.labels.tolist() == [int(tile.labels[0]) for tile in tiles]


@pytest.mark.parametrize("seed", range(12))
def test_labels_stay_with_their_boxes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tiles = [painted(6, seed=4 * seed + i) for i in range(4)]
    view = Affine(
        rotation_deg=rng.uniform(-10, 10),
        scale=rng.uniform(0.4, 0.9),
        shear_x_deg=rng.uniform(-2, 2),
        shear_y_deg=rng.uniform(-2, 2),
        centre_x=rng.uniform(0.3, 0.7),
        centre_y=rng.uniform(0.3, 0.7),
    )

    picture = mosaic(tiles, tuple(rng.integers(64, 192, 2).tolist()), view)

    assert centres_show_labels(picture) >= 1


def test_a_class_is_known_only_where_all_four_know_it() -> None:
    known = [(0, 1, 2), (0, 1), (0, 2), (0, 1, 2, 3)]
    tiles = [painted(1, seed=i, known=classes) for i, classes in enumerate(known)]

    picture = mosaic(tiles, (128, 128), WHOLE_CANVAS)

    assert np.flatnonzero(picture.known).tolist() == [0]
    assert np.flatnonzero(tiles[0].known).tolist() == [0, 1, 2]


def test_an_object_that_the_canvas_cuts_to_a_sliver_is_dropped() -> None:
    tile = painted(0, side=64)
    boxes = np.array([[0, 10, 34, 50], [40, 10, 60, 50]], np.float32)
    with_objects = tile.with_objects(boxes, np.array([1, 2]))

    # The centre at x = 32 hides the left half of the left tiles: 2 of the first box's 34 columns
    # remain.
    picture = mosaic([with_objects, tile, tile, tile], (32, 64), WHOLE_CANVAS)

    assert picture.labels.tolist() == [2]
    np.testing.assert_allclose(picture.boxes, [[4, 5, 14, 25]], atol=1e-4)


def test_four_backgrounds_make_a_background() -> None:
    picture = mosaic([painted(0, seed=i) for i in range(4)], (100, 150), WHOLE_CANVAS)

    assert picture.boxes.shape == (0, 4)
    assert picture.boxes.dtype == np.float32
    assert picture.labels.dtype == np.int64


@pytest.mark.parametrize("seed", range(6))
def test_only_what_is_seen_is_drawn_and_nothing_seen_is_missing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tiles = [painted(5, side=64, seed=i) for i in range(4)]
    centre = (int(rng.integers(32, 96)), int(rng.integers(32, 96)))
    view = Affine(rng.uniform(-10, 10), rng.uniform(0.1, 2), 2, -2, rng.uniform(0, 1), 0.3)
    canvas = np.full((128, 128, 3), 114, np.uint8)
    for index, tile in enumerate(tiles):
        (left, top, right, bottom), (x1, y1, x2, y2) = place_tile(
            index, centre, (64, 64), (128, 128)
        )
        canvas[top:bottom, left:right] = tile.image[y1:y2, x1:x2]

    picture = mosaic(tiles, centre, view)

    matrix = view.matrix((128, 128), (64, 64))
    expected = warp_image(add_channel(canvas), matrix, width=64, height=64)
    difference = np.abs(picture.image.astype(int) - expected)
    assert difference.max() <= 1
    assert difference.mean() < 0.02
