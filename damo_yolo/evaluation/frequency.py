"""Classes grouped by how often training saw them, as LVIS does (Gupta et al., CVPR 2019)."""

import json
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.evaluation.coco_ap import ClassAp

Group = Literal["rare", "common", "frequent"]


class FrequencyConfig(Config):
    """Where rare ends and frequent begins, in training images; small data needs small numbers."""

    rare_max: int = Field(default=10, ge=0)
    """Classes in at most as many images are rare."""
    common_max: int = Field(default=100, ge=0)
    """Above rare, classes in at most as many images are common; the others are frequent."""

    @model_validator(mode="after")
    def _ordered(self) -> "FrequencyConfig":
        if self.common_max < self.rare_max:
            raise ValueError("common_max lies below rare_max")
        return self

    def group_of(self, num_images: int) -> Group:
        """Return the group of a class seen in so many training images."""
        if num_images <= self.rare_max:
            return "rare"
        return "common" if num_images <= self.common_max else "frequent"


class GroupAp(Config):
    """Mean over the classes of a group that have validation objects."""

    num_classes: int
    num_objects: int
    ap: float
    ap50: float


def training_images(shards_uri: str) -> dict[int, int]:
    """Return how many training images hold each class, over all datasets; empty where unsaid."""
    facts = json.loads(storage.read_text(storage.join(shards_uri, "datasets.json")))
    counts: dict[int, int] = {}
    for dataset in facts["datasets"].values():
        for class_id, found in dataset.get("train", {}).get("classes", {}).items():
            counts[int(class_id)] = counts.get(int(class_id), 0) + int(found["images"])
    return counts


def group_by_frequency(
    classes: Iterable[ClassAp], images: Mapping[int, int], config: FrequencyConfig
) -> dict[Group, GroupAp]:
    """Return the mean AP of rare, common and frequent classes; groups without a class are absent.

    Args:
        classes: AP of each class.
        images: class id to training images; a class that is not there was never seen.
        config: the bounds.
    """
    members: dict[Group, list[ClassAp]] = {}
    for item in classes:
        members.setdefault(config.group_of(images.get(item.class_id, 0)), []).append(item)
    order: tuple[Group, ...] = ("rare", "common", "frequent")
    return {
        group: GroupAp(
            num_classes=len(members[group]),
            num_objects=sum(item.num_objects for item in members[group]),
            ap=float(np.mean([item.ap for item in members[group]])),
            ap50=float(np.mean([item.ap50 for item in members[group]])),
        )
        for group in order
        if group in members
    }
