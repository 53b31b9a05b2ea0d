"""Seconds on a CPU: shows that everything runs, not that anything is learnt. For tests."""

from damo_yolo.recipes import sample
from damo_yolo.training.config import ScheduleConfig, TrainConfig

SCHEDULE = ScheduleConfig(max_steps=6, warmup_fraction=0.2, plain_epochs=1)


def _shortened(config: TrainConfig) -> TrainConfig:
    changes = {"image_size": 64, "schedule": SCHEDULE, "log_every": 2}
    return config.model_copy(update=changes)


TEACHER = _shortened(sample.TEACHER).model_copy(update={"model": "damo-yolo-ns"})
STUDENT = _shortened(sample.STUDENT)
TWIN = _shortened(sample.TWIN)
