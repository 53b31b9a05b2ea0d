"""The embedded sample on a CPU, in minutes: what `make run` trains.

What limits so short a run is the number of steps; the rate is 20 times the published one, the
average and the normalisation statistics follow faster, and mosaic is left out. The class branch
has a rate of its own and starts nearer to its goal: after 400 steps alone, AP50 0.71 against 0.48.
The align modules of the distillation learn alone for a quarter: AP 0.539 against 0.489 as the paper
and 0.517 alone (docs/training.md).
"""

from damo_yolo.augment.policy import AugmentConfig
from damo_yolo.training.config import (
    DistillConfig,
    EmaConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)

GLOBAL_BATCH = 8

TWIN = TrainConfig(
    model="damo-yolo-ns",
    image_size=128,
    global_batch=GLOBAL_BATCH,
    optimizer=OptimizerConfig(
        kind="adamw", lr_per_image=3e-3 / GLOBAL_BATCH, weight_decay=1e-2, class_rate_factor=10
    ),
    schedule=ScheduleConfig(max_steps=416, warmup_fraction=0.06, plain_epochs=0, mosaic=False),
    ema=EmaConfig(decay=0.99, tau=50),
    augment=AugmentConfig(plain_affine=True),
    bn_momentum=0.1,
    class_prior=0.1,
)
"""The student's schedule without a teacher: what distillation is compared with."""

STUDENT = TWIN.model_copy(
    update={
        "distill": DistillConfig(align_fraction=0.25),
        "optimizer": TWIN.optimizer.model_copy(update={"clip_norm": 30.0}),
    }
)

TEACHER = TWIN.model_copy(update={"model": "damo-yolo-nm"})
