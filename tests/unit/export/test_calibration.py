from pathlib import Path

import numpy as np
import pytest

from damo_yolo.export.calibration import calibration_images, choose
from tests.detector_builders import write_painted_shards


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return write_painted_shards(tmp_path_factory.mktemp("data"))


def test_images_are_training_images_at_the_size_of_the_input(data: tuple[str, str]) -> None:
    images = calibration_images(*data, num_images=10, image_size=64)

    assert 5 <= len(images) <= 10
    assert all(image.shape == (3, 64, 64) and image.dtype == np.uint8 for image in images)
    assert len({image.tobytes() for image in images}) == len(images)


def test_the_same_seed_chooses_the_same_images(data: tuple[str, str]) -> None:
    first = calibration_images(*data, num_images=8, image_size=32, seed=3)
    again = calibration_images(*data, num_images=8, image_size=32, seed=3)
    other = calibration_images(*data, num_images=8, image_size=32, seed=4)

    assert np.array_equal(np.stack(first), np.stack(again))
    assert [i.tobytes() for i in first] != [i.tobytes() for i in other]


def test_without_a_plan_all_training_images_are_alike(data: tuple[str, str]) -> None:
    assert len(calibration_images(data[0], None, num_images=99, image_size=32)) == 24


def test_heavier_images_are_chosen_more_often() -> None:
    weights = np.array([1.0] * 50 + [3.0] * 50)

    counts = np.zeros(100)
    for seed in range(200):
        counts[choose(weights, 20, seed=seed)] += 1

    assert counts[50:].mean() / counts[:50].mean() == pytest.approx(3.0, rel=0.1)


def test_images_that_are_never_drawn_are_never_chosen() -> None:
    weights = np.array([0.0, 1.0, 0.0, 2.0])

    assert choose(weights, 10, seed=0).tolist() == [1, 3]
    for seed in range(20):
        assert set(choose(weights, 1, seed=seed)) <= {1, 3}


def test_every_choice_is_there_at_most_once(tmp_path: Path) -> None:
    del tmp_path
    chosen = choose(np.array([100.0, 1.0, 1.0]), 2, seed=0)

    assert len(set(chosen.tolist())) == len(chosen)
