"""Search settings of a training, and tell honestly whether any beats the default."""

import hashlib
import json
import logging
import time
from functools import partial

from pydantic import Field

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.errors import ConfigError, TrainingError
from damo_yolo.mixing.balance import BalanceConfig
from damo_yolo.recipes.choose import load_config
from damo_yolo.shards.manifest import SUMMARY_FILE
from damo_yolo.stages.balance import balance
from damo_yolo.stages.train import describe_job
from damo_yolo.stages.tune_measures import measure_of
from damo_yolo.tracking import RunInfo, TrackedRun, track
from damo_yolo.training.config import TrainConfig, ValidateConfig
from damo_yolo.training.launch import LaunchConfig
from damo_yolo.training.schedule import plan_timeline
from damo_yolo.tuning.objective import ObjectiveName, best_of, goals_of, pareto_front, rare_classes
from damo_yolo.tuning.result import (
    BEST_FILE,
    RECIPE_FILE,
    SWEEP_FILE,
    SweepResult,
    TrialRecord,
    importance,
    read_trials,
    verdict_of,
)
from damo_yolo.tuning.search import SearchConfig, SearchPlan, TrialNeeds, forget, search
from damo_yolo.tuning.space import Space, Values, apply, load_space
from damo_yolo.tuning.tracked import TrackedTrials
from damo_yolo.tuning.trial import (
    RERUNS,
    MakePlan,
    Rerun,
    TrialSetup,
    is_finished,
    train_rerun,
    train_trial,
)
from damo_yolo.tuning.verdict import SeedComparison, compare_seeds, matches_of

REQUEST_FILE = "request.json"
FIRST_NEW_SEED = 1000
"""Beyond the recipe's seed: no trial of the sweep used it."""

logger = logging.getLogger(__name__)


class TuneConfig(Config):
    """A sweep: what varies, what counts, how long."""

    space: str = "loss-weights"
    """Name of a shipped space, or location of a YAML file."""
    objective: ObjectiveName = "ap"
    search: SearchConfig = SearchConfig()
    seeds: int = Field(default=3, ge=0)
    """New seeds with which best and default are trained again; 0 proves nothing."""
    rare_max: int = Field(default=10, ge=1)
    """Classes in at most as many training images are rare."""


def tune_detector(
    *,
    shards_uri: str,
    plan_uri: str,
    out_uri: str,
    config: TrainConfig | str,
    tune: TuneConfig | None = None,
    records_uri: str = "",
    teacher_uri: str = "",
    init_uri: str = "",
    tracking_uri: str = "",
    launch_config: LaunchConfig | None = None,
) -> SweepResult:
    """Sweep to the end; a repeated call continues, or returns the finished result.

    Args:
        shards_uri: folder that the stage `shard` wrote; every trial reads it.
        plan_uri: folder that the stage `balance` wrote.
        out_uri: folder of the sweep to write.
        config: recipe that every trial changes: a configuration, its location or its name.
        tune: what varies, what counts, how long.
        records_uri: folder that the stage `merge` wrote, for a space that samples differently.
        teacher_uri: model folder of the teacher, for a recipe that distils.
        init_uri: weights to start from.
        tracking_uri: MLflow server or SQLite location; empty tracks nothing.
        launch_config: workers of each trial; None: each trial trains in one process of its own.

    Raises:
        ConfigError: space, recipe or objective are wrong.
        TrainingError: the folder holds another sweep, or not even the default could be trained.
    """
    tune = tune or TuneConfig()
    started = time.monotonic()
    recipe = load_config(config) if isinstance(config, str) else config
    space = load_space(tune.space)
    space.check_corners(recipe)
    base = recipe if recipe.validation else _validated(recipe)
    out_uri = storage.absolute(out_uri)
    job = describe_job(
        apply(base, space.default_point(base))[0],
        shards_uri=shards_uri,
        plan_uri=plan_uri,
        out_uri=out_uri,
        teacher_uri=teacher_uri,
        init_uri=init_uri,
    )
    key = _key(job.run_key, space, tune)
    _claim(out_uri, key)
    if storage.exists(uri := storage.join(out_uri, SWEEP_FILE)):
        logger.info("%s holds the finished sweep", out_uri)
        return SweepResult.from_yaml(storage.read_text(uri), source=uri)
    setup = TrialSetup(
        job=job.model_copy(update={"config": base, "run_key": key}),
        out_uri=out_uri,
        launch=_workers(launch_config, tune.search),
        make_plan=_plan_maker(space, records_uri),
        measure=measure_of(
            tune.objective,
            shards_uri=job.shards_uri,
            plan_uri=job.plan_uri,
            rare_max=tune.rare_max,
        ),
    )
    info = RunInfo(
        key=key,
        name=f"sweep {tune.space}",
        params={"tune": tune.model_dump(mode="json"), "recipe": recipe.model_dump(mode="json")},
        tags={"model": recipe.model, "kind": "sweep"},
        data_uri=storage.join(job.shards_uri, "train", SUMMARY_FILE),
        data_sha256=job.manifest_sha256,
    )
    with track(info, tracking_uri) as run:
        sweep = _Sweep(tune, space, setup, recipe, run, tracking_uri)
        result = sweep.run(started)
        storage.write_text(storage.join(out_uri, SWEEP_FILE), result.model_dump_json(indent=2))
        run.log_text(result.model_dump_json(indent=2), SWEEP_FILE)
        run.set_tags({"verdict": result.verdict})
    forget(out_uri)
    logger.info("%s", result.verdict)
    return result


class _Sweep:
    """One call of a sweep that is not finished yet."""

    def __init__(
        self,
        tune: TuneConfig,
        space: Space,
        setup: TrialSetup,
        recipe: TrainConfig,
        run: TrackedRun,
        tracking_uri: str,
    ) -> None:
        self._tune, self._space, self._setup, self._recipe = tune, space, setup, recipe
        self._run = run
        self._tracked = TrackedTrials(tracking_uri, run.run_id, setup.job.run_key, setup.out_uri)
        self._total_steps = total_steps(recipe, setup.job.plan_uri)
        workers = setup.launch.num_workers if setup.launch else 0
        gpus = int(bool(setup.launch and setup.launch.use_gpu))
        self._needs = TrialNeeds(workers=workers, gpus=gpus)

    def run(self, started: float) -> SweepResult:
        """Try, train the best again, compare, and write the recipes."""
        trials = self._search()
        goals = goals_of(self._tune.objective)
        default = trials[0]
        others = [t for t in trials if not t.is_default]
        finished = [t for t in others if t.state == "finished"]
        winner = best_of(finished, goals[0]) or best_of(others, goals[0])
        best = next((t for t in trials if winner and t.number == winner.number), None)
        comparison = self._compare(default, best) if best and self._tune.seeds else None
        is_better = comparison is not None and comparison.difference.verdict == "better"
        chosen = best.values if best and is_better else default.values
        best_uri = self._write(best.values, BEST_FILE) if best else ""
        verdict = verdict_of(
            best, default, comparison, num_trials=len(trials), objective=self._tune.objective
        )
        return SweepResult(
            space_name=self._tune.space,
            space=self._space,
            objective=self._tune.objective,
            search=self._tune.search,
            model=self._recipe.model,
            total_steps=self._total_steps,
            trials=trials,
            best=best.number if best else None,
            front=tuple(pareto_front(trials, goals)) if len(goals) > 1 else (),
            importance=importance(trials, self._space, self._tune.objective),
            comparison=comparison,
            chosen=chosen,
            recipe_uri=self._write(chosen, RECIPE_FILE),
            best_uri=best_uri,
            verdict=verdict,
            seconds=round(time.monotonic() - started, 1),
            tracking_run_id=self._run.run_id,
        )

    def _search(self) -> tuple[TrialRecord, ...]:
        points = [self._space.default_point(self._recipe), self._space.recipe_point(self._recipe)]
        plan = SearchPlan(
            name="search",
            folder_uri=self._setup.out_uri,
            config=self._tune.search,
            points=[point for point in points if point is not None][: self._tune.search.trials],
            space=self._space,
            goals=goals_of(self._tune.objective),
            total_steps=self._total_steps,
            needs=self._needs,
            tracked=self._tracked,
        )
        outcomes = search(train_trial, plan, setup=self._setup)
        trials = read_trials(outcomes, self._setup.out_uri, default=plan.points[0])
        for trial in trials:
            tags = {"state": trial.state, "number": str(trial.number)}
            tags |= {"problem": trial.problems[-1]} if trial.problems else {}
            self._tracked.log(trial.trial_id, trial.values, figures=trial.figures, tags=tags)
        if all(trial.state == "failed" for trial in trials):
            raise TrainingError(
                f"none of {len(trials)} trials could be trained: {trials[0].problems[-1]}",
                fix="train the recipe alone first: damo-yolo train",
            )
        return trials

    def _compare(self, default: TrialRecord, best: TrialRecord) -> SeedComparison | None:
        """Train both points again with new seeds, and compare what their models find."""
        seeds = [self._recipe.seed + FIRST_NEW_SEED + i for i in range(self._tune.seeds)]
        arms = {"default": default.values, "best": best.values}
        reruns = {
            (arm, seed): Rerun(arm=arm, seed=seed, values=values)
            for seed in seeds
            for arm, values in arms.items()
        }
        plan = SearchPlan(
            name=RERUNS,
            folder_uri=self._setup.out_uri,
            config=self._tune.search,
            points=[rerun.model_dump() for rerun in reruns.values()],
            needs=self._needs,
        )
        search(train_rerun, plan, setup=self._setup)
        folders = {
            key: storage.join(self._setup.out_uri, RERUNS, rerun.name)
            for key, rerun in reruns.items()
        }
        failed = tuple(reruns[key].name for key, uri in folders.items() if not is_finished(uri))
        whole = [s for s in seeds if all(is_finished(folders[arm, s]) for arm in arms)]
        if not whole:
            return None
        shards_uri = self._setup.job.shards_uri
        pairs = [
            (
                matches_of(folders["best", s], shards_uri),
                matches_of(folders["default", s], shards_uri),
            )
            for s in whole
        ]
        is_rare = self._tune.objective == "rare-ap"
        found = compare_seeds(
            pairs,
            seeds=whole,
            figure="AP of rare classes" if is_rare else "AP",
            class_ids=rare_classes(shards_uri, self._tune.rare_max) if is_rare else None,
        )
        return found.model_copy(update={"failed": failed})

    def _write(self, values: Values, name: str) -> str:
        uri = storage.join(self._setup.out_uri, name)
        storage.write_text(uri, apply(self._recipe, values)[0].to_yaml())
        return uri


def total_steps(config: TrainConfig, plan_uri: str) -> int:
    """Return the length of a training on a sample plan."""
    plan = json.loads(storage.read_text(storage.join(plan_uri, "plan.json")))
    steps_per_epoch = plan["draws_per_epoch"] // config.global_batch
    return plan_timeline(config.schedule, steps_per_epoch).total_steps


def _validated(recipe: TrainConfig) -> TrainConfig:
    """Evaluate after every epoch, and take the last weights: the best ones would flatter."""
    return recipe.model_copy(update={"validation": ValidateConfig(deploy="last")})


def _key(run_key: str, space: Space, tune: TuneConfig) -> str:
    values = {"job": run_key, "space": space.model_dump(), "tune": tune.model_dump()}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _claim(out_uri: str, key: str) -> None:
    """Take a folder for a sweep, or find that it is this one's already."""
    uri = storage.join(out_uri, REQUEST_FILE)
    if not storage.exists(uri):
        storage.write_text(uri, json.dumps({"key": key}))
    elif json.loads(storage.read_text(uri))["key"] != key:
        raise TrainingError(
            f"{out_uri} holds a sweep with other settings or other data",
            fix="give this sweep a folder of its own, or remove the old one",
        )


def _workers(config: LaunchConfig | None, search: SearchConfig) -> LaunchConfig | None:
    """Return the workers of each trial; None: each trains in its own process."""
    if config is None or (config.num_workers <= 1 and not config.use_gpu):
        return None
    if search.scheduler == "pbt":
        raise ConfigError(
            "PBT moves trials between checkpoints, which trials of several workers do not report",
            fix="use --scheduler asha, or trials of one process",
        )
    return config.model_copy(update={"num_workers": max(1, config.num_workers)})


def _plan_maker(space: Space, records_uri: str) -> MakePlan | None:
    if not space.samples_differently:
        return None
    if not records_uri:
        raise ConfigError(
            "the space samples differently, but no records are given to plan from",
            fix="name the folder that merge wrote: --records",
        )
    return partial(_make_plan, storage.absolute(records_uri))


def _make_plan(records_uri: str, config: BalanceConfig, plan_uri: str, global_batch: int) -> None:
    balance(records_uri, plan_uri, config=config, global_batch=global_batch)
