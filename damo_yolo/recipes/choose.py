"""From the name of a recipe and the role of a model in it to a configuration."""

from damo_yolo import storage
from damo_yolo.errors import ConfigError
from damo_yolo.models.zoo import MODEL_NAMES, is_detector
from damo_yolo.recipes import sample, small, smoke
from damo_yolo.recipes.students import STUDENTS
from damo_yolo.recipes.teachers import TEACHERS
from damo_yolo.training.config import TrainConfig

ROLES = ("teacher", "student", "twin")
"""`twin` is the student trained alone: what its teacher is worth shows in the difference."""

_SHORT = {
    "sample": {"teacher": sample.TEACHER, "student": sample.STUDENT, "twin": sample.TWIN},
    "small": {"teacher": small.TEACHER, "student": small.STUDENT, "twin": small.TWIN},
    "smoke": {"teacher": smoke.TEACHER, "student": smoke.STUDENT, "twin": smoke.TWIN},
}
RECIPES = (*_SHORT, "published")


def choose_recipe(
    recipe: str,
    *,
    role: str,
    model: str = "",
    epochs: int = 0,
    image_size: int = 0,
    seed: int = 0,
) -> TrainConfig:
    """Return the configuration of a role in a recipe.

    Args:
        recipe: one of `RECIPES`.
        role: one of `ROLES`.
        model: name of the size, or a detector file, for which nobody published a recipe; empty
            keeps the recipe's, which `published` has none of.
        epochs: 0 keeps the recipe's length.
        image_size: side of the input, pixels; 0 keeps the recipe's.
        seed: of the run.

    Raises:
        ConfigError: no such recipe, role or size, or a value is out of range.
    """
    if recipe not in RECIPES:
        raise ConfigError(f"no recipe is called {recipe!r}", fix=f"use one of {_listed(RECIPES)}")
    if role not in ROLES:
        raise ConfigError(f"no role is called {role!r}", fix=f"use one of {_listed(ROLES)}")
    if model and not is_detector(model):
        raise ConfigError(
            f"no detector is called {model!r}",
            fix=f"use one of {_listed(MODEL_NAMES)}, or a detector file, .json",
        )
    if recipe == "published" and model not in MODEL_NAMES:
        raise ConfigError(
            f"nobody published a recipe for {model or 'a model without a name'}",
            fix=f"name one of {_listed(MODEL_NAMES)}, or take another recipe",
        )
    if recipe == "published":
        config = (STUDENTS if role == "student" else TEACHERS)[model]
    else:
        config = _SHORT[recipe][role]
    overrides = [f"seed={seed}"]
    overrides += [f"model={model}"] if model else []
    overrides += [f"image_size={image_size}"] if image_size else []
    overrides += [f"schedule.epochs={epochs}", "schedule.max_steps=null"] if epochs else []
    return config.with_overrides(overrides)


def load_config(name_or_uri: str) -> TrainConfig:
    """Return the configuration of a name in `recipe_names()`, or of a YAML file.

    The name of a size, `damo-yolo-s`, is its published recipe without a teacher; roles follow a
    slash: `damo-yolo-s/student`, `sample/teacher`.

    Raises:
        ConfigError: the YAML does not describe a training.
        StorageError: nothing is at the location.
    """
    name, _, role = name_or_uri.partition("/")
    if name in MODEL_NAMES and role in {"", *ROLES}:
        return choose_recipe("published", role=role or "twin", model=name)
    if name in _SHORT and role in ROLES:
        return choose_recipe(name, role=role)
    if not storage.exists(name_or_uri):
        raise ConfigError(
            f"{name_or_uri!r} is neither a recipe nor a file",
            fix=f"give a YAML file, or one of: {_listed(recipe_names())}",
        )
    return TrainConfig.from_yaml(storage.read_text(name_or_uri), source=name_or_uri)


def recipe_names() -> tuple[str, ...]:
    """Return every name that `load_config` knows."""
    published = (f"{model}{role}" for model in MODEL_NAMES for role in ("", "/student"))
    return (*published, *(f"{recipe}/{role}" for recipe in _SHORT for role in ROLES))


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)
