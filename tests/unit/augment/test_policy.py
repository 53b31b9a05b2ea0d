from dataclasses import replace

import numpy as np
import pytest

from damo_yolo.augment.box_level import BoxLevelConfig
from damo_yolo.augment.policy import AugmentConfig, choose_partners, plain, strong
from damo_yolo.boxes import area
from damo_yolo.errors import ConfigError
from damo_yolo.samples import Sample
from tests.picture_builders import centres_show_labels, painted


def neighbours(count: int, *, num_objects: int = 4) -> list[Sample]:
    return [painted(num_objects, seed=seed, key=f"a/{seed}") for seed in range(count)]


def equal(one: Sample, other: Sample) -> bool:
    return (
        one.image.tobytes() == other.image.tobytes()
        and one.boxes.tobytes() == other.boxes.tobytes()
        and one.labels.tolist() == other.labels.tolist()
        and one.known.tolist() == other.known.tolist()
    )


@pytest.mark.parametrize("seed", range(10))
def test_labels_stay_with_their_boxes_through_mosaic_affine_and_flip(seed: int) -> None:
    config = AugmentConfig(
        mixup_prob=0, mosaic_scale=(0.4, 0.9), box_level=BoxLevelConfig(enabled=False)
    )
    sample, *window = neighbours(9)

    picture = strong(sample, window, np.random.default_rng(seed), config, ramp=1.0)

    assert picture.image.shape == sample.image.shape
    assert centres_show_labels(picture) >= 1


@pytest.mark.parametrize("seed", range(10))
def test_labels_stay_with_their_boxes_through_the_plain_policy(seed: int) -> None:
    picture = plain(painted(5), np.random.default_rng(seed), AugmentConfig(plain_affine=True))

    assert centres_show_labels(picture) >= 1


def test_the_same_generator_gives_the_same_picture_and_another_one_does_not() -> None:
    sample, *window = neighbours(9)
    config = AugmentConfig(mixup_prob=1.0)

    one, again, other = (
        strong(sample, window, np.random.default_rng(seed), config, ramp=1.0) for seed in (1, 1, 2)
    )

    assert equal(one, again)
    assert not equal(one, other)


def test_the_pictures_of_the_window_are_not_written_to() -> None:
    sample, *window = neighbours(9)
    before = [picture.image.copy() for picture in (sample, *window)]

    for seed in range(20):
        strong(sample, window, np.random.default_rng(seed), AugmentConfig(), ramp=1.0)
        plain(sample, np.random.default_rng(seed), AugmentConfig())

    for picture, old in zip((sample, *window), before, strict=True):
        assert (picture.image == old).all()


@pytest.mark.parametrize("num_objects", [0, 6])
@pytest.mark.parametrize("ramp", [0.0, 1.0])
def test_every_picture_comes_out_whole(num_objects: int, ramp: float) -> None:
    sample, *window = neighbours(6, num_objects=num_objects)
    config = AugmentConfig(mixup_prob=1.0)

    for seed in range(40):
        for picture in (
            strong(sample, window, np.random.default_rng(seed), config, ramp=ramp),
            plain(sample, np.random.default_rng(seed), AugmentConfig(plain_affine=True)),
        ):
            assert picture.image.shape == (128, 128, 3)
            assert picture.image.dtype == np.uint8
            assert picture.boxes.dtype == np.float32
            assert picture.boxes.shape == (len(picture.labels), 4)
            assert (picture.boxes >= 0).all()
            assert (picture.boxes <= 128).all()
            assert (area(picture.boxes) > 4).all()
            assert picture.key == sample.key


def test_a_background_is_not_mixed_but_can_be_part_of_a_mosaic() -> None:
    background = painted(0, key="a/background")
    config = AugmentConfig(mixup_prob=1.0, mosaic_prob=0.0, flip_prob=0.0)

    picture = strong(background, neighbours(5), np.random.default_rng(0), config, ramp=0.0)

    assert equal(picture, background)


def test_partners_are_never_the_image_itself_nor_each_other() -> None:
    sample = painted(1, key="a/3")
    window = [*neighbours(6), *neighbours(6)]  # every key twice, the sample's own too

    for seed in range(50):
        chosen = choose_partners(sample, window, np.random.default_rng(seed), count=3)
        assert len({partner.key for partner in (sample, *chosen)}) == 4


@pytest.mark.parametrize(("window_size", "num_distinct"), [(0, 1), (1, 2), (2, 3), (3, 4)])
def test_partners_repeat_only_where_the_window_is_too_small(
    window_size: int, num_distinct: int
) -> None:
    sample = painted(1, key="a/own")

    chosen = choose_partners(sample, neighbours(window_size), np.random.default_rng(0), count=3)

    assert len(chosen) == 3
    assert len({partner.key for partner in (sample, *chosen)}) == num_distinct


@pytest.mark.parametrize(("num_own", "num_from_own"), [(0, 0), (2, 2), (3, 3), (6, 3)])
def test_partners_of_the_own_dataset_go_first_where_that_is_asked_for(
    num_own: int, num_from_own: int
) -> None:
    others = [replace(other, key=f"b/{other.key}", dataset="b") for other in neighbours(4)]
    window = [*others, *(replace(own, dataset="a") for own in neighbours(num_own))]
    sample = replace(painted(1, key="a/own"), dataset="a")

    for seed in range(20):
        rng = np.random.default_rng(seed)
        chosen = choose_partners(sample, window, rng, count=3, prefer="same_dataset")
        assert len({partner.key for partner in chosen}) == 3
        assert sum(partner.dataset == "a" for partner in chosen) == num_from_own


def test_a_mosaic_of_one_dataset_knows_all_that_the_dataset_knows() -> None:
    own = [
        replace(painted(2, seed=seed, key=f"a/{seed}", known=(0, 1, 2)), dataset="a")
        for seed in range(6)
    ]
    others = [
        replace(painted(2, seed=seed, key=f"b/{seed}", known=(2, 3)), dataset="b")
        for seed in range(30)
    ]
    known = {}
    for partners in ("any", "same_dataset"):
        config = AugmentConfig(partners=partners, mixup_prob=1.0, mosaic_scale=(0.9, 1.1))
        pictures = [
            strong(own[0], [*own[1:], *others], np.random.default_rng(seed), config, ramp=0.0)
            for seed in range(20)
        ]
        known[partners] = np.mean([picture.known.sum() for picture in pictures])

    assert known["same_dataset"] == 3
    assert known["any"] < 2


def test_every_neighbour_becomes_a_partner_sooner_or_later() -> None:
    sample = painted(1, key="a/own")
    window = neighbours(8)

    seen = {
        partner.key
        for seed in range(60)
        for partner in choose_partners(sample, window, np.random.default_rng(seed), count=3)
    }

    assert seen == {partner.key for partner in window}


def test_a_range_that_falls_is_refused() -> None:
    with pytest.raises(ConfigError, match="mosaic_scale must be two rising numbers"):
        AugmentConfig.from_mapping({"mosaic_scale": [2.0, 0.1]})
