"""`damo-yolo search`: a backbone for the user's own budget."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from damo_yolo.cli.console import AsJson, console, show

if TYPE_CHECKING:
    from damo_yolo.stages.train_best import TrainBestResult


def search(
    out: Annotated[str, typer.Option(help="Folder for the detectors found.")],
    budget: Annotated[
        list[str],
        typer.Option(metavar="COST=LIMIT", help="latency_ms, params, flops or layers; repeat it."),
    ],
    family: Annotated[str, typer.Option(help="Blocks: res, csp or mob.")] = "mob",
    like: Annotated[
        str, typer.Option(help="Size or detector file whose neck, head and input are kept.")
    ] = "damo-yolo-ns",
    image_size: Annotated[int, typer.Option(help="Side of the input, pixels; 0 keeps it.")] = 0,
    latency: Annotated[str, typer.Option(help="What `profile` wrote for the target.")] = "",
    activation: Annotated[
        list[str] | None, typer.Option(help="To choose from: relu, silu, hard_swish; repeat it.")
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            metavar="W1,...,W5", help="Of the stages in the score; 0,0,1,1,1 evens the levels."
        ),
    ] = "0,0,1,1,16",
    alternatives: Annotated[int, typer.Option(help="Different good structures beside.")] = 0,
    front: Annotated[str, typer.Option(metavar="COST", help="Also the whole front.")] = "",
    seed: Annotated[int, typer.Option(help="Equal seeds give equal answers.")] = 0,
    train_best: Annotated[
        int,
        typer.Option(
            metavar="K", help="Also train the best K against --like, at its latency, over Ray."
        ),
    ] = 0,
    shards: Annotated[str, typer.Option(help="To train on: what `shard` wrote.")] = "shards",
    plan: Annotated[str, typer.Option(help="To train on: what `balance` wrote.")] = "plan",
    recipe: Annotated[
        str, typer.Option("--config", help="Of the trainings: as that of `train`.")
    ] = "sample/twin",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Override a setting of the trainings."),
    ] = None,
    trainings: Annotated[int, typer.Option(help="Trainings of each, a seed each.", min=1)] = 1,
    as_json: AsJson = False,
) -> None:
    """Find the backbone of highest score within budgets, and tell how far the optimum can be."""
    from damo_yolo.search.budget import parse_budgets
    from damo_yolo.stages.search import Found, SearchConfig, search_backbone

    config = SearchConfig.from_mapping(
        {
            "family": family,
            "like": like,
            "image_size": image_size or None,
            "activations": activation or (),
            "weights": weights.split(","),
            "alternatives": alternatives,
            "front": front,
            "evolution": {"seed": seed},
        },
        source="the command line",
    )
    budgets = parse_budgets(budget)
    if train_best:
        from damo_yolo.recipes.choose import load_config
        from damo_yolo.stages import train_best as stage

        compared = stage.train_best(
            budgets=budgets,
            latency_uri=latency,
            shards_uri=shards,
            plan_uri=plan,
            out_uri=out,
            training=load_config(recipe).with_overrides(overrides or []),
            search=config,
            config=stage.TrainBestConfig(count=train_best, seeds=trainings),
        )
        _show_trained(compared, as_json=as_json)
        return
    result = search_backbone(budgets=budgets, out_uri=out, config=config, latency_uri=latency)

    def line(found: Found) -> str:
        costs = ", ".join(f"{name} {cost:.5g}" for name, cost in found.costs.items())
        return f"score {found.score:.3f} (gap {found.gap:.3%}), {found.activation}, {costs}"

    if not as_json:
        for point in result.front:
            console.print(f"front  {line(point)} -> {point.uri}", markup=False)
        for other in result.alternatives:
            console.print(f"beside {line(other)} -> {other.uri}", markup=False)
        if result.like_score is not None:
            costs = ", ".join(f"{name} {cost:.5g}" for name, cost in result.like_costs.items())
            console.print(f"{result.like}: score {result.like_score:.3f}, {costs}", markup=False)
    show(result, f"best   {line(result.best)} -> {result.best.uri}", as_json=as_json)


def _show_trained(result: "TrainBestResult", *, as_json: bool) -> None:
    if not as_json:
        table = Table()
        table.add_column("backbone")
        for name in ("score", "ms", "GFLOPs", "params M", "AP of each seed", "mean AP", "AP50"):
            table.add_column(name, justify="right")
        for row in result.entrants:
            table.add_row(
                row.name,
                "-" if row.score is None else f"{row.score:.1f}",
                f"{row.ms:.2f}",
                f"{row.gflops:.3f}",
                f"{row.params_m:.3f}",
                " ".join(f"{ap:.3f}" for ap in row.ap),
                f"{row.mean_ap:.3f}",
                f"{sum(row.ap50) / len(row.ap50):.3f}",
            )
        console.print(table)
    first = max(result.entrants, key=lambda row: row.mean_ap)
    sentence = f"{result.steps} steps at {result.image_size} pixels: {first.name} is ahead"
    show(result, f"{sentence}, AP {first.mean_ap:.3f} -> {first.uri}", as_json=as_json)
