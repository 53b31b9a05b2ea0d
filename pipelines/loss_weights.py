"""Which loss weights suit these datasets, and a challenger trained with the answer.

catalog -> check -> merge -> balance -> shard -> tune -> train -> evaluate -> export -> register
-> report

    kfp-run pipelines/loss_weights.py --set trials=12 --set steps=300
"""

from typing import cast

from kfp import dsl

from components import evaluate as evaluate_step
from components import export as export_step
from components import register as register_step
from components import report as report_step
from components import train as train_step
from components import tune as tune_step
from pipelines.preparation import prepare_data
from pipelines.resources import LARGE, SMALL, sized


@dsl.pipeline(name="loss-weights", description="Tune the loss weights, train with the answer")
def loss_weights(
    catalog: str = "sample",
    workspace: str = "runs/loss_weights",
    registered_model: str = "general-class",
    recipe: str = "sample",
    model: str = "damo-yolo-ns",
    space: str = "loss-weights",
    trials: int = 12,
    steps: int = 300,
    seeds: int = 3,
    epochs: int = 0,
    image_size: int = 0,
    workers: int = 2,
    global_batch: int = 8,
    size_power: float = 0.5,
    seed: int = 0,
    tracking_uri: str = "",
    rayjob: str = "",
) -> str:
    """Merge, balance, shard, tune, train with what is proven better, register as challenger.

    Args:
        catalog: location of a catalog file, or 'sample' for the embedded datasets.
        workspace: folder or s3:// prefix of everything this pipeline writes.
        registered_model: name in the model registry.
        recipe: 'sample' (minutes on a CPU) or 'published' (the report's schedule).
        model: size of the detector.
        space: shipped name or YAML of what varies; only settings of a training are fed on.
        trials: points of the sweep, the default among them.
        steps: length of a trial; 0: the recipe's.
        seeds: new seeds with which best and default are compared.
        epochs: of the final training; 0 keeps the recipe's.
        image_size: side of the network input in pixels; 0 keeps the recipe's.
        workers: processes of the final training.
        global_batch: images of one optimisation step over all workers.
        size_power: a dataset weighs size ** size_power: 1 keeps raw sizes, 0 makes all equal.
        seed: of the embedded data, the search and the training.
        tracking_uri: MLflow; empty keeps an SQLite file in the workspace.
        rayjob: YAML of a RayJob, or its location: the final training gets a cluster of its own.
    """
    data = prepare_data(
        catalog=catalog,
        workspace=workspace,
        seed=seed,
        tracking_uri=tracking_uri,
        size_power=size_power,
        global_batch=global_batch,
    )
    run, tracked, plan, shards = data.run, data.tracked, data.plan, data.shards
    recipe_of = {
        "model": model,
        "recipe": recipe,
        "epochs": epochs,
        "image_size": image_size,
        "seed": seed,
    }
    tuned = tune_step.tune_detector(
        shards_uri=shards,
        plan_uri=plan,
        space=space,
        trials=trials,
        steps=steps,
        seeds=seeds,
        **recipe_of,
        **tracked,
        **run,
    )
    sized(tuned, LARGE)
    trained = train_step.train_detector(
        shards_uri=shards,
        plan_uri=plan,
        role="twin",
        workers=workers,
        overrides=tuned.outputs["overrides"],
        teacher_uri="",
        rayjob=rayjob,
        **recipe_of,
        **tracked,
        **run,
    )
    model_uri = sized(trained.set_display_name("train with the answer"), LARGE).outputs["Output"]
    evaluated = evaluate_step.evaluate_model(model_uri=model_uri, shards_uri=shards, **run)
    exported = export_step.export_detector(
        model_uri=model_uri, shards_uri=shards, plan_uri=plan, **run
    )
    evaluation = sized(evaluated, LARGE).outputs["Output"]
    export = sized(exported, LARGE).outputs["Output"]
    registered = register_step.register_model(
        name=registered_model,
        model_uri=model_uri,
        evaluation_uri=evaluation,
        export_uri=export,
        shards_uri=shards,
        **tracked,
        **run,
    )
    report = report_step.write_report(
        records_uri=data.records,
        plan_uri=plan,
        shards_uri=shards,
        tuning_uri=tuned.outputs["tuning_uri"],
        teacher_uri="",
        student_uri="",
        twin_uri=model_uri,
        teacher_evaluation_uri="",
        student_evaluation_uri="",
        twin_evaluation_uri=evaluation,
        export_uri=export,
        version_uri=sized(registered, SMALL).outputs["Output"],
        promotion_uri="",
        workspace=workspace,
    )
    return cast("str", sized(report, SMALL).outputs["Output"])
