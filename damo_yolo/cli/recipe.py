"""`damo-yolo recipe`: complete training configs, to print, edit and pass back."""

from typing import Annotated

import typer

recipe = typer.Typer(no_args_is_help=True, help="Complete training configs: list, show.")


@recipe.command()
def show(
    name: Annotated[
        str,
        typer.Argument(help="Size (damo-yolo-s), size/student, sample/student, ..., or a file."),
    ],
) -> None:
    """Print a training config as YAML: `damo-yolo recipe show damo-yolo-s > my.yaml`."""
    from damo_yolo.recipes.choose import load_config

    print(load_config(name).to_yaml(), end="")


@recipe.command("list")
def list_names() -> None:
    """Print every name that `show` and `train --config` know, and who teaches whom."""
    from damo_yolo.recipes.choose import recipe_names
    from damo_yolo.recipes.students import TEACHER_OF

    for name in recipe_names():
        size, _, role = name.partition("/")
        teacher = TEACHER_OF.get(size) if role == "student" else None
        print(f"{name}  (teacher: {teacher})" if teacher else name)
