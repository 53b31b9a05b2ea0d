"""`damo-yolo search`: a backbone for the user's own budget."""

from typing import Annotated

import typer

from damo_yolo.cli.console import AsJson, console, show


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
    alternatives: Annotated[int, typer.Option(help="Different good structures beside.")] = 0,
    front: Annotated[str, typer.Option(metavar="COST", help="Also the whole front.")] = "",
    seed: Annotated[int, typer.Option(help="Equal seeds give equal answers.")] = 0,
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
            "alternatives": alternatives,
            "front": front,
            "evolution": {"seed": seed},
        },
        source="the command line",
    )
    result = search_backbone(
        budgets=parse_budgets(budget), out_uri=out, config=config, latency_uri=latency
    )

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
