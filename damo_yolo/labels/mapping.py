"""From a dataset's own classes to the label space: unified id, or ignore.

Tables are keyed on the dataset's ids (COCO and Objects365 category ids, OpenImages mids), never on
names where ids exist: Objects365 spells its names in several ways, and the OpenImages challenge
has two classes called Mouse. VOC and YOLO datasets have no ids, so there the name is the key.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from damo_yolo.errors import DataError
from damo_yolo.labels.space import LabelSpace, read_table, slug_of

COLUMNS = ("source_id", "source_name", "unified_id", "also_unknown")
IGNORE = "ignore"
IDENTITY = "unified"
SPELLING = 0.6
"""Names at least so alike (1: equal) are taken for two spellings of one."""


@dataclass(frozen=True)
class Target:
    """Where one source class leads."""

    unified_id: int | None
    """None: objects of the class are dropped."""
    also_unknown: tuple[int, ...] = ()
    """Unified ids whose absence is no evidence in an image that holds the class."""
    source_name: str = field(default="", compare=False)
    """What the table calls the class; empty where it does not say. Equal targets lead alike."""


@dataclass(frozen=True)
class LabelMapping:
    """One dataset's classes in unified ids."""

    name: str
    """Builtin name or location, for messages."""
    targets: Mapping[str, Target]
    """By source id."""

    @classmethod
    def load(cls, name_or_uri: str, space: LabelSpace) -> Self:
        """Read a builtin mapping by name, or any by the location of its csv.

        `unified` is the identity: source ids are unified ids as text, slugs or names.

        Raises:
            DataError: no such mapping, a column is missing, a source id occurs twice, or a
                unified id is neither in the space nor the word 'ignore'.
        """
        if name_or_uri == IDENTITY:
            return cls(IDENTITY, {text: Target(place) for text, place in space.ids.items()})
        source = f"label mapping {name_or_uri}"
        rows = read_table(name_or_uri, folder="mappings", needed=COLUMNS[:3], source=source)
        targets: dict[str, Target] = {}
        for line, row in enumerate(rows, start=2):
            where = f"{source}, line {line}"
            source_id = row["source_id"].strip()
            if not source_id or source_id in targets:
                what = f"repeats source_id '{source_id}'" if source_id else "has no source_id"
                raise DataError(f"{where} {what}", fix="keep one line for each source class")
            targets[source_id] = _target(row, space, where=where)
        return cls(name_or_uri, targets)

    @cached_property
    def known_ids(self) -> NDArray[np.int32]:
        """(K,) unified ids that the table leads to, ascending."""
        return self.known_of(self.targets)

    def unified_id(self, source_id: str) -> int | None:
        """Return the unified id of a source class, None for one that is dropped.

        Raises:
            DataError: the class is not in the table.
        """
        return self._target(source_id).unified_id

    def also_unknown(self, source_id: str) -> tuple[int, ...]:
        """Return what an image with this class leaves unknown; raises as `unified_id` does."""
        return self._target(source_id).also_unknown

    def known_of(self, source_ids: Iterable[str]) -> NDArray[np.int32]:
        """Return (K,) the unified ids of these classes, ascending; dropped classes have none."""
        found = {self.unified_id(source_id.strip()) for source_id in source_ids}
        return np.array(sorted(place for place in found if place is not None), np.int32)

    def unmapped(self, classes: Mapping[str, str]) -> dict[str, str]:
        """Return those of a dataset's classes (source id to name) that the table lacks."""
        return {key: name for key, name in classes.items() if key.strip() not in self.targets}

    def misnamed(self, classes: Mapping[str, str]) -> dict[str, tuple[str, str]]:
        """Return the classes whose id the table gives to something else, by its name.

        Such are classes of the user's own with the ids of COCO, or one release of Objects365 read
        by the table of the other. Other spellings and names with a word in common pass.

        Args:
            classes: source id to name, as the dataset has them.

        Returns:
            Source id to the dataset's name and the table's.
        """
        called = {
            key: (name.strip(), self.targets[key.strip()].source_name)
            for key, name in classes.items()
            if key.strip() in self.targets
        }
        return {key: names for key, names in called.items() if all(names) and not _alike(*names)}

    def require(self, classes: Mapping[str, str], *, dataset: str) -> None:
        """Raise `DataError`, naming classes and file, unless every class is in the table."""
        unmapped = self.unmapped(classes)
        if unmapped:
            raise unmapped_error(unmapped, dataset=dataset, mapping=self.name)

    def _target(self, source_id: str) -> Target:
        key = source_id.strip()
        if key not in self.targets:
            raise DataError(
                f"class '{key}' is not in the label mapping {self.name}",
                fix=f"add it to {file_of(self.name)}, with '{IGNORE}' to drop it",
            )
        return self.targets[key]


def unmapped_error(unmapped: Mapping[str, str], *, dataset: str, mapping: str) -> DataError:
    """Return the error for classes (source id to name) that a mapping lacks."""
    shown = [
        f"{name.strip()} ({key})" if name.strip() != key else key for key, name in unmapped.items()
    ]
    counted = "1 class is" if len(shown) == 1 else f"{len(shown)} classes are"
    return DataError(
        f"dataset '{dataset}': {counted} not in the label mapping, first: {', '.join(shown[:5])}",
        fix=f"add each to {file_of(mapping)}, with '{IGNORE}' to drop it",
    )


def _alike(name: str, other: str) -> bool:
    one, two = slug_of(name), slug_of(other)
    if set(one.split("_")) & set(two.split("_")):
        return True
    return SequenceMatcher(None, one, two).ratio() >= SPELLING


def file_of(mapping: str) -> str:
    """Return the csv behind a mapping, as a user would look for it."""
    if mapping == IDENTITY:
        return "a mapping csv of your own and name it in the catalog instead of 'unified'"
    if mapping.endswith(".csv") or "/" in mapping:
        return mapping
    return f"labels/mappings/{mapping}.csv (or a copy of it that the catalog names)"


def _target(row: Mapping[str, str], space: LabelSpace, *, where: str) -> Target:
    text = row["unified_id"].strip()
    unknown = row.get("also_unknown", "").split(";")
    also_unknown = tuple(_place(part, space, where=where) for part in unknown if part.strip())
    unified_id = None if text == IGNORE else _place(text, space, where=where)
    return Target(unified_id, also_unknown, row["source_name"].strip())


def _place(text: str, space: LabelSpace, *, where: str) -> int:
    if text.strip().isdecimal() and int(text) < len(space):
        return int(text)
    raise DataError(
        f"{where}: unified id {text.strip()!r} is not in the label space",
        fix=f"use a number from 0 to {len(space) - 1}, or the word '{IGNORE}' to drop the class",
    )
