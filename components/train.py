"""Train one detector, alone or taught by another."""

from kfp import dsl

from components.images import step


@step
def train_detector(
    shards_uri: str,
    plan_uri: str,
    role: str,
    model: str,
    recipe: str,
    epochs: int,
    image_size: int,
    workers: int,
    seed: int,
    overrides: str,
    teacher_uri: str,
    tracking_uri: str,
    rayjob: str,
    workspace: str,
    code_version: str,
    checkpoint: dsl.Output[dsl.Model],
) -> str:
    """Train by a named recipe and what a sweep found; epochs or image size 0 keep the recipe's."""
    from damo_yolo.artifacts import output_uri
    from damo_yolo.recipes.choose import choose_recipe
    from damo_yolo.stages.train import train_detector
    from damo_yolo.training.launch import launch_config

    config = choose_recipe(
        recipe, role=role, model=model, epochs=epochs, image_size=image_size, seed=seed
    ).with_overrides(overrides.split())
    checkpoint.uri = output_uri(
        workspace,
        role,
        config=config.model_dump(),
        shards=shards_uri,
        plan=plan_uri,
        teacher=teacher_uri,
        workers=workers,
        code=code_version,
    )
    result = train_detector(
        shards_uri=shards_uri,
        plan_uri=plan_uri,
        out_uri=checkpoint.uri,
        config=config,
        teacher_uri=teacher_uri,
        tracking_uri=tracking_uri,
        run_name=role,
        launch_config=launch_config(num_workers=workers, rayjob=rayjob),
    )
    checkpoint.metadata["sha256"] = result.model_sha256
    return str(checkpoint.uri)
