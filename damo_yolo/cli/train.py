"""`damo-yolo train`: one detector, alone or taught by another, or a chain of them."""

from typing import TYPE_CHECKING, Annotated

import typer

from damo_yolo.cli.console import AsJson, show

if TYPE_CHECKING:
    from damo_yolo.training.launch import LaunchConfig


def train(
    config: Annotated[
        str,
        typer.Option(
            help="YAML file, or a name that `damo-yolo recipe list` prints; with --chain also "
            "'published' or 'sample'."
        ),
    ] = "sample/student",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Override a setting, dotted."),
    ] = None,
    activation: Annotated[
        str, typer.Option(help="silu, hard_swish or relu in place of the size's own.")
    ] = "",
    shards: Annotated[str, typer.Option(help="Shards that `shard` wrote.")] = "shards",
    plan: Annotated[str, typer.Option(help="Sample plan that `balance` wrote.")] = "plan",
    out: Annotated[
        str, typer.Option(help="Model folder to write; empty: models/ and the model's name.")
    ] = "",
    teacher: Annotated[str, typer.Option(help="Model folder of the teacher.")] = "",
    init: Annotated[
        str,
        typer.Option(help="Start from these weights, by class name: a model folder, .pt or .pth."),
    ] = "",
    chain: Annotated[
        str,
        typer.Option(help="Train several, each teaching the next: damo-yolo-l,damo-yolo-m,..."),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option(help="Check data, loss, memory and time; train nothing.")
    ] = False,
    reproduce: Annotated[
        str, typer.Option(help="Compute a step again whose loss was not finite: its file.")
    ] = "",
    workers: Annotated[int, typer.Option(help="Training processes; 0: this one.")] = 2,
    min_workers: Annotated[
        int | None, typer.Option(help="Go on with as few while machines are away.")
    ] = None,
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
    if reproduce:
        _reproduce(reproduce, as_json=as_json)
        return
    from damo_yolo.training.launch import launch_config

    launcher = launch_config(
        num_workers=workers,
        min_workers=min_workers,
        use_gpu=gpu,
        loader_processes=loader_processes,
        rayjob=rayjob,
    )
    data = {"shards_uri": shards, "plan_uri": plan, "init_uri": init}
    overrides = [*(overrides or []), *([f"activation={activation}"] if activation else [])]
    if chain:
        _chain(
            chain.split(","),
            config,
            overrides,
            data | {"out_uri": out or "models/chain"},
            launcher=launcher,
            tracking_uri=tracking_uri,
            as_json=as_json,
        )
        return
    from damo_yolo.models.zoo import short_name
    from damo_yolo.recipes.choose import load_config
    from damo_yolo.stages.train import train_detector

    settings = load_config(config).with_overrides(overrides)
    out = out or f"models/{short_name(settings.model)}"
    places = data | {"out_uri": out, "teacher_uri": teacher}
    if dry_run:
        _dry_run(settings, places, launcher=launcher, as_json=as_json)
        return
    result = train_detector(
        shards_uri=shards,
        plan_uri=plan,
        out_uri=out,
        config=settings,
        teacher_uri=teacher,
        init_uri=init,
        tracking_uri=tracking_uri,
        launch_config=launcher,
    )
    best = f", AP {result.best_ap:.3f} at step {result.best_step}" if result.best_step else ""
    show(
        result,
        f"{result.model}: {result.steps} steps, {result.images_per_s:.1f} images/s{best} -> {out}",
        as_json=as_json,
    )


def _chain(
    models: list[str],
    recipe: str,
    overrides: list[str],
    places: dict[str, str],
    *,
    launcher: "LaunchConfig",
    tracking_uri: str,
    as_json: bool,
) -> None:
    from damo_yolo.recipes.chain import plan_chain
    from damo_yolo.stages.chain import train_chain

    links = plan_chain([model.strip() for model in models], recipe, overrides)
    result = train_chain(links, **places, tracking_uri=tracking_uri, launch_config=launcher)
    lines = [
        f"{item.model}: {item.steps} steps, loss {item.losses['total']:.3f} -> {item.model_uri}"
        for item in result.trainings
    ]
    show(result, "\n".join(lines), as_json=as_json)


def _dry_run(
    settings: object, places: dict[str, str], *, launcher: "LaunchConfig", as_json: bool
) -> None:
    from damo_yolo.stages.dry_run import dry_run
    from damo_yolo.training.config import TrainConfig

    assert isinstance(settings, TrainConfig)
    result = dry_run(
        **places,
        config=settings,
        use_gpu=launcher.use_gpu,
        num_workers=max(launcher.num_workers, 1),
        loader_processes=launcher.loader_processes,
    )
    size, steps = f"{result.num_parameters / 1e6:.2f} M", result.total_steps
    found = "; ".join(result.problems) or "as random weights should give"
    found = found if result.expected else "from trained weights"
    pace = f"{result.step_s:.2f} s a step ({result.data_s:.2f} s of it for data)"
    lines = [
        f"{result.model}: {size} parameters, {result.num_classes} classes, {steps} steps",
        f"first batch: {len(result.keys)} images, {result.num_objects} objects",
        f"its picture: {result.picture_uri}",
        f"loss at step 0: {result.losses['total']:.3f}, {found}",
        f"one process: {pace}, {result.hours:.2f} h in all",
        f"memory: {result.memory_mib:.0f} MiB; a checkpoint: {result.checkpoint_mib:.0f} MiB",
    ]
    show(result, "\n".join(lines), as_json=as_json)


def _reproduce(uri: str, *, as_json: bool) -> None:
    from damo_yolo.training.failure import reproduce_step

    result = reproduce_step(uri)
    now, then = result.losses["total"], result.losses_then["total"]
    alone = f" (alone not finite: {', '.join(result.suspects)})" if result.suspects else ""
    lines = [
        f"step {result.step}: loss {now:.4g} now, {then:.4g} in the training",
        f"images: {', '.join(result.keys)}{alone}",
        f"first layer that is not finite: {result.first_bad_module or 'none'}",
        f"gradients that are not finite: {len(result.bad_gradients)}",
    ]
    show(result, "\n".join(lines), as_json=as_json)
