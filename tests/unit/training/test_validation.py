"""Which weights are best, and when patience ends."""

import pytest
import torch

from damo_yolo.training.config import ValidateConfig
from damo_yolo.training.validation import Progress


def _go(aps: list[float], config: ValidateConfig) -> tuple[Progress, int]:
    """Return the progress and after how many evaluations the run was over; 0: never."""
    progress = Progress()
    for number, ap in enumerate(aps, start=1):
        better = progress.is_better(ap, config)
        weights = {"weight": torch.tensor([ap])}
        progress.take(ap, step=10 * number, weights=weights, better=better)
        if progress.is_over(config):
            return progress, number
    return progress, 0


def test_the_best_weights_are_kept_not_the_last() -> None:
    progress, over = _go([0.1, 0.3, 0.2], ValidateConfig())

    assert over == 0
    assert (progress.best_ap, progress.best_step) == (0.3, 20)
    assert progress.best_weights["weight"].item() == pytest.approx(0.3)


@pytest.mark.parametrize(("patience", "over"), [(1, 3), (2, 4), (3, 0)])
def test_a_run_is_over_after_so_many_evaluations_without_gain(patience: int, over: int) -> None:
    aps = [0.1, 0.3, 0.3, 0.2, 0.4]

    assert _go(aps, ValidateConfig(patience=patience))[1] == over


def test_a_gain_below_the_least_is_none() -> None:
    progress, over = _go([0.30, 0.305, 0.32], ValidateConfig(patience=1, min_gain=0.01))

    assert over == 2
    assert progress.best_ap == 0.30


def test_a_first_evaluation_of_nothing_found_is_the_best_so_far() -> None:
    progress, _ = _go([-1.0, -1.0], ValidateConfig())

    assert progress.best_step == 10
