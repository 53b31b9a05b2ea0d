"""The answers a reader wants first: is it good, where not, is it better, can it be shipped."""

from collections.abc import Iterator
from statistics import median
from typing import Any

from damo_yolo.reporting.gather import RunFiles
from damo_yolo.reporting.page import Card, Status, number
from damo_yolo.reporting.summary import ModelRow, Summary

WEAK_SHARE = 0.6
"""A class is weak whose AP50 is below this share of the mean."""
SUSPICIOUS_SHARE = 0.8
"""A source stands out whose score is below this share of the others' median."""
NOTHING = 0.05
"""Figures below it are of a model that has not learned: comparing its parts says nothing."""
MAX_NAMED = 4
TWIN_WORDS: dict[str, tuple[str, Status]] = {
    "better": ("Yes", "good"),
    "worse": ("No, it is worse", "bad"),
    "no difference shown": ("No difference shown", "open"),
}


def cards_of(summary: Summary, files: RunFiles) -> list[Card]:
    """Return what can be answered, most important first."""
    return [
        card
        for maker in (_quality, _twin, _classes, _sources, _ranking, _delivery)
        for card in maker(summary, files)
    ]


def _quality(summary: Summary, files: RunFiles) -> Iterator[Card]:
    metrics = files.evaluations.get("student")
    if metrics is None:
        return
    failed = [gate.name for gate in summary.gates if gate.status == "failed"]
    status: Status = "bad" if failed else "good" if summary.gates else "open"
    words = {"bad": "Not good enough", "good": "Good enough for its gates", "open": "No gates set"}
    measured = f"AP50 {metrics['ap50']:.3f}, AP {metrics['ap']:.3f}"
    sentences = [f"{measured} on {metrics['num_images']} images of '{metrics['headline']}'."]
    teacher = files.evaluations.get("teacher")
    if teacher is not None and teacher["ap"] > 0:
        sentences.append(f"That is {metrics['ap'] / teacher['ap']:.0%} of its teacher's AP.")
    if failed:
        sentences.append(f"Failed: {', '.join(failed)}.")
    yield Card("Is the student good?", words[status], status, " ".join(sentences))


def _twin(summary: Summary, files: RunFiles) -> Iterator[Card]:
    if summary.twin is None or files.against_twin is None:
        return
    twin, found = summary.twin, files.against_twin
    answer, status = TWIN_WORDS[twin.verdict]
    yield Card(
        "Is it better than its undistilled twin?",
        answer,
        status,
        f"AP {found.ap.a:.3f} against {found.ap.b:.3f}: {twin.difference:+.3f}, "
        f"{twin.confidence:.0%} interval {twin.low:+.3f} to {twin.high:+.3f} over "
        f"{found.num_images} images. One training each: another seed may differ by more.",
    )


def _classes(_: Summary, files: RunFiles) -> Iterator[Card]:
    metrics = files.evaluations.get("student")
    if metrics is None:
        return
    classes = sorted(
        metrics["datasets"][metrics["headline"]]["per_class"], key=lambda item: item["ap50"]
    )
    if not classes:
        return
    if metrics["ap50"] < NOTHING:
        yield Card("For which classes is it good?", "For none yet", "bad", "Train for longer.")
        return
    limit = WEAK_SHARE * metrics["ap50"]
    weak = [item for item in classes if item["ap50"] < limit]
    best = ", ".join(_named(item) for item in classes[:-4:-1])
    answer = f"Weak at {_listed(weak)}" if weak else "No class falls behind"
    yield Card(
        "For which classes not?",
        answer,
        "bad" if weak else "good",
        f"{len(weak)} of {len(classes)} classes have AP50 below {limit:.2f}. Best: {best}.",
    )


def _sources(_: Summary, files: RunFiles) -> Iterator[Card]:
    metrics = files.evaluations.get("student")
    if metrics is None:
        return
    figures = {
        name: result["ap"]
        for name, result in metrics["datasets"].items()
        if name != metrics["headline"] and result["ap"] >= 0
    }
    if max(figures.values(), default=0.0) < NOTHING:
        return
    low, high = min(figures, key=lambda n: figures[n]), max(figures, key=lambda n: figures[n])
    uneven = figures[low] < SUSPICIOUS_SHARE * figures[high]
    yield Card(
        "For which sources not?",
        f"Weakest on {low}" if uneven else "Alike on all sources",
        "bad" if uneven else "good",
        "AP " + ", ".join(f"{name} {ap:.3f}" for name, ap in figures.items()) + ".",
    )


def _ranking(_: Summary, files: RunFiles) -> Iterator[Card]:
    if files.ranking is None or len(files.ranking.sources) < 2:  # noqa: PLR2004 - nothing to rank
        return
    worst, *others = files.ranking.sources
    middle = median(item.score for item in others)
    if middle < NOTHING:
        return
    stands_out = worst.score < SUSPICIOUS_SHARE * middle
    answer = f"Look at {worst.name}" if stands_out else "None stands out"
    scores = ", ".join(f"{item.name} {item.score:.2f}" for item in files.ranking.sources)
    yield Card(
        "Does a source teach badly?",
        answer,
        "bad" if stands_out else "good",
        f"Agreement of model and annotations: {scores}.",
    )


def _delivery(summary: Summary, files: RunFiles) -> Iterator[Card]:
    if not files.artifacts:
        return
    rows = [row for row in summary.models if row.latency_ms is not None]
    failed = [g.name for g in summary.gates if g.name.startswith("parity") and g.status == "failed"]
    missing = [row.name for row in summary.models if row.note == "not attested"]
    if summary.version is not None:
        answer = f"{summary.registered_model} v{summary.version} is {summary.alias}"
    else:
        answer = "Exported"
    status: Status = "bad" if failed or summary.alias == "challenger" else "good"
    sentences = [_fastest(rows)] if rows else []
    sentences += [f"Lost too much AP: {', '.join(failed)}."] if failed else []
    sentences += [f"Not attested here, which is no pass: {', '.join(missing)}."] if missing else []
    yield Card("Can it be shipped?", answer, status, " ".join(sentences))


def _fastest(rows: list[ModelRow]) -> str:
    row = min(rows, key=lambda item: item.latency_ms or 0.0)
    return f"Fastest: {row.name}, {number(row.latency_ms, 1)} ms, AP {number(row.ap)}."


def _listed(items: list[dict[str, Any]]) -> str:
    shown = ", ".join(_named(item) for item in items[:MAX_NAMED])
    return shown if len(items) <= MAX_NAMED else f"{shown} and {len(items) - MAX_NAMED} more"


def _named(item: dict[str, Any]) -> str:
    return f"{item['name']} {item['ap50']:.2f}"
