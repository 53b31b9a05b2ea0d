"""Balance: shares of datasets, class-aware weights, expected draws."""

from pathlib import Path

import numpy as np
import pytest

from damo_yolo.datasets.records import write_records
from damo_yolo.errors import ConfigError, DataError
from damo_yolo.mixing.balance import (
    BalanceConfig,
    ImageClasses,
    class_aware_weights,
    expected_draws,
    inverse_frequency,
    repeat_factor,
    smooth_sizes,
)
from damo_yolo.samples import ImageRecord
from tests.record_builders import make_record


def classes_of(folder: Path, records: list[ImageRecord]) -> ImageClasses:
    uri = str(folder / "records.parquet")
    write_records(records, uri)
    return ImageClasses.read(uri)


@pytest.mark.parametrize(("power", "coco_share"), [(1.0, 1 / 101), (0.5, 1 / 11), (0.0, 1 / 2)])
def test_lower_power_moves_draws_to_the_small_dataset(power: float, coco_share: float) -> None:
    shares = smooth_sizes({"coco": 100, "openimages": 10_000}, BalanceConfig(size_power=power))

    assert shares["coco"] == pytest.approx(coco_share)
    assert sum(shares.values()) == pytest.approx(1.0)


def test_a_dataset_without_images_takes_no_share_at_power_zero() -> None:
    shares = smooth_sizes({"coco": 10, "val_only": 0}, BalanceConfig(size_power=0.0))

    assert shares == {"coco": 1.0, "val_only": 0.0}


def test_inverse_frequency_adds_one_over_the_images_of_each_class() -> None:
    # Class 0 is in images 0, 1, 2 and class 1 in image 2 alone.
    sums = inverse_frequency(np.array([0, 1, 2, 2]), np.array([0, 0, 0, 1]), 3)

    assert sums.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3 + 1])


def test_repeat_factor_is_that_of_the_rarest_class_and_at_least_one() -> None:
    # Frequencies 3/4 and 1/4; threshold 1/2: sqrt(2) for class 1, below 1 for class 0.
    factors = repeat_factor(np.array([0, 1, 2, 2]), np.array([0, 0, 0, 1]), 4, threshold=0.5)

    assert factors.tolist() == pytest.approx([1, 1, 2**0.5, 1])


def test_a_class_counts_once_an_image_and_crowd_regions_do_not_count(tmp_path: Path) -> None:
    classes = classes_of(
        tmp_path,
        [
            make_record("a/0", class_ids=[3, 3, 1]),
            make_record("a/1", class_ids=[2, 3], crowd=[0]),
            make_record("a/2", class_ids=[4], crowd=[0]),
        ],
    )

    pairs = list(zip(classes.pair_image.tolist(), classes.pair_class.tolist(), strict=True))
    assert pairs == [(0, 1), (0, 3), (1, 3)]
    assert classes.has_boxes.tolist() == [True, True, False]


def test_pairs_of_the_second_batch_of_a_long_file_name_their_own_images(tmp_path: Path) -> None:
    records = [make_record(f"a/{i}", class_ids=[i % 7] if i % 3 else []) for i in range(5000)]
    classes = classes_of(tmp_path, records)

    expected = [(i, i % 7) for i in range(5000) if i % 3]
    pairs = zip(classes.pair_image.tolist(), classes.pair_class.tolist(), strict=True)
    assert list(pairs) == expected


def test_expected_draws_follow_the_formula(tmp_path: Path) -> None:
    # Dataset a: 4 images, b: 1. With power 1/2 they share 2 : 1. In a, images 0 and 1 hold class 0
    # and image 2 classes 0 and 1: weights 1/3, 1/3, 4/3. Image 3 has no boxes: a tenth of a's.
    classes = classes_of(
        tmp_path,
        [
            make_record("a/0", class_ids=[0]),
            make_record("a/1", class_ids=[0]),
            make_record("a/2", class_ids=[0, 1]),
            make_record("a/3"),
            make_record("b/0", class_ids=[1]),
        ],
    )
    config = BalanceConfig(size_power=0.5, empty_share=0.1)

    expected = expected_draws(classes, {"a": "inverse_frequency"}, config, draws_per_epoch=30)

    assert expected.tolist() == pytest.approx([3, 3, 12, 2, 10])


def test_images_without_boxes_are_never_drawn_at_share_zero(tmp_path: Path) -> None:
    records = [make_record("a/0", class_ids=[0]), make_record("a/1")]
    classes = classes_of(tmp_path, records)

    weights = class_aware_weights(classes, {}, BalanceConfig(empty_share=0.0))

    assert weights.tolist() == [1.0, 0.0]


def test_images_without_boxes_are_drawn_no_more_often_than_the_average_image(
    tmp_path: Path,
) -> None:
    records = [make_record(f"a/{i}", class_ids=[0] if i else []) for i in range(10)]
    classes = classes_of(tmp_path, records)

    weights = class_aware_weights(classes, {}, BalanceConfig(empty_share=0.5))

    assert weights.tolist() == pytest.approx([0.1] * 10)


def test_a_dataset_of_images_without_boxes_draws_them_evenly(tmp_path: Path) -> None:
    classes = classes_of(tmp_path, [make_record("a/0"), make_record("a/1")])

    weights = class_aware_weights(classes, {"a": "repeat_factor"}, BalanceConfig(empty_share=0.0))

    assert weights.tolist() == [0.5, 0.5]


def test_the_config_goes_before_the_catalog(tmp_path: Path) -> None:
    records = [make_record(f"a/{i}", class_ids=[min(i, 1)]) for i in range(4)]
    classes = classes_of(tmp_path, records)
    config = BalanceConfig(sampling={"a": "none"})

    weights = class_aware_weights(classes, {"a": "inverse_frequency"}, config)

    assert weights.tolist() == [0.25] * 4


def test_sampling_of_an_unknown_dataset_is_refused_by_name(tmp_path: Path) -> None:
    classes = classes_of(tmp_path, [make_record("a/0", class_ids=[0])])

    with pytest.raises(ConfigError, match="no training images: coko") as error:
        class_aware_weights(classes, {}, BalanceConfig(sampling={"coko": "none"}))
    assert "a" in error.value.fix


def test_records_without_an_image_cannot_be_balanced(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image to train on"):
        classes_of(tmp_path, [])


def test_exposure_sums_the_draws_of_the_images_that_hold_a_class(tmp_path: Path) -> None:
    classes = classes_of(
        tmp_path, [make_record("a/0", class_ids=[0, 2]), make_record("a/1", class_ids=[2])]
    )

    assert classes.exposure(np.array([0.5, 2.0])).tolist() == [0.5, 0.0, 2.5]
