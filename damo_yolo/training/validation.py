"""AP of the averaged weights on the way: which weights are best, and when to stop."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from damo_yolo.evaluation.coco_ap import average_precision
from damo_yolo.evaluation.ground_truth import read_validation_set
from damo_yolo.evaluation.predict import predict
from damo_yolo.inference.backend import Backend
from damo_yolo.inference.detect import DetectConfig
from damo_yolo.inference.info import DetectorInfo
from damo_yolo.loading.loader import val_batches
from damo_yolo.models.detector import Detector
from damo_yolo.training.config import ValidateConfig
from damo_yolo.training.ranks import gather_objects

Figures = dict[str, float]


@dataclass
class Progress:
    """Best validation so far; a part of the checkpoint."""

    best_ap: float = -1.0
    best_step: int = 0
    num_worse: int = 0
    """Evaluations since the best one."""
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def is_better(self, ap: float, config: ValidateConfig) -> bool:
        """Tell whether an AP beats the best so far."""
        return self.best_step == 0 or ap > self.best_ap + config.min_gain

    def take(self, ap: float, *, step: int, weights: Mapping[str, Tensor], better: bool) -> None:
        """Count an evaluation, and keep copies of the weights of a better one."""
        if not better:
            self.num_worse += 1
            return
        self.best_ap, self.best_step, self.num_worse = ap, step, 0
        self.best_weights = {name: value.cpu().clone() for name, value in weights.items()}

    def is_over(self, config: ValidateConfig) -> bool:
        """Tell whether patience has run out."""
        return config.patience is not None and self.num_worse >= config.patience


class Validator:
    """Evaluates averaged weights on the headline dataset, ranks sharing the images."""

    def __init__(
        self,
        detector: Detector,
        info: DetectorInfo,
        config: ValidateConfig,
        *,
        shards_uri: str,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._detector = copy.deepcopy(detector).eval().requires_grad_(requires_grad=False)
        self._backend = _OnDevice(self._detector, info)
        self._config = config
        self._shards_uri, self._rank, self._world_size = shards_uri, rank, world_size
        self._validation = read_validation_set(shards_uri)

    def evaluate(self, weights: Mapping[str, Tensor]) -> Figures:
        """Return `ap` and `ap50` of the weights, equal on all ranks; a collective."""
        self._detector.load_state_dict(dict(weights))
        batches = val_batches(
            self._shards_uri,
            image_size=self._backend.image_size,
            batch_size=self._config.batch_size,
            rank=self._rank,
            world_size=self._world_size,
            datasets=[self._validation.headline],
        )
        own = list(predict(self._backend, batches, DetectConfig.of(self._backend)))
        found = [detections for part in gather_objects(own) for detections in part]
        result = average_precision(
            found,
            self._validation.of_dataset(self._validation.headline),
            class_names=self._validation.class_names,
        )
        return {"ap": result.ap, "ap50": result.ap50}


class _OnDevice(Backend):
    """The detector in training, where it lives."""

    def __init__(self, detector: Detector, info: DetectorInfo) -> None:
        super().__init__(info)
        self._detector = detector

    def _run(self, images: Any) -> Any:
        device = next(self._detector.parameters()).device
        with torch.inference_mode():
            scores, boxes = self._detector(torch.from_numpy(images).to(device))
        return scores.float().cpu().numpy(), boxes.float().cpu().numpy()
