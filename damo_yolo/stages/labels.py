"""A label space for other datasets: propose one, report on it, apply it, learn one.

A review is a folder: `classes.csv` is what a person edits and what is applied, `pairs.csv` tells
why, `review.json` keeps what the review began with.
"""

import csv
import io
from collections.abc import Iterable, Sequence

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.errors import DataError
from damo_yolo.labels.classes import SourceClass
from damo_yolo.labels.conflicts import ClassCount, Conflict, count_classes, find_conflicts
from damo_yolo.labels.propose import BASE, MIN_CONFIDENCE, Pair, propose
from damo_yolo.labels.review import (
    ReviewRow,
    apply_review,
    read_review,
    require_all,
    write_review,
)
from damo_yolo.labels.space import LabelSpace
from damo_yolo.stages.label_sources import classes_of, counted, rows_of

CLASSES_FILE, PAIRS_FILE, START_FILE = "classes.csv", "pairs.csv", "review.json"
SPACE_FILE = "label_space.csv"
APART = 2.0
"""A confidence that no pair has: every class stays alone."""


class ReviewStart(Config):
    """Content of `review.json`."""

    onto: str
    """Label space that is extended; empty: none."""
    classes: tuple[tuple[str, str, str], ...]
    """Dataset, source id and name of every class."""


class ProposeResult(Config):
    """What was proposed."""

    datasets: dict[str, int]
    """Dataset to number of classes."""
    num_unified: int
    """Classes of the proposed space, those of an extended one among them."""
    num_joined: int
    """Source classes that share a unified class with another, or go to one that was there."""
    num_open: int
    """Pairs of classes that may be the same and are not taken: to be looked at."""
    review_uri: str


class LabelReport(Config):
    """Conflicts and counts of a label space."""

    num_unified: int
    num_source: int
    conflicts: tuple[Conflict, ...]
    classes: tuple[ClassCount, ...]


class ApplyResult(Config):
    """What a catalog can use."""

    num_unified: int
    num_ignored: int
    """Source classes that are dropped."""
    label_space: str
    mappings: dict[str, str]
    """Dataset to the location of its mapping table."""
    label_space_sha256: str


def propose_labels(
    sources: Sequence[str],
    review_uri: str,
    *,
    onto: str = "",
    min_confidence: float = MIN_CONFIDENCE,
    count: bool = True,
    overwrite: bool = False,
) -> ProposeResult:
    """Write a review: which classes of some datasets could be one.

    Args:
        sources: catalogs, and `name=classes.csv` for class lists (builtin mappings are such).
        review_uri: folder for the review.
        onto: label space to extend, by name or location; empty: a new one.
        min_confidence: pairs of names below it are told, not joined; above 1 joins nothing.
        count: count the boxes and images of each class in the catalogs' training data.
        overwrite: replace a review that is there, and what a person changed in it.

    Raises:
        DataError: a source is missing or broken, two have the same name, or a review is there.
    """
    require_free(review_uri, overwrite=overwrite)
    classes = [item for source in sources for item in classes_of(source, count=count)]
    _require_unique(classes)
    base = LabelSpace.load(onto) if onto else None
    proposal = propose(classes, base=base, min_confidence=min_confidence)
    save_review(review_uri, proposal.rows, proposal.pairs, onto=onto)
    names = [row.unified_name for row in proposal.rows]
    there = set(base.names) if base else set[str]()
    return ProposeResult(
        datasets={
            dataset: sum(item.dataset == dataset for item in classes)
            for dataset in dict.fromkeys(item.dataset for item in classes)
        },
        num_unified=len(there | set(names)),
        num_joined=sum(name in there or names.count(name) > 1 for name in names),
        num_open=sum(pair.kind == "same" and not pair.taken for pair in proposal.pairs),
        review_uri=review_uri,
    )


def require_free(review_uri: str, *, overwrite: bool) -> None:
    """Raise `DataError` where a review is already that may not be replaced."""
    target = storage.join(review_uri, CLASSES_FILE)
    if storage.exists(target) and not overwrite:
        raise DataError(
            f"a review is at {target} already", fix="give another folder, or --overwrite"
        )


def save_review(
    review_uri: str, rows: Sequence[ReviewRow], pairs: Iterable[Pair], *, onto: str
) -> None:
    """Write the three files of a review."""
    keys = tuple((row.source.dataset, row.source.source_id, row.source.name) for row in rows)
    start = ReviewStart(onto=onto, classes=keys)
    storage.write_text(storage.join(review_uri, START_FILE), start.model_dump_json(indent=1))
    storage.write_text(storage.join(review_uri, PAIRS_FILE), _pairs_csv(pairs))
    storage.write_text(storage.join(review_uri, CLASSES_FILE), write_review(rows))


def load_review(review_uri: str) -> tuple[list[ReviewRow], ReviewStart]:
    """Read a review as a person left it.

    Raises:
        DataError: there is none, it is broken, or it lacks classes that it began with.
    """
    start_uri = storage.join(review_uri, START_FILE)
    if not storage.exists(start_uri):
        raise DataError(
            f"no review is at {review_uri}", fix="make one with: damo-yolo labels propose"
        )
    start = ReviewStart.from_yaml(storage.read_text(start_uri), source=start_uri)
    target = storage.join(review_uri, CLASSES_FILE)
    rows = read_review(target)
    require_all(rows, (SourceClass(*item) for item in start.classes), where=f"review {target}")
    return rows, start


def report_labels(
    sources: Sequence[str], *, records_uri: str = "", label_space: str = "unified_701"
) -> LabelReport:
    """Return the conflicts of a label space and what each class would have.

    Args:
        sources: one review folder; or catalogs and `name=mapping.csv`, as they are mapped now.
        records_uri: folder that the merge stage wrote: counts come from its training records.
        label_space: space of the `name=mapping.csv` sources.

    Raises:
        DataError: a source is missing or broken, or a class is unmapped.
    """
    if len(sources) == 1 and storage.exists(storage.join(sources[0], START_FILE)):
        rows = load_review(sources[0])[0]
    else:
        rows = [row for source in sources for row in rows_of(source, label_space)]
    if records_uri:
        rows = counted(rows, records_uri)
    return LabelReport(
        num_unified=len({row.unified_name for row in rows if not row.is_ignored}),
        num_source=len(rows),
        conflicts=tuple(find_conflicts(rows)),
        classes=tuple(count_classes(rows)),
    )


def write_html(report: LabelReport, uri: str) -> None:
    """Write a report as one HTML file."""
    from damo_yolo.reporting.labels import render_labels

    page = render_labels(report.conflicts, report.classes, num_source=report.num_source)
    storage.write_text(uri, page)


def apply_labels(review_uri: str, out_uri: str, *, overwrite: bool = False) -> ApplyResult:
    """Write the label space and the mapping tables that a review says.

    Args:
        review_uri: folder of the review.
        out_uri: folder for `label_space.csv` and `<dataset>.csv`.
        overwrite: replace tables that are there and differ.

    Raises:
        DataError: the review is broken or lacks classes, or other tables are there.
    """
    rows, start = load_review(review_uri)
    applied = apply_review(rows, base=LabelSpace.load(start.onto) if start.onto else None)
    uris = {name: storage.join(out_uri, f"{name}.csv") for name in applied.mappings}
    space_uri = storage.join(out_uri, SPACE_FILE)
    if space_uri in uris.values():
        raise DataError(
            f"a dataset called '{SPACE_FILE[:-4]}' has no place beside the label space",
            fix="give the dataset another name",
        )
    files = {space_uri: applied.space.to_csv()}
    files.update({uris[name]: text for name, text in applied.mappings.items()})
    differing = [
        uri for uri, text in files.items() if storage.exists(uri) and storage.read_text(uri) != text
    ]
    if differing and not overwrite:
        raise DataError(
            f"tables that are there and differ: {len(differing)}, first: {differing[0]}",
            fix="give another folder, or --overwrite",
        )
    for uri, text in files.items():
        storage.write_text(uri, text)
    return ApplyResult(
        num_unified=len(applied.space),
        num_ignored=sum(row.is_ignored for row in rows),
        label_space=space_uri,
        mappings=uris,
        label_space_sha256=applied.space.sha256,
    )


def _require_unique(classes: Sequence[SourceClass]) -> None:
    seen: set[tuple[str, str]] = set()
    for item in classes:
        if item.dataset == BASE or item.key in seen:
            raise DataError(
                f"the dataset name '{item.dataset}' is taken: the class {item} occurs twice",
                fix="give each dataset its own name",
            )
        seen.add(item.key)


def _pairs_csv(pairs: Iterable[Pair]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("taken", "confidence", "first", "is", "second", "reason"))
    for pair in pairs:
        taken = "yes" if pair.taken else ""
        row = (f"{pair.confidence:.2f}", pair.first, pair.kind, pair.second, pair.reason)
        writer.writerow((taken, *row))
    return text.getvalue()
