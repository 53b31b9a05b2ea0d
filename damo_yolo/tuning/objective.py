"""What a sweep looks for, and which trial of two is the better one."""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from damo_yolo.config import Config
from damo_yolo.errors import ConfigError
from damo_yolo.evaluation.frequency import FrequencyConfig, training_images

Figures = dict[str, float]
"""What a trial measured, by name."""

ObjectiveName = Literal["ap", "rare-ap", "pareto"]


class Goal(NamedTuple):
    """One figure and where it should go."""

    figure: str
    mode: Literal["max", "min"]
    label: str
    needs_quiet: bool = False
    """Other trials on the same machine would change the figure."""


AP = Goal("ap", "max", "AP")
OBJECTIVES: Mapping[str, tuple[Goal, ...]] = {
    "ap": (AP,),
    "rare-ap": (Goal("rare_ap", "max", "AP of rare classes"),),
    "pareto": (
        Goal("int8_ap", "max", "AP of OpenVINO INT8"),
        Goal("int8_latency_ms", "min", "latency of OpenVINO INT8, ms", needs_quiet=True),
        Goal("int8_size_mb", "min", "size of OpenVINO INT8, MB"),
    ),
}
"""The first goal decides where one answer is asked for. `ap` is known after every epoch, all other
figures at the end of a trial."""


class Scored(Config):
    """A trial in the eyes of an objective."""

    number: int
    figures: Figures


def goals_of(objective: str) -> tuple[Goal, ...]:
    """Return the goals of an objective."""
    return OBJECTIVES[objective]


def best_of(trials: Iterable[Scored], goal: Goal) -> Scored | None:
    """Return the trial that reached most of a goal, the earlier of equals; None without any."""
    measured = [trial for trial in trials if goal.figure in trial.figures]
    sign = 1 if goal.mode == "max" else -1
    return max(measured, key=lambda trial: sign * trial.figures[goal.figure], default=None)


def pareto_front(trials: Iterable[Scored], goals: Iterable[Goal]) -> list[int]:
    """Return the numbers of the trials that no other beats in one goal without losing in another.

    Trials that lack a figure are not on it.
    """
    goals = tuple(goals)
    points = {
        trial.number: [
            (1 if goal.mode == "max" else -1) * trial.figures[goal.figure] for goal in goals
        ]
        for trial in trials
        if all(goal.figure in trial.figures for goal in goals)
    }
    return [
        number for number, own in points.items() if not any(_beats(p, own) for p in points.values())
    ]


def _beats(one: list[float], other: list[float]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def rare_classes(shards_uri: str, rare_max: int) -> frozenset[int]:
    """Return the ids of the classes that few training images hold.

    Raises:
        ConfigError: there is none.
    """
    images = training_images(shards_uri)
    groups = FrequencyConfig(rare_max=rare_max, common_max=max(rare_max, 100))
    rare = frozenset(k for k, count in images.items() if groups.group_of(count) == "rare")
    if not rare:
        raise ConfigError(
            f"no class is in {rare_max} training images or fewer",
            fix=f"give a rare_max of at least {min(images.values(), default=1)}",
        )
    return rare
