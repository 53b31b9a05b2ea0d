"""Ray Tune: which point comes next, which trial stops early, and what happens to one that dies.

The state of a search is written every few seconds below the sweep's folder; a search that was
killed goes on from there with the same trials.
"""

import logging
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from damo_yolo import storage
from damo_yolo.compute.ray_cluster import connect
from damo_yolo.config import Config
from damo_yolo.errors import DamoYoloError
from damo_yolo.tuning.domains import (
    keep_within,
    optuna_distributions,
    ray_domains,
    ray_mutations,
)
from damo_yolo.tuning.objective import AP, Figures, Goal
from damo_yolo.tuning.space import POINT, Space, Values
from damo_yolo.tuning.tracked import TrackedTrials

RAY_FOLDER = "ray"
SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the sweep keeps its own records
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the command; the next one goes on
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # some figures are known only at the end
    "TUNE_GLOBAL_CHECKPOINT_S": "2",  # how much of the search a kill may cost
}
"""Ray Tune reads them when it is imported; a value the user has set stays."""

DRIVER_CPUS = 0.1
"""Of a trial that only waits for its workers."""

Trainable = Callable[..., Any]


class SearchConfig(Config):
    """How a space is searched."""

    trials: int = Field(default=12, ge=1)
    """Points tried, the default among them."""
    searcher: Literal["tpe", "random", "nsga2"] = "tpe"
    """`tpe` learns from earlier trials, with several goals too; `nsga2` breeds a front and needs
    many trials; `random` learns nothing and compares best."""
    scheduler: Literal["asha", "none", "pbt"] = "asha"
    """`asha` stops trials that lag behind at a quarter and at half of their length; `pbt` moves
    values on the way, and the weak continue from the strong; `none` trains all to their end."""
    minutes: float | None = Field(default=None, gt=0)
    """After which running trials end and no other starts; a resumed search has them anew."""
    max_failures: int = Field(default=1, ge=0)
    """Further attempts at a trial that died, from its last checkpoint."""
    concurrent: int | None = Field(default=None, ge=1)
    """Trials at the same time; None: as many as the machine or cluster has room for, one where
    latency counts, and with `pbt` all of them, which take turns."""
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True, slots=True)
class TrialNeeds:
    """What one trial occupies."""

    workers: int = 0
    """Ray Train workers beside the trial's own process; 0: it trains itself."""
    gpus: int = 0
    """Of each worker."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What Ray Tune knows of a trial in the end."""

    trial_id: str
    values: Values
    figures: Figures
    """Last reported; empty where nothing was."""
    problem: str
    """Why it failed for good; empty where it did not."""


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """A search, or the exact points of a list."""

    name: str
    """Of its state below the sweep's folder."""
    folder_uri: str
    """Of the sweep."""
    config: SearchConfig
    points: Sequence[Values]
    """Come first, in this order."""
    space: Space | None = None
    """Where further points come from; None: only `points`, all to their end."""
    goals: Sequence[Goal] = (AP,)
    """What the searcher looks at; a scheduler always looks at AP."""
    total_steps: int = 1
    """Length of a full trial."""
    needs: TrialNeeds = TrialNeeds()
    tracked: TrackedTrials | None = None
    """Hears of every trial that ends."""


def search(trainable: Trainable, plan: SearchPlan, *, setup: Any) -> list[Outcome]:
    """Try points, or go on with a search that was interrupted.

    Args:
        trainable: called with the values of a point and `setup`, in a process of its own.
        plan: which points, and what to do with them.
        setup: what all trials share; travels once.

    Returns:
        One outcome a trial, in the order in which they were chosen.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    workers = plan.needs.workers
    # One CPU more than the workers: otherwise a trial that waits for them leaves no room for them.
    with connect(num_cpus=workers + 1 if workers else None, include_dashboard=workers > 0):
        from ray import tune  # noqa: PLC0415 - reads its settings when imported

        # Without its own loggers Tune warns of files that nobody needs: it keeps the last figures.
        logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
        # A trial that fails is told of by its callback and in the table, without a traceback.
        logging.getLogger("ray.tune.execution.tune_controller").setLevel(logging.CRITICAL)
        logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", message="Consider boosting PBT")
        uri = storage.join(plan.folder_uri, RAY_FOLDER)
        if not storage.is_remote(uri):
            uri = str(Path(uri).resolve())  # trials run in Ray's own folder
        placed = tune.with_resources(
            tune.with_parameters(trainable, setup=setup), _resources(plan.needs)
        )
        path = storage.join(uri, plan.name)
        if tune.Tuner.can_restore(path):
            tuner = tune.Tuner.restore(
                path,
                trainable=placed,
                resume_unfinished=True,
                restart_errored=True,
                param_space=_param_space(plan),
            )
        else:
            tuner = _new_tuner(placed, plan, storage_uri=uri)
        grid = tuner.fit()
        results = [grid[number] for number in range(len(grid))]
        results.sort(key=lambda result: Path(result.path).name)
        return [_outcome(result) for result in results]


def _new_tuner(placed: Any, plan: SearchPlan, *, storage_uri: str) -> Any:
    from ray import tune  # noqa: PLC0415

    config = plan.config
    settings: dict[str, Any] = {}
    if plan.space is not None:
        settings = {
            "num_samples": config.trials,
            "search_alg": _searcher(plan, plan.space),
            "scheduler": _scheduler(plan),
            "time_budget_s": config.minutes * 60 if config.minutes else None,
        }
    return tune.Tuner(
        placed,
        param_space=_param_space(plan),
        tune_config=tune.TuneConfig(
            max_concurrent_trials=config.concurrent or _places(plan),
            trial_dirname_creator=_folder_of,
            **settings,
        ),
        run_config=tune.RunConfig(
            name=plan.name,
            storage_path=storage_uri,
            failure_config=tune.FailureConfig(max_failures=config.max_failures),
            checkpoint_config=tune.CheckpointConfig(
                # Whoever continues from another's checkpoint may have to wait long for its turn.
                num_to_keep=None if _is_population(plan) else 2
            ),
            callbacks=_callbacks(plan),
            verbose=0,
        ),
    )


def _callbacks(plan: SearchPlan) -> list[Any]:
    from damo_yolo.tuning.ray_hooks import LogTrials  # noqa: PLC0415 - imports Ray

    return [LogTrials(plan.tracked)]


def _param_space(plan: SearchPlan) -> dict[str, Any]:
    from ray import tune  # noqa: PLC0415

    if plan.space is None:
        return {POINT: tune.grid_search(list(plan.points))}
    return ray_domains(plan.space) if plan.config.scheduler == "pbt" else {}


def forget(folder_uri: str) -> None:
    """Take the state of a finished search away; trials keep their own folders."""
    uri = storage.join(folder_uri, RAY_FOLDER)
    if not storage.is_remote(uri):
        shutil.rmtree(uri, ignore_errors=True)


def _folder_of(trial: Any) -> str:
    # A restored search lists its trials in another order: the name keeps which came first.
    number = int(trial.experiment_tag.partition("_")[0])
    return f"{number:05d}-{trial.trial_id}"


def _outcome(result: Any) -> Outcome:
    figures = {
        name: float(value)
        for name, value in (result.metrics or {}).items()
        if type(value) in {int, float}
    }
    return Outcome(
        trial_id=Path(result.path).name.partition("-")[2],
        values=dict(result.config or {}),
        figures=figures,
        problem=_problem(result.error) if result.error else "",
    )


def _problem(error: Exception) -> str:
    cause = getattr(error, "cause", error)  # Ray hands on what a trial raised inside its own
    if isinstance(cause, DamoYoloError):
        return cause.problem
    words = str(error).strip().splitlines()
    return words[-1] if words else type(cause).__name__


def _searcher(plan: SearchPlan, space: Space) -> Any:
    config, points = plan.config, list(plan.points)
    if config.scheduler == "pbt":  # draws where it starts, and moves from there
        from ray.tune.search import BasicVariantGenerator  # noqa: PLC0415

        return BasicVariantGenerator(points_to_evaluate=points, random_state=config.seed)
    from damo_yolo.tuning.ray_hooks import EndSearch  # noqa: PLC0415 - imports Ray

    names: list[str] = [goal.figure for goal in plan.goals]
    modes: list[str] = [goal.mode for goal in plan.goals]
    return EndSearch(
        optuna_distributions(space),
        metric=names if len(names) > 1 else names[0],
        mode=modes if len(modes) > 1 else modes[0],
        points_to_evaluate=points,
        sampler=_sampler(config),
    )


def _sampler(config: SearchConfig) -> Any:
    import optuna  # noqa: PLC0415

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if config.searcher == "random":
        return optuna.samplers.RandomSampler(seed=config.seed)
    if config.searcher == "nsga2":
        population = max(2, config.trials // 3)
        return optuna.samplers.NSGAIISampler(seed=config.seed, population_size=population)
    startup = max(3, config.trials // 4)
    return optuna.samplers.TPESampler(seed=config.seed, n_startup_trials=startup)


def _scheduler(plan: SearchPlan) -> Any:
    if plan.config.scheduler == "none":
        return None
    from damo_yolo.tuning.ray_hooks import Halving, Population  # noqa: PLC0415 - imports Ray

    common: dict[str, Any] = {
        "time_attr": "step",
        "metric": AP.figure,
        "mode": AP.mode,
        "last_step": plan.total_steps,
    }
    rung = max(1, plan.total_steps // 4)
    if plan.config.scheduler == "asha":
        return Halving(
            **common,
            grace_period=rung,
            reduction_factor=2,
            max_t=max(rung, plan.total_steps - 1),  # no rung at the end
            stop_last_trials=False,
        )
    assert plan.space is not None, "PBT moves within a space"
    return Population(
        **common,
        perturbation_interval=rung,
        hyperparam_mutations=ray_mutations(plan.space),
        custom_explore_fn=keep_within(plan.space),
    )


def _places(plan: SearchPlan) -> int:
    """Return how many trials are alive: a population is so as a whole and takes turns."""
    if _is_population(plan):
        return plan.config.trials
    is_quiet = any(goal.needs_quiet for goal in plan.goals)
    return 1 if is_quiet else _slots(plan.needs)


def _is_population(plan: SearchPlan) -> bool:
    return plan.space is not None and plan.config.scheduler == "pbt"


def _slots(needs: TrialNeeds) -> int:
    """Return how many trials there is room for: none is chosen long before it can run."""
    import ray  # noqa: PLC0415

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray's
    slots = resources.get("CPU", 1.0) // _resources(needs)["CPU"]
    if needs.workers:
        slots = resources.get("CPU", 1.0) // (DRIVER_CPUS + needs.workers)
    if needs.gpus:
        slots = min(slots, resources.get("GPU", 0.0) // (needs.gpus * needs.workers))
    return max(1, int(slots))


def _resources(needs: TrialNeeds) -> dict[str, float]:
    return {"CPU": DRIVER_CPUS if needs.workers else 1.0}
