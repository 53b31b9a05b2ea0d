"""What a label space does to its source classes: where names and classes disagree, and counts."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from damo_yolo.config import Config
from damo_yolo.labels.names import words_of
from damo_yolo.labels.review import ReviewRow

Kind = Literal[
    "same name in two classes",
    "different names in one class",
    "parent beside child",
    "two classes of one dataset in one class",
    "class of one dataset only",
    "dropped class",
]


class Conflict(Config):
    """Something for a person to judge; few of them are mistakes."""

    kind: Kind
    classes: tuple[str, ...]
    """Unified names concerned."""
    detail: str


class ClassCount(Config):
    """What a unified class would have to train on."""

    name: str
    boxes: int | None
    """None: no dataset of it is counted."""
    images: int | None
    """At most: an image counts twice where two of its classes become one."""
    boxes_by_dataset: dict[str, int | None]


def find_conflicts(rows: Sequence[ReviewRow]) -> list[Conflict]:
    """Return the conflicts of a space, kind by kind."""
    kept = [row for row in rows if not row.is_ignored]
    groups: dict[str, list[ReviewRow]] = defaultdict(list)
    for row in kept:
        groups[row.unified_name].append(row)
    found = [*_same_names(kept), *_different_names(groups), *_parents(kept), *_twins(groups)]
    if len({row.source.dataset for row in rows}) > 1:
        found += _lonely(groups)
    return [*found, *_dropped(rows)]


def count_classes(rows: Sequence[ReviewRow]) -> list[ClassCount]:
    """Return what each class would have, in the order of the table."""
    groups: dict[str, list[ReviewRow]] = defaultdict(list)
    for row in rows:
        if not row.is_ignored:
            groups[row.unified_name].append(row)
    return [
        ClassCount(
            name=name,
            boxes=_total([row.source.boxes for row in group]),
            images=_total([row.source.images for row in group]),
            boxes_by_dataset={
                dataset: _total([r.source.boxes for r in group if r.source.dataset == dataset])
                for dataset in dict.fromkeys(row.source.dataset for row in group)
            },
        )
        for name, group in groups.items()
    ]


def _same_names(rows: Sequence[ReviewRow]) -> Iterator[Conflict]:
    by_words: dict[tuple[str, ...], list[ReviewRow]] = defaultdict(list)
    for row in rows:
        by_words[words_of(row.source.name)].append(row)
    for words, same in by_words.items():
        classes = tuple(dict.fromkeys(row.unified_name for row in same))
        if words and len(classes) > 1:
            detail = "; ".join(f"{row.source} -> {row.unified_name}" for row in same)
            yield Conflict(kind="same name in two classes", classes=classes, detail=detail)


def _different_names(groups: Mapping[str, Sequence[ReviewRow]]) -> Iterator[Conflict]:
    for name, group in groups.items():
        if len({words_of(row.source.name) for row in group}) > 1:
            detail = "; ".join(str(row.source) for row in group)
            yield Conflict(kind="different names in one class", classes=(name,), detail=detail)


def _parents(rows: Sequence[ReviewRow]) -> Iterator[Conflict]:
    of_source = {row.source.key: row.unified_name for row in rows}
    datasets: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        datasets[row.unified_name].add(row.source.dataset)
    children: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for above in row.source.ancestors:
            parent = of_source.get((row.source.dataset, above), row.unified_name)
            if parent != row.unified_name and row.unified_name not in children[parent]:
                children[parent].append(row.unified_name)
    for parent, below in children.items():
        if not below:
            continue
        without = {d for child in below for d in datasets[child]} - datasets[parent]
        note = f"; {', '.join(sorted(without))} know children only" if without else ""
        yield Conflict(
            kind="parent beside child",
            classes=(parent, *below),
            detail=f"'{parent}' is also every {_some(below)}{note}",
        )


def _twins(groups: Mapping[str, Sequence[ReviewRow]]) -> Iterator[Conflict]:
    for name, group in groups.items():
        datasets = [row.source.dataset for row in group]
        twice = [row for row in group if datasets.count(row.source.dataset) > 1]
        if twice:
            yield Conflict(
                kind="two classes of one dataset in one class",
                classes=(name,),
                detail="; ".join(str(row.source) for row in twice),
            )


def _lonely(groups: Mapping[str, Sequence[ReviewRow]]) -> Iterator[Conflict]:
    for name, group in groups.items():
        datasets = {row.source.dataset for row in group}
        if len(datasets) == 1:
            yield Conflict(
                kind="class of one dataset only", classes=(name,), detail=str(group[0].source)
            )


def _dropped(rows: Sequence[ReviewRow]) -> Iterator[Conflict]:
    for row in rows:
        if row.is_ignored:
            yield Conflict(kind="dropped class", classes=(), detail=str(row.source))


def _total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _some(names: Sequence[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
