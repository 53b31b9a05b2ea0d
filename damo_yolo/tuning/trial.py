"""One trial is one training: in the trial's own process, or driven from it over Ray Train workers.

Its folder, `<sweep>/trials/<id>`, is a model folder like any other, with a word on every attempt.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.errors import DamoYoloError
from damo_yolo.mixing.balance import BalanceConfig
from damo_yolo.training.config import TrainConfig
from damo_yolo.training.launch import LaunchConfig, launch
from damo_yolo.training.progress import Record, following, read_metrics
from damo_yolo.training.run import MODEL_FILE, TrainJob
from damo_yolo.training.trial import FIGURES, run_trial
from damo_yolo.tuning.space import POINT, Values, apply, is_balance

TRIALS, RERUNS = "trials", "reruns"
ATTEMPTS_FILE = "attempts.json"
PLAN = "plan"
PERIOD_S = 2.0
"""Between two looks at the metrics of workers."""
NO_WORD = "it ended without a word: killed, out of memory, or interrupted with the sweep"

MakePlan = Callable[[BalanceConfig, str, int], object]
"""Writes the sample plan of a setting to a location, for a global batch."""
Measure = Callable[[str], Mapping[str, float]]
"""Returns further figures of a finished model folder."""


@dataclass(frozen=True, slots=True)
class TrialSetup:
    """What all trials of a sweep share; travels to every trial's process."""

    job: TrainJob
    """Configuration, data and key; each trial changes some of it."""
    out_uri: str
    """Folder of the sweep."""
    launch: LaunchConfig | None = None
    """Workers of each trial; None: the trial's own process."""
    make_plan: MakePlan | None = None
    """Of a space that samples differently."""
    measure: Measure | None = None
    """Of an objective beyond AP."""


class Rerun(Config):
    """A point trained again with another seed."""

    arm: str
    """Which of the compared points: `default` or `best`."""
    seed: int
    values: dict[str, Any]

    @property
    def name(self) -> str:
        """Return its folder's name."""
        return f"{self.arm}-seed-{self.seed}"


def train_trial(values: Values, setup: TrialSetup) -> None:
    """Train one point of the space; called by Ray Tune in a process of its own.

    Raises:
        DamoYoloError: the values or the training are at fault.
    """
    from ray import tune  # noqa: PLC0415 - at the edge

    folder = storage.join(setup.out_uri, TRIALS, tune.get_context().get_trial_id())
    with _attempt(folder):
        _train(values, setup.job.config, setup, folder)
        if setup.measure is not None:
            last = read_metrics(folder)[-1]
            figures = {name: last[name] for name in FIGURES if name in last}
            tune.report({**figures, **setup.measure(folder)})


def train_rerun(values: Values, setup: TrialSetup) -> None:
    """Train a point again with another seed, in a folder that has its name.

    Args:
        values: a `Rerun` as plain values, under `POINT`.
        setup: of the sweep.
    """
    rerun = Rerun.from_mapping(values[POINT])
    config = setup.job.config.with_overrides([f"seed={rerun.seed}"])
    folder = storage.join(setup.out_uri, RERUNS, rerun.name)
    with _attempt(folder):
        _train(rerun.values, config, setup, folder)


def _train(values: Values, base: TrainConfig, setup: TrialSetup, folder: str) -> None:
    config, balance = apply(base, values)
    storage.write_text(storage.join(folder, "config.yaml"), config.to_yaml())
    update: dict[str, Any] = {"config": config, "out_uri": folder}
    if setup.make_plan is not None and any(map(is_balance, values)):
        update["plan_uri"] = storage.join(folder, PLAN)
        setup.make_plan(balance, update["plan_uri"], config.global_batch)
    job = setup.job.model_copy(update=update)
    if setup.launch is None:
        run_trial(job)
    else:
        _drive(job, setup.launch)


def _drive(job: TrainJob, config: LaunchConfig) -> None:
    """Train over workers of Ray Train; this process only waits and reports.

    Checkpoints are the training's own, in its folder: a trial that starts again continues there.
    """
    from ray import tune  # noqa: PLC0415 - at the edge

    def report(records: Sequence[Record]) -> None:
        for record in records:
            if record["kind"] == "epoch":
                tune.report({name: record[name] for name in FIGURES if name in record})

    with following(job.out_uri, [report], period_s=PERIOD_S):
        launch(job, config)


@contextmanager
def _attempt(folder: str) -> Iterator[None]:
    """Keep a word on this attempt: what a process that dies cannot say is said before it starts."""
    uri = storage.join(folder, ATTEMPTS_FILE)
    before = read_attempts(folder)

    def note(word: str) -> None:
        storage.write_text(uri, json.dumps([*before, word], indent=2))

    note(NO_WORD)
    try:
        yield
    except DamoYoloError as error:
        note(error.problem)
        raise
    except Exception as error:
        note(f"{type(error).__name__}: {error}")
        raise
    note("")


def read_attempts(folder: str) -> list[str]:
    """Return what is known of each attempt at a trial: "" of one that came to its end."""
    uri = storage.join(folder, ATTEMPTS_FILE)
    found: list[str] = json.loads(storage.read_text(uri)) if storage.exists(uri) else []
    return found


def is_finished(folder: str) -> bool:
    """Tell whether a trial trained to its end."""
    return storage.exists(storage.join(folder, MODEL_FILE))
