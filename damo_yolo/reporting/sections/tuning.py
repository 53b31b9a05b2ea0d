"""What the search for better settings found."""

from collections.abc import Mapping, Sequence
from typing import Any

from damo_yolo.reporting import figures
from damo_yolo.reporting.gather import RunFiles
from damo_yolo.reporting.page import Chart, Section, Table, number
from damo_yolo.reporting.sweep_figures import Scale, front, parallel_coordinates
from damo_yolo.tuning.objective import Goal, goals_of
from damo_yolo.tuning.result import shortened

MAX_TRIALS = 20


def tuning_section(files: RunFiles) -> Section | None:
    """Return the trials of a sweep, what mattered, and what new seeds say."""
    sweep = files.sweep
    if not sweep:
        return None
    goals = goals_of(sweep["objective"])
    return Section(
        "Tuning",
        lead=sweep["verdict"],
        charts=_charts(sweep, goals),
        tables=[_trials(sweep, goals), *_seeds(sweep)],
    )


def _trials(sweep: Mapping[str, Any], goals: Sequence[Goal]) -> Table:
    names = list(sweep["space"]["parameters"])
    sign = 1 if goals[0].mode == "max" else -1
    ordered = sorted(
        sweep["trials"],
        key=lambda trial: -sign * trial["figures"].get(goals[0].figure, -sign * float("inf")),
    )
    rows = [
        (
            f"{trial['number']}{' (default)' if trial['is_default'] else ''}",
            _state(trial),
            *(number(trial["figures"].get(goal.figure)) for goal in goals),
            *(_text(trial["values"].get(name)) for name in names),
        )
        for trial in ordered[:MAX_TRIALS]
    ]
    head = ("trial", "state", *(goal.label for goal in goals), *names)
    left = len(ordered) - len(rows)
    caption = "One run each: differences between neighbours are mostly luck."
    caption += f" The {left} last trials are left out." if left else ""
    return Table(head, rows, caption, frozenset({0, 1}))


def _seeds(sweep: Mapping[str, Any]) -> list[Table]:
    found = sweep["comparison"]
    if not found:
        return []
    rows = [
        (str(seed), number(best), number(default), f"{best - default:+.3f}")
        for seed, best, default in zip(found["seeds"], found["best"], found["default"], strict=True)
    ]
    gap = found["difference"]
    mean = (number(gap["a"]), number(gap["b"]), f"{gap['difference']:+.3f}")
    rows.append(("mean", *mean))
    caption = (
        f"Both trained again with new seeds: {found['figure']}. Interval of the difference, over "
        f"images and seeds drawn again: {gap['low']:+.3f} to {gap['high']:+.3f}, "
        f"{gap['verdict']}."
    )
    return [Table(("seed", f"trial {sweep['best']}", "default", "difference"), rows, caption)]


def _charts(sweep: Mapping[str, Any], goals: Sequence[Goal]) -> list[Chart]:
    measured = [trial for trial in sweep["trials"] if goals[0].figure in trial["figures"]]
    charts = []
    if len(measured) > 1:
        charts.append(
            Chart(
                _parallel(sweep, measured, goals[0]),
                "Each line is a trial, through its settings to its score.",
            )
        )
    if sweep["importance"]:
        caption = "Share of each setting in what separates good trials from bad ones."
        chart = figures.ranked_bars(sweep["importance"], label="importance")
        charts.append(Chart(chart, caption))
    for goal in goals[1:]:
        points = {
            trial["number"]: (trial["figures"][goal.figure], trial["figures"][goals[0].figure])
            for trial in measured
        }
        kept = [n for n in sweep["front"] if n in points]
        picture = front(points, kept, names=(goal.label, goals[0].label))
        charts.append(Chart(picture, f"{goals[0].label} against {goal.label}."))
    return charts


def _parallel(sweep: Mapping[str, Any], measured: Sequence[Mapping[str, Any]], goal: Goal) -> str:
    parameters = sweep["space"]["parameters"]
    scales = [_scale(name, parameter) for name, parameter in parameters.items()]
    scores = [trial["figures"][goal.figure] for trial in measured]
    scales.append(Scale(goal.label, min(scores), max(scores)))
    lines = {
        trial["number"]: [
            *(_number(trial["values"][name], parameters[name]) for name in parameters),
            trial["figures"][goal.figure],
        ]
        for trial in measured
    }
    defaults = [trial["number"] for trial in measured if trial["is_default"]]
    default = defaults[0] if defaults else None
    return parallel_coordinates(scales, lines, default=default, best=sweep["best"])


def _scale(name: str, parameter: Mapping[str, Any]) -> Scale:
    choice = parameter["choice"]
    if choice:
        return Scale(name, 0, len(choice) - 1, labels=tuple(map(str, choice)))
    low, high = parameter["uniform"] or parameter["log"] or parameter["integer"]
    return Scale(name, low, high, is_log=bool(parameter["log"]))


def _number(value: Any, parameter: Mapping[str, Any]) -> float:
    choice = parameter["choice"]
    return float(choice.index(value) if choice else value)


def _state(trial: Mapping[str, Any]) -> str:
    if trial["state"] == "failed":
        return f"failed: {shortened(trial['problems'][-1])}"
    again = trial["attempts"] - 1
    return f"{trial['state']}, {again} more attempts" if again else str(trial["state"])


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
