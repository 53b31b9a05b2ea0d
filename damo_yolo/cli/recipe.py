"""`damo-yolo recipe`: print a complete training config, to edit and pass back."""

from typing import Annotated

import typer


def recipe(
    name: Annotated[str, typer.Argument(help="recipe/role: sample/teacher, published/student.")],
) -> None:
    """Print a training config as YAML: `damo-yolo recipe sample/student > my.yaml`."""
    from damo_yolo.recipes.choose import load_config

    print(load_config(name).to_yaml(), end="")
