"""Published recipes of every size with a teacher (facts: damo_yolo.md, sections 7 and 8)."""

from damo_yolo.recipes.teachers import TEACHERS
from damo_yolo.training.config import DistillConfig, TrainConfig

TEACHER_OF = {
    "damo-yolo-t": "damo-yolo-s",
    "damo-yolo-s": "damo-yolo-m",
    "damo-yolo-m": "damo-yolo-l",
    "damo-yolo-l": "damo-yolo-l",
    "damo-yolo-ns": "damo-yolo-nm",
    "damo-yolo-nm": "damo-yolo-nl",
    "damo-yolo-nl": "damo-yolo-nl",
}
"""The next larger size teaches; the largest of a family is taught by its own kind. The report
names the first four pairs, and no nano teacher."""

CLIP_NORM = 30.0
"""The published code clips gradients when it distils, and only then."""


def distilled(model: str) -> TrainConfig:
    """Return the published recipe of a size, taught by `TEACHER_OF[model]`."""
    plain = TEACHERS[model]
    return plain.model_copy(
        update={
            "distill": DistillConfig(),
            "optimizer": plain.optimizer.model_copy(update={"clip_norm": CLIP_NORM}),
        }
    )


STUDENTS = {model: distilled(model) for model in TEACHER_OF}
