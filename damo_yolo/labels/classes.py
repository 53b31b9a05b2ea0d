"""The classes of a dataset as it lists them, and the tree that says what is a kind of what."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from damo_yolo.errors import DataError
from damo_yolo.labels.mapping import LabelMapping
from damo_yolo.labels.space import LabelSpace, read_table

BUILTIN_TREE = "openimages_500"
"""Its table holds the ancestors of each class: a class tree for everybody."""


@dataclass(frozen=True)
class SourceClass:
    """One class of one dataset."""

    dataset: str
    source_id: str
    name: str
    boxes: int | None = None
    """Boxes to train on; None: not counted."""
    images: int | None = None
    """Images that hold one; None: not counted."""
    ancestors: tuple[str, ...] = field(default=(), compare=False)
    """Source ids of broader classes of the same dataset, which its objects are too."""

    @property
    def key(self) -> tuple[str, str]:
        """Dataset and source id: what identifies a class."""
        return self.dataset, self.source_id

    def __str__(self) -> str:
        shown = self.name if self.name == self.source_id else f"{self.name} ({self.source_id})"
        return f"{self.dataset}: {shown}"


def read_class_list(dataset: str, name_or_uri: str) -> list[SourceClass]:
    """Read the classes of a dataset from a csv: source_id, source_name, and perhaps counts.

    Every label mapping is such a list, so the name of a builtin one will do.

    Args:
        dataset: the name to give it.
        name_or_uri: builtin label mapping, or location of a csv; the columns boxes and images
            may hold what the dataset has of each class.

    Raises:
        DataError: there is no such table, a column is missing, an id is empty or occurs twice,
            or a count is no number.
    """
    source = f"class list {name_or_uri}"
    rows = read_table(
        name_or_uri, folder="mappings", needed=("source_id", "source_name"), source=source
    )
    above = _builtin_ancestors(name_or_uri) if "/" not in name_or_uri else {}
    classes = {}
    for line, row in enumerate(rows, start=2):
        where = f"{source}, line {line}"
        source_id = row["source_id"].strip()
        if not source_id or source_id in classes:
            what = f"repeats source_id '{source_id}'" if source_id else "has no source_id"
            raise DataError(f"{where} {what}", fix="keep one line for each class")
        classes[source_id] = SourceClass(
            dataset,
            source_id,
            row["source_name"].strip() or source_id,
            boxes=count_of(row.get("boxes", ""), where),
            images=count_of(row.get("images", ""), where),
            ancestors=above.get(source_id, ()),
        )
    return list(classes.values())


def count_of(text: str, where: str) -> int | None:
    """Return a count as written, None for an empty one; raises `DataError` for another text."""
    if not text.strip():
        return None
    if not text.strip().isdecimal():
        raise DataError(f"{where}: '{text.strip()}' is no count", fix="write a whole number")
    return int(text)


def read_tree(node: Mapping[str, Any], *, where: str) -> dict[str, frozenset[str]]:
    """Return class to all its ancestors, from a tree of `LabelName` and `Subcategory`.

    Raises:
        DataError: a node has no LabelName.
    """
    found: dict[str, frozenset[str]] = {}
    stack = [(node, frozenset[str]())]
    while stack:
        item, above = stack.pop()
        name = item.get("LabelName")
        if not isinstance(name, str):
            raise DataError(f"{where}: a node has no LabelName", fix="fetch the file again")
        found[name] = found.get(name, frozenset()) | above
        stack += [(child, above | {name}) for child in item.get("Subcategory", [])]
    return found


@dataclass(frozen=True)
class ClassTree:
    """Names of classes, and which is a kind of which."""

    names: Mapping[str, str]
    """Node to name."""
    ancestors: Mapping[str, tuple[str, ...]]
    """Node to the nodes above it."""

    @classmethod
    def builtin(cls) -> Self:
        """Return the tree of the 500 Open Images challenge classes."""
        return cls.of_classes(read_class_list("", BUILTIN_TREE))

    @classmethod
    def of_classes(cls, classes: Iterable[SourceClass]) -> Self:
        """Return the tree that the ancestors of some classes make."""
        listed = list(classes)
        return cls(
            {item.source_id: item.name for item in listed},
            {item.source_id: item.ancestors for item in listed if item.ancestors},
        )


def _builtin_ancestors(name: str) -> dict[str, tuple[str, ...]]:
    """Return the ancestors that a builtin Open Images table knows, by source id."""
    if not name.startswith("openimages"):
        return {}
    table = LabelMapping.load(name, LabelSpace.load("unified_701"))
    by_place = {target.unified_id: key for key, target in table.targets.items()}
    return {
        key: tuple(by_place[place] for place in target.also_unknown if place in by_place)
        for key, target in table.targets.items()
    }
