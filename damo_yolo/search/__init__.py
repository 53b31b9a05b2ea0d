"""MAE-NAS: backbones for a budget and a target, found by arithmetic alone."""

from damo_yolo.search.score import score_structure

__all__ = ["score_structure"]
