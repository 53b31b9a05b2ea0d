from pathlib import Path

import numpy as np
import pytest

from damo_yolo.errors import TrainingError
from damo_yolo.training.config import ScheduleConfig
from damo_yolo.training.schedule import (
    Timeline,
    average_decay,
    learning_rate,
    plan_timeline,
)


@pytest.mark.parametrize("tag", ["gpu", "nano"])
def test_rates_are_those_of_the_published_schedule(golden_dir: Path, tag: str) -> None:
    golden = np.load(golden_dir / "schedule.npz")
    per_image, batch, min_ratio, total, plain, warmup, start = golden[f"lr.{tag}.args"]
    assert start == 0
    timeline = Timeline(463, int(total), warmup_steps=int(warmup), plain_steps=int(plain))

    rates = [
        learning_rate(int(step), timeline, base=per_image * batch, min_ratio=min_ratio)
        for step in golden[f"lr.{tag}.iters"]
    ]

    np.testing.assert_allclose(rates, golden[f"lr.{tag}.lr"], rtol=1e-12)


def test_the_average_slows_down_as_published(golden_dir: Path) -> None:
    golden = np.load(golden_dir / "schedule.npz")

    decays = [average_decay(int(step), decay=0.9998, tau=2000) for step in golden["ema.iters"]]

    np.testing.assert_allclose(decays, golden["ema.decay"], rtol=1e-12)


def test_the_published_recipe_gives_the_published_steps() -> None:
    """COCO has 118,287 training images, 463 steps of 256; 139 k steps in 300 epochs."""
    timeline = plan_timeline(ScheduleConfig(), steps_per_epoch=463)

    assert timeline.total_steps == 138_900
    assert timeline.warmup_steps == 2315
    assert timeline.plain_steps == 16 * 463


def test_a_fixed_number_of_steps_ends_in_the_middle_of_an_epoch() -> None:
    config = ScheduleConfig(max_steps=25, plain_epochs=1, warmup_fraction=0.2)

    timeline = plan_timeline(config, steps_per_epoch=10)

    assert (timeline.epochs, timeline.total_steps, timeline.warmup_steps) == (3, 25, 5)
    assert timeline.plain_steps == 5  # the third epoch has only five
    assert [timeline.phase(epoch) for epoch in range(3)] == ["mosaic", "mosaic", "plain"]


def test_the_rate_rises_falls_and_stays_at_the_lowest() -> None:
    timeline = Timeline(10, total_steps=100, warmup_steps=10, plain_steps=10)

    rates = [learning_rate(step, timeline, base=1.0, min_ratio=0.1) for step in range(100)]

    assert rates[0] == 0
    assert rates[5] == 0.25  # (5 / 10) squared
    assert rates[10] == 1.0
    assert rates[50] == pytest.approx(0.55)  # half way down
    assert rates[90:] == [pytest.approx(0.1)] * 10
    assert rates == sorted(rates[:11]) + sorted(rates[11:], reverse=True)


def test_more_plain_epochs_than_epochs_leave_no_mosaic() -> None:
    timeline = plan_timeline(ScheduleConfig(epochs=2, plain_epochs=16), steps_per_epoch=4)

    assert timeline.plain_steps == timeline.total_steps == 8
    assert timeline.phase(0) == "plain"


def test_a_run_without_mosaic_still_follows_its_cosine() -> None:
    config = ScheduleConfig(max_steps=10, plain_epochs=0, mosaic=False, warmup_fraction=0)

    timeline = plan_timeline(config, steps_per_epoch=4)

    assert [timeline.phase(epoch) for epoch in range(3)] == ["plain"] * 3
    assert learning_rate(5, timeline, base=1.0, min_ratio=0.0) == pytest.approx(0.5)


def test_an_empty_epoch_is_an_error() -> None:
    with pytest.raises(TrainingError, match="no step"):
        plan_timeline(ScheduleConfig(), steps_per_epoch=0)
