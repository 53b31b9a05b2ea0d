"""What every command shares: the terminal, the log format, and how an error is told."""

import json
import logging
import sys
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console

from damo_yolo.config import Config
from damo_yolo.errors import DamoYoloError

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for machines.")]

EXIT_USER_ERROR, EXIT_INTERRUPTED = 2, 130


def run_app(app: Callable[[], object]) -> None:
    """Run a Typer app; a `DamoYoloError` becomes two lines on stderr and exit status 2.

    Ctrl-C becomes one line and exit status 130, which Typer would keep silent about.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        app()
    except DamoYoloError as error:
        tell(error)
        sys.exit(EXIT_USER_ERROR)
    except (KeyboardInterrupt, SystemExit) as error:
        if isinstance(error, SystemExit) and error.code != EXIT_INTERRUPTED:
            raise
        errors.print("interrupted: run the same command again to go on")
        sys.exit(EXIT_INTERRUPTED)


def tell(error: DamoYoloError) -> None:
    """Print what is wrong and the next move."""
    errors.print("[bold red]error:[/] ", end="")
    errors.print(error.problem, markup=False)
    errors.print("  [bold]fix:[/] ", end="")
    errors.print(error.fix, markup=False)


def show(result: Config, sentence: str, *, as_json: bool) -> None:
    """Print the result of a stage: one sentence for a person, or all of it for a machine."""
    if as_json:
        print(json.dumps(result.model_dump(mode="json"), indent=2))
    else:
        console.print(sentence, markup=False)
