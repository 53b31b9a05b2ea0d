"""`damo-yolo tune`: search settings of a training, and compare the best with the default."""

from typing import Annotated

import typer

from damo_yolo.cli.console import AsJson, console, show


def tune(
    shards: Annotated[str, typer.Option(help="Shards that `shard` wrote.")],
    plan: Annotated[str, typer.Option(help="Sample plan that `balance` wrote.")],
    out: Annotated[str, typer.Option(help="Folder of the sweep to write.")],
    space: Annotated[
        str,
        typer.Option(
            help="loss-weights, sampling, distillation, optimizer, deployment, or a YAML file."
        ),
    ] = "loss-weights",
    trials: Annotated[int, typer.Option(help="Points to try, the default among them.")] = 12,
    config: Annotated[
        str, typer.Option(help="Recipe that every trial changes: YAML file, or recipe/role.")
    ] = "sample/twin",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Override a setting of the recipe."),
    ] = None,
    objective: Annotated[str, typer.Option(help="ap, rare-ap or pareto.")] = "ap",
    searcher: Annotated[str, typer.Option(help="tpe, random or nsga2.")] = "tpe",
    scheduler: Annotated[str, typer.Option(help="asha, pbt or none.")] = "asha",
    steps: Annotated[int, typer.Option(help="Steps of a full trial; 0: the recipe's.")] = 0,
    epochs: Annotated[int, typer.Option(help="Epochs of a full trial; 0: the recipe's.")] = 0,
    minutes: Annotated[float, typer.Option(help="Budget of the search; 0: none.")] = 0.0,
    seeds: Annotated[int, typer.Option(help="New seeds for best and default.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the search.")] = 0,
    concurrent: Annotated[int, typer.Option(help="Trials at once; 0: as there is room.")] = 0,
    rare_max: Annotated[int, typer.Option(help="Rare: in at most so many images.")] = 10,
    records: Annotated[str, typer.Option(help="Merged records, for the space sampling.")] = "",
    teacher: Annotated[str, typer.Option(help="Model folder of the teacher.")] = "",
    workers: Annotated[int, typer.Option(help="Ray Train workers of a trial; 0: itself.")] = 0,
    gpu: Annotated[bool, typer.Option(help="One GPU for each worker.")] = False,
    tracking_uri: Annotated[
        str, typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow; empty tracks nothing.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Search settings; a repeated call goes on with the same trials where the last one stopped."""
    from damo_yolo.recipes.choose import load_config
    from damo_yolo.stages.tune import tune_detector
    from damo_yolo.training.launch import launch_config
    from damo_yolo.tuning.sweep import TuneConfig

    length = [f"schedule.max_steps={steps}"] if steps else []
    length += [f"schedule.epochs={epochs}", "schedule.max_steps=null"] if epochs else []
    values = {
        "space": space,
        "objective": objective,
        "seeds": seeds,
        "rare_max": rare_max,
        "search": {
            "trials": trials,
            "searcher": searcher,
            "scheduler": scheduler,
            "minutes": minutes or None,
            "concurrent": concurrent or None,
            "seed": seed,
        },
    }
    result = tune_detector(
        shards_uri=shards,
        plan_uri=plan,
        out_uri=out,
        config=load_config(config).with_overrides([*(overrides or []), *length]),
        tune=TuneConfig.from_mapping(values, source="the options"),
        records_uri=records,
        teacher_uri=teacher,
        tracking_uri=tracking_uri,
        launch_config=launch_config(num_workers=workers, use_gpu=gpu),
    )
    if not as_json:
        for trial in result.trials:
            console.print(trial.to_line(), markup=False)
    show(result, f"{result.verdict}\nrecipe -> {result.recipe_uri}", as_json=as_json)
