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
