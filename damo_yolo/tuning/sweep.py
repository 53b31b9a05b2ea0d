"""A sweep: try points, train the best again with new seeds, compare, and write the recipes."""

import json
import time

from pydantic import Field

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.errors import TrainingError
from damo_yolo.tracking import TrackedRun
from damo_yolo.training.config import TrainConfig
from damo_yolo.training.schedule import plan_timeline
from damo_yolo.tuning.objective import ObjectiveName, best_of, goals_of, pareto_front, rare_classes
from damo_yolo.tuning.result import (
    BEST_FILE,
    RECIPE_FILE,
    SweepResult,
    TrialRecord,
    importance,
    read_trials,
    verdict_of,
)
from damo_yolo.tuning.search import SearchConfig, SearchPlan, TrialNeeds, search
from damo_yolo.tuning.space import Space, Values, apply
from damo_yolo.tuning.tracked import TrackedTrials
from damo_yolo.tuning.trial import (
    RERUNS,
    Rerun,
    TrialSetup,
    is_finished,
    train_rerun,
    train_trial,
)
from damo_yolo.tuning.verdict import SeedComparison, compare_seeds, matches_of

FIRST_NEW_SEED = 1000
"""Beyond the recipe's seed: no trial of the sweep used it."""


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


class Sweep:
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
        self._default = space.default_point(recipe)
        self._total_steps = total_steps(recipe, setup.job.plan_uri)
        workers = setup.launch.num_workers if setup.launch else 0
        gpus = int(bool(setup.launch and setup.launch.use_gpu))
        self._needs = TrialNeeds(workers=workers, gpus=gpus)

    def run(self, started: float) -> SweepResult:
        """Try, train the best again, compare, and write the recipes."""
        trials = self._search()
        goals = goals_of(self._tune.objective)
        default = next((t for t in trials if t.is_default), None)
        others = [t for t in trials if not t.is_default]
        finished = [t for t in others if t.state == "finished"]
        winner = best_of(finished, goals[0]) or best_of(others, goals[0])
        best = next((t for t in trials if winner and t.number == winner.number), None)
        comparison = self._compare(best) if best and self._tune.seeds else None
        is_better = comparison is not None and comparison.difference.verdict == "better"
        chosen = best.values if best and is_better else self._default
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
        points = [self._default, self._space.recipe_point(self._recipe)]
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
        if not outcomes:
            raise TrainingError(
                "the time was over before the first trial began",
                fix="give the search more --minutes, and a folder of its own",
            )
        trials = read_trials(
            outcomes,
            self._setup.out_uri,
            default=self._default,
            takes_turns=self._tune.search.scheduler == "pbt",
        )
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

    def _compare(self, best: TrialRecord) -> SeedComparison | None:
        """Train this point and the default with new seeds, and compare what their models find."""
        seeds = [self._recipe.seed + FIRST_NEW_SEED + i for i in range(self._tune.seeds)]
        arms = {"default": self._default, "best": best.values}
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
