"""`damo-yolo <verb>`: one command per stage, and a few that look at things."""

import typer

from damo_yolo.cli.attest import attest
from damo_yolo.cli.balance import balance
from damo_yolo.cli.benchmark import benchmark
from damo_yolo.cli.check import check
from damo_yolo.cli.compare import compare
from damo_yolo.cli.console import run_app
from damo_yolo.cli.convert import convert
from damo_yolo.cli.evaluate import evaluate
from damo_yolo.cli.export import export
from damo_yolo.cli.labels import labels
from damo_yolo.cli.merge import merge
from damo_yolo.cli.models import models
from damo_yolo.cli.predict import predict
from damo_yolo.cli.preview import preview
from damo_yolo.cli.profile import profile
from damo_yolo.cli.promote import promote
from damo_yolo.cli.recipe import recipe
from damo_yolo.cli.register import register
from damo_yolo.cli.report import report
from damo_yolo.cli.sample import sample
from damo_yolo.cli.search import search
from damo_yolo.cli.shard import shard
from damo_yolo.cli.train import train
from damo_yolo.cli.tune import tune

VERBS = (
    sample,
    check,
    merge,
    balance,
    preview,
    shard,
    train,
    tune,
    evaluate,
    compare,
    export,
    attest,
    benchmark,
    register,
    promote,
    report,
    predict,
    models,
    profile,
    search,
    convert,
)

app = typer.Typer(
    name="damo-yolo",
    help="From several public detection datasets to one promoted real-time detector.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for verb in VERBS:
    app.command()(verb)
app.add_typer(labels)
app.add_typer(recipe, name="recipe")


def main() -> None:
    """Entry point of the console script."""
    run_app(app)


if __name__ == "__main__":
    main()
