"""Search settings of a training before it starts, or leave them as they are."""

from typing import NamedTuple

from components.images import step


@step
def tune_detector(
    shards_uri: str,
    plan_uri: str,
    space: str,
    trials: int,
    steps: int,
    seeds: int,
    model: str,
    recipe: str,
    epochs: int,
    image_size: int,
    seed: int,
    tracking_uri: str,
    workspace: str,
    code_version: str,
) -> NamedTuple("Tuned", [("overrides", str), ("tuning_uri", str)]):  # type: ignore[valid-type]  # KFP reads the live type from the signature
    """Sweep over the student's recipe without a teacher; 0 trials change nothing."""
    if not trials:
        return "", ""
    from damo_yolo.artifacts import output_uri
    from damo_yolo.recipes.choose import choose_recipe
    from damo_yolo.stages.tune import tune_detector
    from damo_yolo.tuning.sweep import TuneConfig

    config = choose_recipe(
        recipe, role="twin", model=model, epochs=epochs, image_size=image_size, seed=seed
    )
    config = config.with_overrides([f"schedule.max_steps={steps}"] if steps else [])
    tune = TuneConfig.from_mapping(
        {"space": space, "seeds": seeds, "search": {"trials": trials, "seed": seed}}
    )
    out_uri = output_uri(
        workspace,
        "sweep",
        config=config.model_dump(),
        tune=tune.model_dump(),
        shards=shards_uri,
        plan=plan_uri,
        code=code_version,
    )
    result = tune_detector(
        shards_uri=shards_uri,
        plan_uri=plan_uri,
        out_uri=out_uri,
        config=config,
        tune=tune,
        tracking_uri=tracking_uri,
    )
    return " ".join(result.overrides), out_uri
