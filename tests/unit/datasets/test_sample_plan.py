from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from damo_yolo.datasets.sample.classes import CLASSES, OPENIMAGES, VOCABULARIES, DatasetName
from damo_yolo.datasets.sample.plan import SampleConfig, generator, plan_images, whole_quotas

DATASETS: tuple[DatasetName, ...] = ("coco", "objects365", "openimages")


def test_quotas_are_whole_and_the_largest_remainder_gets_the_rest() -> None:
    quotas = whole_quotas(np.array([1.0, 2.0, 4.0]), 10)  # 1.43, 2.86, 5.71
    assert quotas.tolist() == [1, 3, 6]


def test_sizes_of_the_training_splits_are_one_to_four_to_eight() -> None:
    sizes = [len(list(plan_images(SampleConfig(), name, "train"))) for name in DATASETS]
    assert sizes == [64, 256, 512]


@pytest.mark.parametrize("dataset", DATASETS)
def test_an_image_shows_one_to_eight_objects(dataset: DatasetName) -> None:
    counts = [len(plan.objects) for plan in plan_images(SampleConfig(), dataset, "train")]
    assert min(counts) == 1
    assert 6 <= max(counts) <= 8
    assert sum(counts) / len(counts) == pytest.approx(2.6, abs=0.05)


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("dataset", DATASETS)
def test_training_classes_are_long_tailed_in_the_order_of_the_vocabulary(
    dataset: DatasetName, seed: int
) -> None:
    plans = plan_images(SampleConfig(seed=seed), dataset, "train")
    counts = Counter(CLASSES[item.index].unified_id for plan in plans for item in plan.objects)
    own = [counts[unified_id] for unified_id in VOCABULARIES[dataset]]
    assert all(more >= fewer for more, fewer in pairwise(own))
    assert own[0] >= 7 * own[-1]
    foreign = counts.total() - sum(own)
    assert foreign / counts.total() == pytest.approx(0.2, abs=0.02)


def test_validation_classes_are_even() -> None:
    plans = plan_images(SampleConfig(), "objects365", "val")
    counts = Counter(item.index for plan in plans for item in plan.objects)
    assert len(counts) == len(CLASSES)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_groups_are_rare_and_of_annotated_classes() -> None:
    plans = plan_images(SampleConfig(), "openimages", "train")
    objects = [item for plan in plans for item in plan.objects]
    groups = [item for item in objects if item.is_group]
    assert len(groups) == len(objects) // 60
    assert all(CLASSES[item.index].unified_id in OPENIMAGES for item in groups)


def test_random_numbers_of_an_image_depend_on_nothing_else() -> None:
    first = [generator(3, "coco", "train", number).random() for number in (0, 1, 2)]
    again = [generator(3, "coco", "train", number).random() for number in (2, 0, 1)]
    assert first == [again[1], again[2], again[0]]
    others = [
        generator(4, "coco", "train", 0).random(),
        generator(3, "coco", "val", 0).random(),
        generator(3, "openimages", "train", 0).random(),
    ]
    assert len({*first, *others}) == 6
