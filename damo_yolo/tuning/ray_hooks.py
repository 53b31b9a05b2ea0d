"""What Ray Tune calls in the driver: Optuna, a population, a tracker that hears of every trial."""

import logging
from typing import Any

from ray import tune
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.search.optuna import OptunaSearch

from damo_yolo.tuning.objective import AP
from damo_yolo.tuning.space import POINT
from damo_yolo.tuning.tracked import TrackedTrials

logger = logging.getLogger(__name__)


class EndSearch(OptunaSearch):
    """Learns from finished trials; one that was stopped before it was measured teaches nothing."""

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Leave out what is reported on the way: only pruners of Optuna would look at it."""

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002 - Ray's signature
    ) -> None:
        """Tell Optuna the figures, or that there are none."""
        metric: Any = self.metric  # one name, or several
        names = [metric] if isinstance(metric, str) else metric
        is_measured = all(name in (result or {}) for name in names)
        if is_measured and not error:
            super().on_trial_complete(trial_id, result)
        else:
            super().on_trial_complete(trial_id, None, error=True)


class _SparesTheEnd(TrialScheduler):
    """Decides nothing about a trial at its last step: it is trained, there is nothing to save."""

    def __init__(self, *, last_step: int, **settings: Any) -> None:
        super().__init__(**settings)  # type: ignore[no-untyped-call]  # Ray's
        self._last_step = last_step

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Leave a trial at its end alone, and others to the scheduler."""
        if result.get("step", 0) >= self._last_step:
            return str(self.CONTINUE)
        return str(super().on_trial_result(tune_controller, trial, result))


class Halving(_SparesTheEnd, AsyncHyperBandScheduler):
    """ASHA: stops trials that lag behind on their way."""


class Population(_SparesTheEnd, PopulationBasedTraining):
    """PBT: moves values on the way."""


class LogTrials(tune.Callback):
    """Says how every trial ended and makes it a child run; holds nothing that cannot be pickled."""

    def __init__(self, tracked: TrackedTrials | None) -> None:
        self._tracked = tracked

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Log a trial that finished or was stopped."""
        del iteration, info  # Ray hands them to every callback
        result = trial.last_result or {}
        ap = f"AP {result[AP.figure]:.4f}" if AP.figure in result else "not measured"
        step = f" at step {result['step']}" if "step" in result else ""
        self._log(trials, trial, f"{ap}{step}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Log a trial that failed for good."""
        del iteration, info
        self._log(trials, trial, "failed", tags={"state": "failed"})

    def _log(
        self, trials: list[Any], trial: Any, how: str, *, tags: dict[str, str] | None = None
    ) -> None:
        point = trial.config.get(POINT)
        name = f"{point['arm']}, seed {point['seed']}" if point else f"trial {trial.trial_id}"
        values = point["values"] if point else trial.config
        words = ", ".join(f"{name} {_short(value)}" for name, value in values.items())
        ended = 1 + sum(other.is_finished() for other in trials if other is not trial)
        logger.info("%s: %s (%s); %d ended", name, how, words, ended)
        if self._tracked is not None:
            self._tracked.log(trial.trial_id, trial.config, tags=tags)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
