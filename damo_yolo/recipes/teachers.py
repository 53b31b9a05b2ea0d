"""Published recipes of every size, without a teacher (facts: damo_yolo.md, section 8)."""

from damo_yolo.augment.policy import AugmentConfig
from damo_yolo.models.zoo import MODEL_NAMES
from damo_yolo.training.config import OptimizerConfig, TrainConfig

LARGE_OPTIMIZER = OptimizerConfig(kind="sgd", lr_per_image=0.01 / 64, weight_decay=5e-4)
NANO_OPTIMIZER = OptimizerConfig(kind="adamw", lr_per_image=0.001 / 64, weight_decay=1e-2)
NANO_SIZES = ("damo-yolo-ns", "damo-yolo-nm", "damo-yolo-nl")

MILD_SHEAR_DEG = 0.2
NS_MOSAIC_SCALE = (0.75, 1.25)


def published(model: str) -> TrainConfig:
    """Return the published recipe of a size: 300 epochs of batch 256 at 640 px, nano at 416."""
    is_nano = model in NANO_SIZES
    augment = AugmentConfig()
    if is_nano or model == "damo-yolo-t":
        augment = augment.model_copy(update={"shear_deg": MILD_SHEAR_DEG})
    if model == "damo-yolo-ns":
        augment = augment.model_copy(update={"mosaic_scale": NS_MOSAIC_SCALE})
    return TrainConfig(
        model=model,
        image_size=416 if is_nano else 640,
        optimizer=NANO_OPTIMIZER if is_nano else LARGE_OPTIMIZER,
        augment=augment,
    )


TEACHERS = {model: published(model) for model in MODEL_NAMES}
