"""From the label space back to a dataset's own classes, and its class tree.

No two classes of one dataset share a class of the 701, so the way back is unique there. Where a
space of one's own joins two classes of a dataset, the first in the mapping table stands for both.
"""

from dataclasses import dataclass

from damo_yolo.datasets.catalog import DatasetSpec
from damo_yolo.datasets.source import class_tree
from damo_yolo.evaluation.openimages_ap import Ancestors
from damo_yolo.labels.mapping import LabelMapping
from damo_yolo.labels.space import LabelSpace


@dataclass(frozen=True, slots=True)
class SourceClasses:
    """The classes of one dataset within the label space."""

    class_ids: dict[int, int | str]
    """Id in the label space to the dataset's own id, a number where it is written as one."""
    ancestors: Ancestors
    """Class tree in ids of the label space; empty where the dataset has none."""

    @classmethod
    def of(cls, spec: DatasetSpec, space: LabelSpace) -> "SourceClasses":
        """Read the mapping and, for Open Images, the class tree of a catalogued dataset.

        Raises:
            DataError: a table or the tree is missing or broken.
        """
        mapping = LabelMapping.load(spec.mapping, space)
        class_ids: dict[int, int | str] = {}
        for source_id, target in mapping.targets.items():
            if target.unified_id is not None:
                own = int(source_id) if source_id.isdecimal() else source_id
                class_ids.setdefault(target.unified_id, own)
        return cls(class_ids, _ancestors(spec, mapping))


def _ancestors(spec: DatasetSpec, mapping: LabelMapping) -> Ancestors:
    """Return ancestors in ids of the label space; the root of the tree is no class."""
    ids = {
        source_id: target.unified_id
        for source_id, target in mapping.targets.items()
        if target.unified_id is not None
    }
    return {
        ids[mid]: frozenset(ids[one] for one in above if one in ids)
        for mid, above in class_tree(spec).items()
        if mid in ids
    }
