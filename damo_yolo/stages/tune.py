"""Search settings of a training, and tell honestly whether any beats the default."""

import hashlib
import json
import logging
import time
from functools import partial

from damo_yolo import storage
from damo_yolo.errors import ConfigError, TrainingError
from damo_yolo.mixing.balance import BalanceConfig
from damo_yolo.recipes.choose import load_config
from damo_yolo.shards.manifest import SUMMARY_FILE
from damo_yolo.stages.balance import TRAIN_FILE, balance
from damo_yolo.stages.train import describe_job
from damo_yolo.stages.tune_measures import measure_of
from damo_yolo.tracking import RunInfo, track
from damo_yolo.training.config import TrainConfig, ValidateConfig
from damo_yolo.training.launch import LaunchConfig
from damo_yolo.training.run import check_split
from damo_yolo.tuning.result import SWEEP_FILE, SweepResult
from damo_yolo.tuning.search import SearchConfig, forget
from damo_yolo.tuning.space import Space, apply, load_space
from damo_yolo.tuning.sweep import Sweep, TuneConfig
from damo_yolo.tuning.trial import MakePlan, TrialSetup

REQUEST_FILE = "request.json"

logger = logging.getLogger(__name__)


def tune_detector(
    *,
    shards_uri: str,
    plan_uri: str,
    out_uri: str,
    config: TrainConfig | str,
    tune: TuneConfig | None = None,
    records_uri: str = "",
    teacher_uri: str = "",
    init_uri: str = "",
    tracking_uri: str = "",
    launch_config: LaunchConfig | None = None,
) -> SweepResult:
    """Sweep to the end; a repeated call continues, or returns the finished result.

    Args:
        shards_uri: folder that the stage `shard` wrote; every trial reads it.
        plan_uri: folder that the stage `balance` wrote.
        out_uri: folder of the sweep to write.
        config: recipe that every trial changes: a configuration, its location or its name.
        tune: what varies, what counts, how long.
        records_uri: folder that the stage `merge` wrote, for a space that samples differently.
        teacher_uri: model folder of the teacher, for a recipe that distils.
        init_uri: weights to start from.
        tracking_uri: MLflow server or SQLite location; empty tracks nothing.
        launch_config: workers of each trial; None: each trial trains in one process of its own.

    Raises:
        ConfigError: space, recipe or objective are wrong.
        TrainingError: the folder holds another sweep, or not even the default could be trained.
    """
    tune = tune or TuneConfig()
    started = time.monotonic()
    recipe = load_config(config) if isinstance(config, str) else config
    space = load_space(tune.space)
    space.check_corners(recipe)
    base = recipe if recipe.validation else _validated(recipe)
    out_uri = storage.absolute(out_uri)
    job = describe_job(
        apply(base, space.default_point(base))[0],
        shards_uri=shards_uri,
        plan_uri=plan_uri,
        out_uri=out_uri,
        teacher_uri=teacher_uri,
        init_uri=init_uri,
    )
    workers = _workers(launch_config, tune.search)
    check_split(job.config, workers.num_workers if workers else 1)
    key = _key(job.run_key, space, tune)
    _claim(out_uri, key)
    if storage.exists(uri := storage.join(out_uri, SWEEP_FILE)):
        logger.info("%s holds the finished sweep", out_uri)
        return SweepResult.from_yaml(storage.read_text(uri), source=uri)
    setup = TrialSetup(
        job=job.model_copy(update={"config": base, "run_key": key}),
        out_uri=out_uri,
        launch=workers,
        make_plan=_plan_maker(space, records_uri),
        measure=measure_of(
            tune.objective,
            shards_uri=job.shards_uri,
            plan_uri=job.plan_uri,
            rare_max=tune.rare_max,
        ),
    )
    info = RunInfo(
        key=key,
        name=f"sweep {tune.space}",
        params={"tune": tune.model_dump(mode="json"), "recipe": recipe.model_dump(mode="json")},
        tags={"model": recipe.model, "kind": "sweep"},
        data_uri=storage.join(job.shards_uri, "train", SUMMARY_FILE),
        data_sha256=job.manifest_sha256,
    )
    with track(info, tracking_uri) as run:
        sweep = Sweep(tune, space, setup, recipe, run, tracking_uri)
        result = sweep.run(started)
        storage.write_text(storage.join(out_uri, SWEEP_FILE), result.model_dump_json(indent=2))
        run.log_text(result.model_dump_json(indent=2), SWEEP_FILE)
        run.set_tags({"verdict": result.verdict})
    forget(out_uri)
    logger.info("%s", result.verdict)
    return result


def _validated(recipe: TrainConfig) -> TrainConfig:
    """Evaluate after every epoch, and take the last weights: the best ones would flatter."""
    return recipe.model_copy(update={"validation": ValidateConfig(deploy="last")})


def _key(run_key: str, space: Space, tune: TuneConfig) -> str:
    values = {"job": run_key, "space": space.model_dump(), "tune": tune.model_dump()}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _claim(out_uri: str, key: str) -> None:
    """Take a folder for a sweep, or find that it is this one's already."""
    uri = storage.join(out_uri, REQUEST_FILE)
    if not storage.exists(uri):
        storage.write_text(uri, json.dumps({"key": key}))
    elif json.loads(storage.read_text(uri))["key"] != key:
        raise TrainingError(
            f"{out_uri} holds a sweep with other settings or other data",
            fix="give this sweep a folder of its own, or remove the old one",
        )


def _workers(config: LaunchConfig | None, search: SearchConfig) -> LaunchConfig | None:
    """Return the workers of each trial; None: each trains in its own process."""
    if config is None or (config.num_workers <= 1 and not config.use_gpu):
        return None
    if search.scheduler == "pbt":
        raise ConfigError(
            "PBT moves trials between checkpoints, which trials of several workers do not report",
            fix="use --scheduler asha, or trials of one process",
        )
    return config.model_copy(update={"num_workers": max(1, config.num_workers)})


def _plan_maker(space: Space, records_uri: str) -> MakePlan | None:
    if not space.samples_differently:
        return None
    if not records_uri:
        raise ConfigError(
            "the space samples differently, but no records are given to plan from",
            fix="name the folder that merge wrote: --records",
        )
    records_uri = storage.absolute(records_uri)
    if not storage.exists(storage.join(records_uri, TRAIN_FILE)):
        raise ConfigError(
            f"{records_uri} holds no records",
            fix="name the folder that merge wrote: --records",
        )
    return partial(_make_plan, records_uri)


def _make_plan(records_uri: str, config: BalanceConfig, plan_uri: str, global_batch: int) -> None:
    balance(records_uri, plan_uri, config=config, global_batch=global_batch)
