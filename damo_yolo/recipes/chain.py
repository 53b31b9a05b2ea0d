"""A chain of trainings: each model teaches the next one, `damo-yolo-l` to `-m` to `-s`."""

from collections.abc import Sequence
from itertools import pairwise

from damo_yolo.config import Config
from damo_yolo.errors import ConfigError
from damo_yolo.models.zoo import MODEL_NAMES, is_detector, short_name
from damo_yolo.recipes.choose import RECIPES, choose_recipe, load_config
from damo_yolo.recipes.students import CLIP_NORM
from damo_yolo.training.config import DistillConfig, TrainConfig


class Link(Config):
    """One training of a chain."""

    name: str
    """Folder below the chain's: place and size, `2-damo-yolo-m`."""
    config: TrainConfig
    teacher: str = ""
    """Name of the link that teaches it; empty for the first."""


def plan_chain(models: Sequence[str], recipe: str, overrides: Sequence[str] = ()) -> list[Link]:
    """Return the trainings of a chain, the first without a teacher.

    Args:
        models: sizes or detector files from the first teacher to the last student; a size may teach
            its own kind.
        recipe: `published` or `sample`, or a configuration (a name or a YAML file) that all share.
        overrides: dotted `name=value` for all of them.

    Raises:
        ConfigError: a size or the recipe is unknown, or there are fewer than two models.
    """
    unknown = [model for model in models if not is_detector(model)]
    if unknown or len(models) < 2:  # noqa: PLR2004 - a teacher and a student
        raise ConfigError(
            f"no chain goes through {', '.join(unknown or models)}",
            fix=f"name two sizes or more, teacher first, of {', '.join(MODEL_NAMES)}",
        )
    names = [f"{place}-{short_name(model)}" for place, model in enumerate(models, start=1)]
    first = _config(models[0], recipe, role="teacher").with_overrides(overrides)
    links = [Link(name=names[0], config=first)]
    for model, (teacher, name) in zip(models[1:], pairwise(names), strict=True):
        config = _config(model, recipe, role="student").with_overrides(overrides)
        links.append(Link(name=name, config=config, teacher=teacher))
    return links


def _config(model: str, recipe: str, *, role: str) -> TrainConfig:
    if recipe in RECIPES:
        return choose_recipe(recipe, role=role, model=model)
    shared = load_config(recipe)
    if role == "teacher":
        return shared.model_copy(update={"model": model, "distill": None})
    clip_norm = shared.optimizer.clip_norm or CLIP_NORM
    return shared.model_copy(
        update={
            "model": model,
            "distill": shared.distill or DistillConfig(),
            "optimizer": shared.optimizer.model_copy(update={"clip_norm": clip_norm}),
        }
    )
