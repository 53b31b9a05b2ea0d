"""A label space learned from predictions: which classes a detector itself cannot tell apart.

After UniDet (Zhou, Koltun, Krähenbühl: Simple multi-dataset detection, CVPR 2022). Each candidate
group of classes, at most one of each dataset, has a cost: how much average precision its classes
lose when they become one. An integer program picks disjoint groups that minimise the sum of
cost - reward * (size - 1). A class in no picked group stays alone, at cost 0.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from damo_yolo.config import Config
from damo_yolo.errors import DataError

OPTIMAL = 0
CHOSEN = 0.5


class LearnConfig(Config):
    """When classes are worth joining; the defaults are UniDet's."""

    reward: float = Field(default=0.5, gt=0)
    """What one class less is worth, in average precision summed over the classes of a group."""
    max_drop: float = Field(default=0.2, ge=0, le=1)
    """No class of a group may lose more AP50."""
    max_pair_cost: float = Field(default=0.05, ge=0)
    """Limit of the mean loss of the classes of a pair."""
    max_group_cost: float = Field(default=0.2, ge=0)
    """Limit of the mean loss of the classes of three and more."""
    min_overlap: float = Field(default=0.1, ge=0, le=1)
    """Two classes are looked at only where the detector of one finds this share of the other's
    objects; 0 looks at all pairs, and joins things that never meet."""
    score_threshold: float = Field(default=0.1, ge=0, le=1)
    """Detections below it are left out."""


@dataclass(frozen=True)
class Group:
    """Classes that may become one."""

    members: tuple[int, ...]
    """Places in the list of all classes, ascending."""
    cost: float
    """Mean loss of average precision over the members; below 0 they gain."""

    def gain(self, reward: float) -> float:
        """Return by how much the picked group betters the objective."""
        return reward * (len(self.members) - 1) - self.cost * len(self.members)


def choose_groups(
    datasets: Sequence[str], groups: Sequence[Group], *, reward: float
) -> list[Group]:
    """Pick the best disjoint groups, exactly.

    Args:
        datasets: dataset of each class.
        groups: candidates of two and more classes.
        reward: what one class less is worth.

    Returns:
        The picked groups, ordered by their first member.

    Raises:
        DataError: a candidate has fewer than two classes, two of one dataset, or an unknown one.
    """
    for group in groups:
        _require_sound(group, datasets)
    useful = [group for group in groups if group.gain(reward) > 0]
    if not useful:
        return []
    members = [member for group in useful for member in group.members]
    columns = np.repeat(np.arange(len(useful)), [len(group.members) for group in useful])
    holds = csr_array(
        (np.ones(len(members)), (members, columns)), shape=(len(datasets), len(useful))
    )
    result = milp(
        c=-np.array([group.gain(reward) for group in useful]),
        constraints=LinearConstraint(holds, -np.inf, 1),
        integrality=np.ones(len(useful), np.int64),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0},
    )
    # Picking nothing is always feasible.
    assert result.status == OPTIMAL, result.message
    assert result.x is not None
    picked = (group for group, share in zip(useful, result.x, strict=True) if share > CHOSEN)
    return sorted(picked, key=lambda group: group.members)


def _require_sound(group: Group, datasets: Sequence[str]) -> None:
    unknown = [member for member in group.members if not 0 <= member < len(datasets)]
    if unknown or len(group.members) < 2:  # noqa: PLR2004 - one class is no group
        raise DataError(
            f"candidate group {group.members} has "
            + ("a class that does not exist" if unknown else "fewer than two classes"),
            fix="give groups of two and more of the listed classes",
        )
    dataset, count = Counter(datasets[member] for member in group.members).most_common(1)[0]
    if count > 1:
        raise DataError(
            f"candidate group {group.members} has {count} classes of '{dataset}'",
            fix="give groups with at most one class of each dataset",
        )
