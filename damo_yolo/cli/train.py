"""`damo-yolo train`: one detector, alone or taught by another."""

from typing import Annotated

import typer

from damo_yolo.cli.console import AsJson, show


def train(
    shards: Annotated[str, typer.Option(help="Shards that `shard` wrote.")],
    plan: Annotated[str, typer.Option(help="Sample plan that `balance` wrote.")],
    out: Annotated[str, typer.Option(help="Model folder to write.")],
    config: Annotated[
        str, typer.Option(help="YAML file, or recipe/role: sample/student, published/teacher.")
    ] = "sample/student",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Override a setting, dotted."),
    ] = None,
    teacher: Annotated[str, typer.Option(help="Model folder of the teacher.")] = "",
    workers: Annotated[int, typer.Option(help="Training processes; 0: this one.")] = 2,
    gpu: Annotated[bool, typer.Option(help="One GPU for each training process.")] = False,
    loader_processes: Annotated[
        int, typer.Option(help="Decoding processes beside each training process.")
    ] = 0,
    rayjob: Annotated[
        str, typer.Option(help="Train on Kubernetes: YAML of the RayJob, or where it lies.")
    ] = "",
    tracking_uri: Annotated[
        str, typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow; empty tracks nothing.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Train a detector; a repeated call continues where the last one stopped."""
    from damo_yolo.recipes.choose import load_config
    from damo_yolo.stages.train import train_detector
    from damo_yolo.training.launch import launch_config

    result = train_detector(
        shards_uri=shards,
        plan_uri=plan,
        out_uri=out,
        config=load_config(config).with_overrides(overrides or []),
        teacher_uri=teacher,
        tracking_uri=tracking_uri,
        launch_config=launch_config(
            num_workers=workers, use_gpu=gpu, loader_processes=loader_processes, rayjob=rayjob
        ),
    )
    show(
        result,
        f"{result.model}: {result.steps} steps, {result.images_per_s:.1f} images/s -> {out}",
        as_json=as_json,
    )
