"""From several datasets to one promoted detector.

catalog -> check -> merge -> balance -> shard -> [tune] -> teacher -> student -> evaluate -> export
-> register -> promote -> report

    kfp-run pipelines/general_class.py                       # this machine
    kfp-run pipelines/general_class.py --endpoint URL --set workspace=s3://bucket/runs
"""

from typing import cast

from kfp import dsl

from components import evaluate as evaluate_step
from components import export as export_step
from components import promote as promote_step
from components import register as register_step
from components import report as report_step
from components import train as train_step
from components import tune as tune_step
from pipelines.preparation import prepare_data
from pipelines.resources import LARGE, SMALL, sized


@dsl.pipeline(name="general-class", description="From several datasets to one promoted detector")
def general_class(
    catalog: str = "sample",
    workspace: str = "runs/general_class",
    registered_model: str = "general-class",
    recipe: str = "sample",
    teacher: str = "damo-yolo-nm",
    student: str = "damo-yolo-ns",
    epochs: int = 0,
    image_size: int = 0,
    workers: int = 2,
    global_batch: int = 8,
    size_power: float = 0.5,
    seed: int = 0,
    min_ap50: float = 0.3,
    tracking_uri: str = "",
    rayjob: str = "",
    tune_trials: int = 0,
    tune_steps: int = 0,
) -> str:
    """Merge, balance, shard, train, distil, evaluate, export, register, promote, report.

    Args:
        catalog: location of a catalog file, or 'sample' for the embedded datasets.
        workspace: folder or s3:// prefix of everything this pipeline writes.
        registered_model: name in the model registry.
        recipe: 'sample' (minutes on a CPU) or 'published' (the report's schedule).
        teacher: size of the teacher.
        student: size of the student.
        epochs: 0 keeps the recipe's.
        image_size: side of the network input in pixels; 0 keeps the recipe's.
        workers: training processes.
        global_batch: images of one optimisation step over all workers.
        size_power: a dataset weighs size ** size_power: 1 keeps raw sizes, 0 makes all equal.
        seed: of the embedded data and of training.
        min_ap50: gate: AP50 below it never becomes champion.
        tracking_uri: MLflow; empty keeps an SQLite file in the workspace.
        rayjob: YAML of a RayJob, or its location: training gets a Ray cluster of its own.
        tune_trials: points of a sweep over the loss weights before the student, which takes what
            is proven better; 0 trains with the recipe's.
        tune_steps: length of a trial; 0: the recipe's.
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

    tuned = sized(
        tune_step.tune_detector(
            shards_uri=shards,
            plan_uri=plan,
            space="loss-weights",
            trials=tune_trials,
            steps=tune_steps,
            seeds=3,
            model=student,
            recipe=recipe,
            epochs=epochs,
            image_size=image_size,
            seed=seed,
            **tracked,
            **run,
        ),
        LARGE,
    )

    def train(role: str, model: str, teacher_uri: str, overrides: object = "") -> dsl.PipelineTask:
        task = train_step.train_detector(
            shards_uri=shards,
            plan_uri=plan,
            role=role,
            model=model,
            recipe=recipe,
            epochs=epochs,
            image_size=image_size,
            workers=workers,
            seed=seed,
            overrides=overrides,
            teacher_uri=teacher_uri,
            rayjob=rayjob,
            **tracked,
            **run,
        )
        return sized(task.set_display_name(f"train {role}"), LARGE)

    def evaluate(role: str, model_uri: str) -> dsl.PipelineTask:
        witness = {"plan_uri": plan} if role == "student" else {}
        task = evaluate_step.evaluate_model(
            model_uri=model_uri,
            shards_uri=shards,
            catalog_uri=data.catalog_uri,
            **witness,
            **run,
        )
        return sized(task.set_display_name(f"evaluate {role}"), LARGE)

    trained = {"teacher": train("teacher", teacher, "")}
    teacher_uri = trained["teacher"].outputs["Output"]
    trained["student"] = train("student", student, teacher_uri, tuned.outputs["overrides"])
    trained["twin"] = train("twin", student, "", tuned.outputs["overrides"])
    model_uris = {role: task.outputs["Output"] for role, task in trained.items()}
    metrics_uris = {role: evaluate(role, uri).outputs["Output"] for role, uri in model_uris.items()}
    exported = sized(
        export_step.export_detector(
            model_uri=model_uris["student"], shards_uri=shards, plan_uri=plan, **run
        ),
        LARGE,
    )
    export = exported.outputs["Output"]
    registered = register_step.register_model(
        name=registered_model,
        model_uri=model_uris["student"],
        evaluation_uri=metrics_uris["student"],
        export_uri=export,
        shards_uri=shards,
        **tracked,
        **run,
    )
    version = sized(registered, SMALL).outputs["Output"]
    promoted = promote_step.promote_model(
        version_uri=version,
        export_uri=export,
        shards_uri=shards,
        min_ap50=min_ap50,
        workspace=workspace,
    )
    promoted.set_caching_options(enable_caching=False)  # the reigning champion may have changed
    report = report_step.write_report(
        records_uri=data.records,
        plan_uri=plan,
        shards_uri=shards,
        tuning_uri=tuned.outputs["tuning_uri"],
        **{f"{role}_uri": uri for role, uri in model_uris.items()},
        **{f"{role}_evaluation_uri": uri for role, uri in metrics_uris.items()},
        export_uri=export,
        version_uri=version,
        promotion_uri=sized(promoted, SMALL).outputs["Output"],
        workspace=workspace,
    )
    report.set_caching_options(enable_caching=False)  # it says who is champion now
    return cast("str", sized(report, SMALL).outputs["Output"])
