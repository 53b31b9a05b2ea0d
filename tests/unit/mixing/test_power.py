"""Solving for the smoothing power that gives a wished share."""

import pytest

from damo_yolo.errors import ConfigError
from damo_yolo.mixing.balance import BalanceConfig, smooth_sizes
from damo_yolo.mixing.power import Wish, solve_power

SIZES = {"coco": 100, "openimages": 10_000}


@pytest.mark.parametrize(("share", "power"), [(1 / 11, 0.5), (1 / 101, 1.0), (1 / 2, 0.0)])
def test_the_power_of_a_wished_share_is_found(share: float, power: float) -> None:
    assert solve_power(SIZES, Wish("coco", share)) == pytest.approx(power, abs=1e-9)


def test_of_two_powers_the_one_nearer_to_the_raw_sizes_is_taken() -> None:
    sizes = {"small": 1, "middle": 64, "large": 128}
    at_quarter = smooth_sizes(sizes, BalanceConfig(size_power=0.5))["middle"]

    power = solve_power(sizes, Wish("middle", at_quarter))

    assert power > 0.5 + 1e-3 or power == pytest.approx(0.5)
    share = smooth_sizes(sizes, BalanceConfig(size_power=power))["middle"]
    assert share == pytest.approx(at_quarter)
    higher = [power + step * (1 - power) / 50 for step in range(1, 51)]
    shares = [smooth_sizes(sizes, BalanceConfig(size_power=p))["middle"] for p in higher]
    assert all(value < at_quarter for value in shares)


def test_a_share_that_no_power_reaches_is_an_error_with_the_range() -> None:
    with pytest.raises(ConfigError, match=r"powers from 0 to 1 give it 0\.99% to 50\.00%"):
        solve_power(SIZES, Wish("coco", 0.6))
    with pytest.raises(ConfigError, match=r"50\.00% to 99\.01%"):
        solve_power(SIZES, Wish("openimages", 0.3))


def test_a_wish_for_an_unknown_dataset_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="'cocos'") as caught:
        solve_power(SIZES, Wish("cocos", 0.1))
    assert caught.value.fix == "use one of: coco, openimages"


def test_datasets_of_one_size_have_one_share_at_every_power() -> None:
    sizes = {"a": 5, "b": 5}

    assert 0 <= solve_power(sizes, Wish("a", 0.5)) <= 1
    with pytest.raises(ConfigError, match=r"50\.00% to 50\.00%"):
        solve_power(sizes, Wish("a", 0.51))


@pytest.mark.parametrize("text", ["coco", "coco=", "=0.3", "coco=1.5", "coco=0", "coco=nan", "c=x"])
def test_a_wish_is_a_dataset_and_a_share(text: str) -> None:
    assert Wish.parse("coco=0.3") == Wish("coco", 0.3)
    with pytest.raises(ConfigError, match="is not a dataset and a share"):
        Wish.parse(text)
