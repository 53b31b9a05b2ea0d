"""`damo-yolo compare`: is model A better than model B?"""

from typing import Annotated

import typer

from damo_yolo.cli.console import AsJson, show


def compare(
    a: Annotated[str, typer.Argument(help="Folder that `evaluate` wrote for model A.")],
    b: Annotated[str, typer.Argument(help="The same for model B.")],
    shards: Annotated[str, typer.Option(help="Shards that both were evaluated on.")],
    out: Annotated[str, typer.Option(help="Folder for comparison.json.")] = "",
    draws: Annotated[int, typer.Option(help="Sets of images drawn again.", min=100)] = 1000,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Compare two evaluated models on the same images, with a 95 % interval."""
    from damo_yolo.evaluation.bootstrap import BootstrapConfig
    from damo_yolo.stages.compare import compare_models

    config = BootstrapConfig(num_draws=draws, seed=seed)
    result = compare_models(a, b, shards_uri=shards, out_uri=out, config=config)
    lines = []
    for name, found in ((result.headline_name, result.headline), *result.datasets.items()):
        for figure, item in (("AP", found.ap), ("AP50", found.ap50)):
            lines.append(
                f"{name} {figure}: {item.a:.3f} and {item.b:.3f}, difference {item.difference:+.3f}"
                f" (95 % from {item.low:+.3f} to {item.high:+.3f}): {item.verdict}"
            )
    show(result, "\n".join(lines), as_json=as_json)
