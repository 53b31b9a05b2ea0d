"""Train a chain of detectors, each taught by the one before."""

from collections.abc import Sequence

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.recipes.chain import Link
from damo_yolo.stages.train import TrainResult, train_detector
from damo_yolo.training.launch import LaunchConfig


class ChainResult(Config):
    """What a chain made, first teacher first."""

    trainings: tuple[TrainResult, ...]


def train_chain(
    links: Sequence[Link],
    *,
    shards_uri: str,
    plan_uri: str,
    out_uri: str,
    init_uri: str = "",
    tracking_uri: str = "",
    launch_config: LaunchConfig | None = None,
) -> ChainResult:
    """Train all links; a repeated call passes by the finished ones and continues the next.

    Args:
        links: from `plan_chain`.
        shards_uri: folder that the stage `shard` wrote.
        plan_uri: folder that the stage `balance` wrote.
        out_uri: folder to write: one model folder a link.
        init_uri: weights that the first link starts from.
        tracking_uri: MLflow server or SQLite location; empty tracks nothing.
        launch_config: where each training runs.

    Raises:
        ConfigError: a configuration is wrong.
        TrainingError: a training cannot go on.
    """
    trainings: list[TrainResult] = []
    for link in links:
        teacher_uri = storage.join(out_uri, link.teacher) if link.teacher else ""
        result = train_detector(
            shards_uri=shards_uri,
            plan_uri=plan_uri,
            out_uri=storage.join(out_uri, link.name),
            config=link.config,
            teacher_uri=teacher_uri,
            init_uri="" if trainings else init_uri,
            tracking_uri=tracking_uri,
            run_name=link.name,
            launch_config=launch_config,
        )
        trainings.append(result)
    return ChainResult(trainings=tuple(trainings))
