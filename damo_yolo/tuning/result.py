"""What a sweep found: every trial, the best, what mattered, and whether it holds."""

import textwrap
from collections.abc import Sequence
from typing import Literal

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.training.progress import read_metrics
from damo_yolo.training.trial import FIGURES
from damo_yolo.tuning.domains import optuna_distributions
from damo_yolo.tuning.objective import OBJECTIVES, ObjectiveName, Scored, goals_of
from damo_yolo.tuning.search import Outcome, SearchConfig
from damo_yolo.tuning.space import Space, Values, is_balance, overrides
from damo_yolo.tuning.trial import NO_WORD, TRIALS, is_finished, read_attempts
from damo_yolo.tuning.verdict import SeedComparison

SWEEP_FILE = "sweep.json"
RECIPE_FILE = "recipe.yaml"
BEST_FILE = "best.yaml"
MEASURED = ("ap", "ap50", *(goal.figure for goals in OBJECTIVES.values() for goal in goals))
KEPT = (*FIGURES, *MEASURED)
MIN_FOR_IMPORTANCE = 8
"""Measured trials; with fewer, what seems to matter is chance."""
MAX_PROBLEM_LENGTH = 100
"""In a table; `sweep.json` has the whole."""


class TrialRecord(Scored):
    """One trial."""

    trial_id: str
    """Of Ray Tune; the name of its model folder."""
    values: Values
    state: Literal["finished", "stopped early", "failed"]
    is_default: bool
    attempts: int
    problems: tuple[str, ...]
    """What ended the attempts before the last one, and the last one of a failed trial."""
    seconds: float
    """Spent in training steps."""
    model_uri: str

    def to_line(self) -> str:
        """Return the trial as a line for people."""
        values = ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in self.values.items()
        )
        known = (name for name in self.figures if name in MEASURED)
        figures = ", ".join(f"{name} {self.figures[name]:.4g}" for name in known)
        note = " (default)" if self.is_default else ""
        problem = f"; {shortened(self.problems[-1])}" if self.state == "failed" else ""
        return f"{self.number:3d} {self.state}{note}: {values}: {figures or 'nothing'}{problem}"


class SweepResult(Config):
    """Content of `sweep.json`."""

    space_name: str
    space: Space
    objective: ObjectiveName
    search: SearchConfig
    model: str
    total_steps: int
    """Of a full trial."""
    trials: tuple[TrialRecord, ...]
    """In the order in which they were chosen; the default first."""
    best: int | None
    """Number of the best trial beside the default; None where none was measured."""
    front: tuple[int, ...]
    """Trials that no other beats in every goal, where there are several goals."""
    importance: dict[str, float]
    """Share of each parameter in what separates good from bad trials; empty with few trials."""
    comparison: SeedComparison | None
    """Best against default over new seeds; None where it was not asked for or not possible."""
    chosen: Values
    """The best trial's values where they are proven better, else the default's."""
    recipe_uri: str
    """`damo-yolo train --config` takes it: the recipe with the chosen values."""
    best_uri: str
    """The same with the best trial's values, proven or not; empty where there is no such trial."""
    verdict: str
    """One sentence for people."""
    seconds: float
    """Between start and end of the last call."""
    tracking_run_id: str = ""

    @property
    def overrides(self) -> list[str]:
        """Return what turns any recipe into the chosen one; none where the default stays.

        Settings of the sample plan are not among them: a plan is made before a training.
        """
        if self.comparison is None or self.comparison.difference.verdict != "better":
            return []
        return overrides(self.chosen, [name for name in self.chosen if not is_balance(name)])


def shortened(problem: str) -> str:
    """Return the beginning of a problem, which may name every image of a batch."""
    return textwrap.shorten(problem, MAX_PROBLEM_LENGTH, placeholder=" ...")


def importance(trials: Sequence[TrialRecord], space: Space, objective: str) -> dict[str, float]:
    """Return how much each parameter separates the best trials from all, by PED-ANOVA.

    Trials that were stopped early count with their last figure: low, as they lagged behind.
    """
    goal = goals_of(objective)[0]
    measured = [trial for trial in trials if goal.figure in trial.figures]
    if len(measured) < MIN_FOR_IMPORTANCE or len(space.parameters) == 1:
        return {}
    import optuna  # noqa: PLC0415 - slow to import

    direction: Literal["maximize", "minimize"] = "maximize" if goal.mode == "max" else "minimize"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=direction)
    distributions = optuna_distributions(space)
    for trial in measured:
        value = trial.figures[goal.figure]
        study.add_trial(
            optuna.trial.create_trial(params=trial.values, distributions=distributions, value=value)
        )
    found = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
    )
    return {name: float(share) for name, share in found.items()}


def verdict_of(
    best: TrialRecord | None,
    default: TrialRecord | None,
    comparison: SeedComparison | None,
    *,
    num_trials: int,
    objective: str,
) -> str:
    """Return whether anything beats the default, in one honest sentence."""
    goal = goals_of(objective)[0]
    if best is None:
        return "Nothing can be said: no trial beside the default was measured."
    if comparison is None:
        reached = default.figures.get(goal.figure) if default else None
        other = "was not measured" if reached is None else f"reached {reached:.4g}"
        return (
            f"Nothing is proven: trial {best.number} reached {goal.label} "
            f"{best.figures[goal.figure]:.4g} and the default {other}, one run each; new seeds "
            "would tell luck from gain."
        )
    place = f"trial {best.number}, the best of {num_trials - 1} others"
    gap, num_seeds = comparison.difference, len(comparison.seeds)
    figures = (
        f"over {num_seeds} new seed{'s' * (num_seeds > 1)} {comparison.figure} {gap.a:.3f} against "
        f"{gap.b:.3f}, difference {gap.difference:+.3f} ({comparison.confidence:.0%} interval "
        f"{gap.low:+.3f} to {gap.high:+.3f})"
    )
    sentences = {
        "better": f"The default is beaten by {place}: {figures}.",
        "worse": f"Nothing beats the default: {place}, is worse, {figures}.",
        "no difference shown": f"Nothing is shown to beat the default: {place}, has {figures}.",
    }
    return sentences[gap.verdict]


def read_trials(
    outcomes: Sequence[Outcome], out_uri: str, *, default: Values, takes_turns: bool = False
) -> tuple[TrialRecord, ...]:
    """Join what Ray Tune knows of the trials with what their folders tell.

    Args:
        outcomes: of Ray Tune.
        out_uri: folder of the sweep.
        default: point that the others are compared with.
        takes_turns: trials were paused and went on: such an end without a word is no failure.
    """
    return tuple(
        _read_trial(
            outcome,
            number,
            storage.join(out_uri, TRIALS, outcome.trial_id),
            default=default,
            takes_turns=takes_turns,
        )
        for number, outcome in enumerate(outcomes)
    )


def _read_trial(
    outcome: Outcome, number: int, folder: str, *, default: Values, takes_turns: bool
) -> TrialRecord:
    attempts = read_attempts(folder)
    if takes_turns:
        attempts = [word for word in attempts[:-1] if word != NO_WORD] + attempts[-1:]
    state: Literal["finished", "stopped early", "failed"] = "stopped early"
    if outcome.problem:
        state = "failed"
    elif is_finished(folder):
        state = "finished"
    told = attempts if state == "failed" else attempts[:-1]
    problems = [word for word in told if word]
    if state == "failed" and not problems:
        problems = [outcome.problem]
    records = read_metrics(folder)
    return TrialRecord(
        number=number,
        trial_id=outcome.trial_id,
        values=outcome.values,
        figures={name: outcome.figures[name] for name in KEPT if name in outcome.figures},
        state=state,
        is_default=outcome.values == default,
        attempts=max(1, len(attempts)),
        problems=tuple(problems),
        seconds=records[-1]["seconds"] if records else 0.0,
        model_uri=folder,
    )
