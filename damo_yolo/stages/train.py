"""Train one detector, alone or taught by another."""

import hashlib
import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.errors import ConfigError, TrainingError
from damo_yolo.mixing.plan import PLAN_FILE
from damo_yolo.models.zoo import is_detector_file, short_name
from damo_yolo.recipes.choose import load_config
from damo_yolo.shards.manifest import SUMMARY_FILE, read_summary
from damo_yolo.tracking import RunInfo, track
from damo_yolo.training.config import TrainConfig
from damo_yolo.training.launch import CONFIG_FILE, LaunchConfig, launch
from damo_yolo.training.progress import FILE_NAME as METRICS_FILE
from damo_yolo.training.progress import Record, following, progress, read_metrics
from damo_yolo.training.run import MODEL_FILE, TrainJob

RESULT_FILE = "result.json"
EPOCH_FIGURES = ("kind", "step", "time", "memory_mib", "ap", "ap50", "broken")
LOCAL_PERIOD_S, REMOTE_PERIOD_S = 2.0, 15.0
"""Between two looks at the metrics of a running training."""

logger = logging.getLogger(__name__)


class TrainResult(Config):
    """What a training made; `result.json` of its model folder."""

    model_uri: str
    """Folder with `model.pt`, `metrics.jsonl` and `checkpoint/`."""
    model: str
    model_sha256: str
    """Of `model.pt`."""
    run_key: str
    """Hash of configuration, data and teacher."""
    steps: int
    """Taken; fewer than the schedule's when the run stopped early."""
    best_ap: float | None = None
    """On the validation shards, where the configuration validates on the way."""
    best_step: int | None = None
    broken_images: int = 0
    """That could not be decoded; `metrics.jsonl` counts, the log names them."""
    seconds: float
    """Spent in steps, over all attempts."""
    images_per_s: float
    losses: dict[str, float]
    """Means over the last epoch."""
    teacher_uri: str = ""
    init_uri: str = ""
    tracking_run_id: str = ""
    """Of the MLflow run; empty when nothing was tracked."""


def train_detector(
    *,
    shards_uri: str,
    plan_uri: str,
    out_uri: str,
    config: TrainConfig | str,
    teacher_uri: str = "",
    init_uri: str = "",
    tracking_uri: str = "",
    run_name: str = "",
    num_workers: int = 2,
    launch_config: LaunchConfig | None = None,
) -> TrainResult:
    """Train to the end of the schedule; a repeated call continues, or returns the finished result.

    Args:
        shards_uri: folder that the stage `shard` wrote.
        plan_uri: folder that the stage `balance` wrote.
        out_uri: model folder to write; one training each.
        config: what to train, or the location of its YAML, or `recipe/role`, e.g. `sample/student`.
        teacher_uri: model folder of the teacher, for a configuration that distils.
        init_uri: weights to start from, by class name: a model folder or a published checkpoint.
        tracking_uri: MLflow server or SQLite location; empty tracks nothing.
        run_name: of the MLflow run; empty: the model's name.
        num_workers: ranks; 0 trains in this process, without Ray.
        launch_config: where it runs, in place of `num_workers`.

    Raises:
        ConfigError: the configuration is wrong.
        TrainingError: the folder holds another training, or training cannot go on.
    """
    config = load_config(config) if isinstance(config, str) else config
    job = describe_job(
        config,
        shards_uri=shards_uri,
        plan_uri=plan_uri,
        out_uri=out_uri,
        teacher_uri=teacher_uri,
        init_uri=init_uri,
    )
    finished = _read_finished(job)
    if finished:
        logger.info("%s is trained already", out_uri)
        return finished
    config = job.config
    storage.write_text(storage.join(out_uri, CONFIG_FILE), config.to_yaml())
    info = RunInfo(
        key=job.run_key,
        name=run_name or short_name(config.model),
        params=config.model_dump(mode="json"),
        tags={"model": short_name(config.model), "teacher": teacher_uri},
        data_uri=storage.join(shards_uri, "train", SUMMARY_FILE),
        data_sha256=job.manifest_sha256,
    )
    with ExitStack() as stack:
        run = stack.enter_context(track(info, tracking_uri))

        def log_steps(records: Sequence[Record]) -> None:
            run.log_metrics([_for_tracking(record) for record in records])

        sinks = [stack.enter_context(progress()), log_steps]
        period_s = REMOTE_PERIOD_S if storage.is_remote(out_uri) else LOCAL_PERIOD_S
        stack.enter_context(following(out_uri, sinks, period_s=period_s))
        launch(job, launch_config or LaunchConfig(num_workers=num_workers))
    result = _summarise(job, tracking_run_id=run.run_id)
    storage.write_text(storage.join(out_uri, RESULT_FILE), result.model_dump_json(indent=2))
    return result


def _for_tracking(record: Record) -> Record:
    """Return what a tracker takes: of an epoch only what its last step did not tell."""
    if record["kind"] == "step":
        return record
    return {name: record[name] for name in EPOCH_FIGURES if name in record}


def describe_job(
    config: TrainConfig,
    *,
    shards_uri: str,
    plan_uri: str,
    out_uri: str,
    teacher_uri: str,
    init_uri: str,
) -> TrainJob:
    """Return the job that these inputs make, known by the hash of all of them.

    Raises:
        TrainingError: configuration and teacher do not fit together.
        StorageError: an input is missing.
    """
    shards_uri, plan_uri, out_uri, teacher_uri, init_uri = map(
        storage.absolute, (shards_uri, plan_uri, out_uri, teacher_uri, init_uri)
    )
    _check_teacher(config, teacher_uri)
    manifest = read_summary(storage.join(shards_uri, "train"))
    teacher = storage.sha256(_model_file(teacher_uri)) if teacher_uri else ""
    settings = config.model_dump(mode="json")
    if is_detector_file(config.model):  # what it holds matters, not where it lies
        settings["model"] = storage.sha256(config.model)
        config = config.model_copy(update={"model": storage.absolute(config.model)})
    inputs = {
        "config": settings,
        "manifest": manifest.sha256,
        "plan": storage.sha256(storage.join(plan_uri, PLAN_FILE)),
        "teacher": teacher,
    }
    if init_uri:
        inputs["init"] = storage.sha256(_model_file(init_uri))
    text = json.dumps(inputs, sort_keys=True)
    return TrainJob(
        config=config,
        shards_uri=shards_uri,
        plan_uri=plan_uri,
        out_uri=out_uri,
        teacher_uri=teacher_uri,
        init_uri=init_uri,
        run_key=hashlib.sha256(text.encode()).hexdigest(),
        manifest_sha256=manifest.sha256,
    )


def _check_teacher(config: TrainConfig, teacher_uri: str) -> None:
    if config.distill and not teacher_uri:
        raise TrainingError(
            "the configuration distils, but no teacher is given",
            fix="name a trained model folder as teacher, or set distill to null",
        )
    if teacher_uri and not config.distill:
        raise ConfigError(
            f"the teacher {teacher_uri} is given, but the configuration does not distil",
            fix="set distill in the configuration, or name no teacher",
        )


def _model_file(uri: str) -> str:
    return uri if uri.endswith((".pt", ".pth")) else storage.join(uri, MODEL_FILE)


def _read_finished(job: TrainJob) -> TrainResult | None:
    uri = storage.join(job.out_uri, RESULT_FILE)
    if not storage.exists(uri):
        return None
    result = TrainResult.from_yaml(storage.read_text(uri), source=uri)  # JSON is YAML
    if result.run_key != job.run_key:
        raise TrainingError(
            f"{job.out_uri} holds a training with another configuration or other data",
            fix="give this training a folder of its own, or remove the old one",
        )
    is_whole = storage.sha256(_model_file(job.out_uri)) == result.model_sha256
    return result if is_whole else None


def _summarise(job: TrainJob, *, tracking_run_id: str) -> TrainResult:
    last = read_metrics(job.out_uri)[-1]
    assert last["kind"] == "epoch", f"{METRICS_FILE} ends with a finished epoch"
    names = ("total", "qfl", "giou", "dfl", "distill", "num_foreground")
    return TrainResult(
        model_uri=job.out_uri,
        model=short_name(job.config.model),
        model_sha256=storage.sha256(_model_file(job.out_uri)),
        run_key=job.run_key,
        steps=last["step"],
        seconds=last["seconds"],
        images_per_s=last["images_per_s"],
        losses={name: last[name] for name in names},
        teacher_uri=job.teacher_uri,
        init_uri=job.init_uri,
        **_validated(job),
        broken_images=last.get("broken", 0),
        tracking_run_id=tracking_run_id,
    )


def _validated(job: TrainJob) -> dict[str, Any]:
    """Return AP and step of the best evaluation on the way, if there was one."""
    found = [record for record in read_metrics(job.out_uri) if "ap" in record]
    if not found:
        return {}
    best = max(found, key=lambda record: record["ap"])
    return {"best_ap": best["ap"], "best_step": best["step"]}
