"""The label space: ordered class names with stable ids and a checksum.

The order and the grouping of `unified_701` are those of UniDet's learned label space (see NOTICE).
"""

import csv
import hashlib
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Self

from damo_yolo import storage
from damo_yolo.errors import DataError

COLUMNS = ("unified_id", "name", "slug", "datasets")


@dataclass(frozen=True)
class LabelSpace:
    """Class names in id order: the id of a class is its place."""

    names: tuple[str, ...]
    """Unique names for people."""
    slugs: tuple[str, ...]
    """Unique names for machines: lower case, digits, underscores."""
    datasets: tuple[str, ...]
    """Per class the datasets that annotate it, joined by '+'; empty where unstated."""

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of_names(cls, names: Iterable[str]) -> Self:
        """Return the space of these names, in this order.

        Raises:
            DataError: a name is empty or occurs twice.
        """
        return cls._from_rows([{"name": name} for name in names], source="label space")

    @classmethod
    def load(cls, name_or_uri: str) -> Self:
        """Read a builtin label space by name, or any by the location of its csv.

        The csv has the columns unified_id and name, and may have slug and datasets.

        Raises:
            DataError: no such space, a column is missing, ids are not 0, 1, 2, ... in this
                order, or two classes share a name or slug.
        """
        source = f"label space {name_or_uri}"
        rows = read_table(name_or_uri, folder="", needed=COLUMNS[:2], source=source)
        for place, row in enumerate(rows):
            if row["unified_id"] != str(place):
                raise DataError(
                    f"{source}: line {place + 2} has unified_id {row['unified_id']!r}, not {place}",
                    fix="number the lines 0, 1, 2, ... in the order of the file",
                )
        return cls._from_rows(rows, source=source)

    @cached_property
    def sha256(self) -> str:
        """Hex SHA-256 of `to_csv()`: two spaces agree when it does."""
        return hashlib.sha256(self.to_csv().encode()).hexdigest()

    def to_csv(self) -> str:
        """Return the csv that `load` reads back to an equal space; the same bytes every time."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        rows = zip(self.names, self.slugs, self.datasets, strict=True)
        writer.writerows((place, *row) for place, row in enumerate(rows))
        return text.getvalue()

    @cached_property
    def ids(self) -> Mapping[str, int]:
        """Unified id by id as text, by slug and by name; of equal texts the first kind wins."""
        by_name = {name: place for place, name in enumerate(self.names)}
        by_slug = {slug: place for place, slug in enumerate(self.slugs)}
        by_id = {str(place): place for place in range(len(self))}
        return {**by_name, **by_slug, **by_id}

    @classmethod
    def _from_rows(cls, rows: list[dict[str, str]], *, source: str) -> Self:
        names = [row["name"].strip() for row in rows]
        slugs = [row.get("slug", "").strip() or slug_of(row["name"]) for row in rows]
        for kind, values in (("name", names), ("slug", slugs)):
            for place, value in enumerate(values):
                if not value or values.index(value) != place:
                    what = f"has no {kind}" if not value else f"repeats the {kind} '{value}'"
                    raise DataError(
                        f"{source}: class {place} {what}", fix=f"give each class its own {kind}"
                    )
        datasets = tuple(row.get("datasets", "").strip() for row in rows)
        return cls(names=tuple(names), slugs=tuple(slugs), datasets=datasets)


def slug_of(name: str) -> str:
    """Return a name for machines: accents go, other letters and signs become their code points.

    >>> slug_of("Oven / Stove (COCO)"), slug_of("Bär"), slug_of("猫 1")
    ('oven_stove_coco', 'bar', 'u732b_1')
    """
    plain = "".join(map(_in_ascii, unicodedata.normalize("NFKD", name.lower())))
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_")


def _in_ascii(letter: str) -> str:
    if letter.isascii():
        return letter
    kind = unicodedata.category(letter)[0]
    return "" if kind == "M" else f" u{ord(letter):x} " if kind in "LNS" else " "


def read_table(
    name_or_uri: str, *, folder: str, needed: Iterable[str], source: str
) -> list[dict[str, str]]:
    """Return the lines of a csv with a header, builtin or at a location, column to text.

    Args:
        name_or_uri: name of a table in this package, or the location of a csv.
        folder: where the package keeps builtin tables of this kind, below `labels/`.
        needed: columns that must be there.
        source: what the table is, for the error message.

    Raises:
        DataError: no such table, or a column is missing.
    """
    if name_or_uri.endswith(".csv") or "/" in name_or_uri:
        if not storage.exists(name_or_uri):
            raise DataError(
                f"{source}: no such file",
                fix="correct the location in the catalog; or make the table, see"
                " damo-yolo labels propose",
            )
        text = storage.read_text(name_or_uri)
    else:
        text = _builtin(name_or_uri, folder=folder, source=source)
    reader = csv.DictReader(io.StringIO(text))
    missing = [column for column in needed if column not in (reader.fieldnames or ())]
    if missing:
        raise DataError(
            f"{source} lacks the columns {', '.join(missing)}",
            fix=f"begin the file with the line: {','.join(needed)}",
        )
    return [{key: value or "" for key, value in row.items() if key} for row in reader]


def _builtin(name: str, *, folder: str, source: str) -> str:
    shelf = resources.files("damo_yolo.labels").joinpath(folder)
    file = shelf.joinpath(f"{name}.csv")
    if not file.is_file():
        names = sorted(f.name[:-4] for f in shelf.iterdir() if f.name.endswith(".csv"))
        raise DataError(
            f"{source} is not builtin",
            fix=f"use one of {', '.join(names)}, or the location of a csv",
        )
    return file.read_text(encoding="utf-8")
