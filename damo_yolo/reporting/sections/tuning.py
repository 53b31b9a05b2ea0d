"""What the search for better settings found."""

from damo_yolo.reporting import figures
from damo_yolo.reporting.gather import RunFiles
from damo_yolo.reporting.page import Chart, Section, Table, number

MAX_TRIALS = 20


def tuning_section(files: RunFiles) -> Section | None:
    """Return the trials of a sweep and what mattered."""
    sweep = files.sweep
    if not sweep:
        return None
    names = sorted({name for trial in sweep["trials"] for name in trial["values"]})
    measured = sorted(
        sweep["trials"], key=lambda trial: -trial.get("figures", {}).get("ap", float("-inf"))
    )
    rows = [
        (
            f"{trial['number']}{' (default)' if trial['is_default'] else ''}",
            trial["state"],
            number(trial.get("figures", {}).get("ap")),
            *(_value(trial["values"].get(name)) for name in names),
        )
        for trial in measured[:MAX_TRIALS]
    ]
    importance = sweep.get("importance", {})
    caption = "Share of each setting in what separates good trials from bad ones."
    chart = figures.ranked_bars(importance, label="importance") if importance else ""
    return Section(
        "Tuning",
        lead=sweep["verdict"],
        charts=[Chart(chart, caption)] if chart else (),
        tables=[Table(("trial", "state", "AP", *names), rows, text_columns=frozenset({0, 1}))],
    )


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
