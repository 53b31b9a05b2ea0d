import logging
from types import SimpleNamespace
from typing import Any

import pytest

from damo_yolo.tuning.ray_hooks import Halving, LogTrials, Population


def make_trial(number: int, config: dict[str, Any], *, ended: bool, **result: float) -> Any:
    return SimpleNamespace(
        trial_id=f"t{number}", config=config, last_result=result, is_finished=lambda: ended
    )


def test_every_end_is_told_with_its_values_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    again = {"arm": "best", "seed": 1000, "values": {"loss.giou": 3.6319830392}}
    trials = [
        make_trial(0, {"loss.giou": 2.0}, ended=True),
        make_trial(1, {"loss.giou": 3.6319830392}, ended=False, ap=0.25, step=40),
        make_trial(2, {"point": again}, ended=False, ap=0.5, step=80),
        make_trial(3, {"loss.giou": 1.0}, ended=False),
    ]
    hears = LogTrials(None)

    with caplog.at_level(logging.INFO):
        hears.on_trial_complete(1, trials, trials[1])
        hears.on_trial_complete(2, trials, trials[2])
        hears.on_trial_error(3, trials, trials[3])

    assert caplog.messages == [
        "trial t1: AP 0.2500 at step 40 (loss.giou 3.632); 2 ended",
        "best, seed 1000: AP 0.5000 at step 80 (loss.giou 3.632); 2 ended",
        "trial t3: failed (loss.giou 1); 2 ended",
    ]


COMMON: dict[str, Any] = {"time_attr": "step", "metric": "ap", "mode": "max", "last_step": 8}


@pytest.mark.parametrize(
    "scheduler",
    [
        Population(**COMMON, perturbation_interval=2, hyperparam_mutations={"x": [1, 2]}),
        Halving(**COMMON, grace_period=2, reduction_factor=2, max_t=7, stop_last_trials=False),
    ],
)
def test_a_trial_that_is_trained_to_its_end_is_left_alone(scheduler: Any) -> None:
    # Neither controller nor trial is looked at: nothing is known of them.
    assert scheduler.on_trial_result(None, None, {"step": 8, "ap": 0.0}) == "CONTINUE"
    with pytest.raises((AttributeError, KeyError)):
        scheduler.on_trial_result(None, None, {"step": 7, "ap": 0.0})
