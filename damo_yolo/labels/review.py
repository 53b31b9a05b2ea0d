"""The table that a person reviews: one line for each source class, and the class it goes to.

Lines with the same unified name are one class; the word `ignore` drops a class. What a review is
applied to is a label space and one mapping table for each dataset.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from damo_yolo.errors import DataError
from damo_yolo.labels.classes import SourceClass, count_of
from damo_yolo.labels.mapping import COLUMNS as MAPPING_COLUMNS
from damo_yolo.labels.mapping import IGNORE
from damo_yolo.labels.space import LabelSpace, read_table, slug_of

COLUMNS = (
    "unified_name",
    "dataset",
    "source_id",
    "source_name",
    "boxes",
    "images",
    "ancestors",
    "confidence",
    "reason",
)
NEEDED = COLUMNS[:4]


@dataclass(frozen=True)
class ReviewRow:
    """One line of the table."""

    unified_name: str
    """What a person may change: a name, or `ignore`."""
    source: SourceClass
    confidence: float | None = None
    """Of the proposal; None: nothing was joined."""
    reason: str = ""

    @property
    def is_ignored(self) -> bool:
        """Tell whether objects of the class are dropped."""
        return self.unified_name == IGNORE


@dataclass(frozen=True)
class AppliedReview:
    """What a catalog needs."""

    space: LabelSpace
    mappings: Mapping[str, str]
    """Dataset to the csv text of its label mapping."""


def write_review(rows: Iterable[ReviewRow]) -> str:
    """Return the table as csv text that `read_review` reads back."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        item = row.source
        counts = ("" if count is None else count for count in (item.boxes, item.images))
        confidence = "" if row.confidence is None else f"{row.confidence:.2f}"
        writer.writerow((
            row.unified_name, item.dataset, item.source_id, item.name, *counts,
            ";".join(item.ancestors), confidence, row.reason,
        ))  # fmt: skip
    return text.getvalue()


def read_review(uri: str) -> list[ReviewRow]:
    """Read a table that a person may have changed.

    Raises:
        DataError: there is no such file, a column is missing, classes have no unified name, or a
            class occurs twice.
    """
    source = f"review {uri}"
    rows: dict[tuple[str, str], ReviewRow] = {}
    unnamed = []
    for line, row in enumerate(read_table(uri, folder="", needed=NEEDED, source=source), start=2):
        where = f"{source}, line {line}"
        item = SourceClass(
            row["dataset"].strip(),
            row["source_id"].strip(),
            row["source_name"].strip(),
            boxes=count_of(row.get("boxes", ""), where),
            images=count_of(row.get("images", ""), where),
            ancestors=tuple(part for part in row.get("ancestors", "").split(";") if part.strip()),
        )
        if item.key in rows:
            raise DataError(f"{where} repeats the class {item}", fix="keep one line for each class")
        name = " ".join(row["unified_name"].split())
        name = IGNORE if name.lower() == IGNORE else name
        if not name:
            unnamed.append(str(item))
        rows[item.key] = ReviewRow(
            name, item, _confidence(row.get("confidence", "")), row.get("reason", "")
        )
    if unnamed:
        raise DataError(
            f"{source}: classes without a unified name: {len(unnamed)}, first:"
            f" {'; '.join(unnamed[:5])}",
            fix=f"write a name, or '{IGNORE}' to drop the class",
        )
    return list(rows.values())


def apply_review(rows: Sequence[ReviewRow], *, base: LabelSpace | None = None) -> AppliedReview:
    """Turn a review into a label space and mapping tables.

    Classes get their ids in the order of the table, after those of the base.

    Args:
        rows: of the table.
        base: space that is extended: its classes keep their ids.

    Raises:
        DataError: two names differ in case or punctuation only, no class is left, or an
            ancestor is no class of its dataset.
    """
    names = list(base.names) if base else []
    names += [row.unified_name for row in rows if not row.is_ignored]
    unique = list(dict.fromkeys(names))
    if not unique:
        raise DataError("the review leaves no class", fix=f"not every class can be '{IGNORE}'")
    slugs = [*(base.slugs if base else ())]
    slugs += [slug_of(name) for name in unique[len(slugs) :]]
    _require_distinct(unique, slugs)
    place = {name: index for index, name in enumerate(unique)}
    members = {name: list[str]() for name in unique}
    for name, there in zip(unique, base.datasets if base else (), strict=False):
        members[name] += filter(None, there.split("+"))
    for row in rows:
        if not row.is_ignored and row.source.dataset not in members[row.unified_name]:
            members[row.unified_name].append(row.source.dataset)
    space = LabelSpace(tuple(unique), tuple(slugs), tuple(map("+".join, members.values())))
    datasets = dict.fromkeys(row.source.dataset for row in rows)
    return AppliedReview(space, {name: _mapping_csv(name, rows, place) for name in datasets})


def require_all(rows: Sequence[ReviewRow], classes: Iterable[SourceClass], *, where: str) -> None:
    """Raise `DataError`, naming them, where classes have no line in the table."""
    listed = {row.source.key for row in rows}
    missing = [str(item) for item in classes if item.key not in listed]
    if missing:
        raise DataError(
            f"{where}: classes without a line: {len(missing)}, first: {'; '.join(missing[:5])}",
            fix=f"put the lines back, with '{IGNORE}' to drop a class",
        )


def _mapping_csv(dataset: str, rows: Sequence[ReviewRow], place: Mapping[str, int]) -> str:
    own = {row.source.source_id: row for row in rows if row.source.dataset == dataset}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(MAPPING_COLUMNS)
    for source_id, row in own.items():
        target = IGNORE if row.is_ignored else str(place[row.unified_name])
        unknown = sorted(
            {
                place[own[above].unified_name]
                for above in _ancestors(row, own)
                if not own[above].is_ignored and own[above].unified_name != row.unified_name
            }
        )
        writer.writerow((source_id, row.source.name, target, ";".join(map(str, unknown))))
    return text.getvalue()


def _ancestors(row: ReviewRow, own: Mapping[str, ReviewRow]) -> tuple[str, ...]:
    for above in row.source.ancestors:
        if above not in own:
            raise DataError(
                f"review: the ancestor '{above}' of {row.source} is no class of its dataset",
                fix="use source ids of the same dataset, with ';' between them",
            )
    return row.source.ancestors


def _require_distinct(names: Sequence[str], slugs: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name, slug in zip(names, slugs, strict=True):
        if not slug:
            raise DataError(
                f"review: the name '{name}' has no letter or digit",
                fix="give the class a name that has one",
            )
        if slug in seen:
            raise DataError(
                f"review: '{seen[slug]}' and '{name}' differ in case or punctuation only",
                fix="spell one class in one way, or give two classes names of their own",
            )
        seen[slug] = name


def _confidence(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None  # a remark for the reader; nothing depends on it
