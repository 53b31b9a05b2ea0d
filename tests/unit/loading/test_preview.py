from damo_yolo.augment.policy import AugmentConfig
from damo_yolo.loading.collate import collate
from damo_yolo.loading.preview import (
    GAP_PX,
    MIN_CELL_PX,
    class_color,
    draw_batch,
    draw_training_batch,
)
from tests.picture_builders import NUM_CLASSES, painted
from tests.unit.loading.conftest import Shards

NAMES = [f"class {i}" for i in range(NUM_CLASSES)]


def test_a_grid_shows_every_image_with_its_boxes() -> None:
    samples = [painted(1, side=224, seed=seed) for seed in range(5)]
    samples[0].image[:] = 7

    grid = draw_batch(collate(samples), NAMES)

    assert grid.shape == (2 * 224 + GAP_PX, 3 * 224 + 2 * GAP_PX, 3)
    x1, _, _, y2 = samples[0].boxes[0].astype(int)
    assert grid[y2, x1].tolist() == list(class_color(int(samples[0].labels[0])))
    assert grid[223, 223].tolist() == [7, 7, 7]
    assert (grid[224 + GAP_PX :, 2 * (224 + GAP_PX) :] == 255).all()  # the sixth place is empty


def test_large_images_are_shown_smaller_and_few_of_a_large_batch() -> None:
    grid = draw_batch(collate([painted(2, side=640)] * 3), NAMES, max_images=2, columns=2)

    assert grid.shape == (320, 2 * 320 + GAP_PX, 3)


def test_small_images_are_enlarged_until_names_can_be_read() -> None:
    sample = painted(1, side=64)

    cell = draw_batch(collate([sample]), NAMES)

    assert cell.shape == (MIN_CELL_PX, MIN_CELL_PX, 3)
    x1, _, _, y2 = (sample.boxes[0] * MIN_CELL_PX / 64).round().astype(int)
    assert cell[y2, x1].tolist() == list(class_color(int(sample.labels[0])))


def test_neighbouring_classes_have_different_colours() -> None:
    colors = [class_color(label) for label in range(12)]

    assert len(set(colors)) == 12


def test_a_training_batch_is_drawn_from_the_shards(shards: Shards) -> None:
    grid = draw_training_batch(
        shards.shards_uri,
        shards.plan_uri,
        image_size=64,
        augment=AugmentConfig(),
        seed=0,
    )

    side = 4 * MIN_CELL_PX + 3 * GAP_PX
    assert grid.shape == (side, side, 3)
    assert grid.std() > 10
