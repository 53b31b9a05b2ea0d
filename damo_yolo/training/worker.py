"""What Ray runs on every worker: Ray at the edges, the loop inside."""

from typing import Any

from damo_yolo.errors import ConfigError, DamoYoloError, TrainingError
from damo_yolo.training.loop import Record
from damo_yolo.training.run import TrainJob, run_training


def train_loop_per_worker(values: dict[str, Any]) -> DamoYoloError | None:
    """Train this worker's rank, continuing from the checkpoint in the model folder.

    Checkpoints are the training's own: rank 0 writes them where every rank reads them, so a worker
    that died, a job that was sent again and a run without Ray continue alike.

    Args:
        values: a `TrainJob` as plain values.

    Returns:
        What every rank found wrong alike, handed back rather than raised: another attempt would
        find the same. Any other error is raised, and Ray starts the workers again.
    """
    import ray.train.torch  # noqa: PLC0415 - needed by nobody who imports this file

    context = ray.train.get_context()
    try:
        run_training(
            TrainJob.from_mapping(values),
            rank=context.get_world_rank(),
            world_size=context.get_world_size(),
            device=ray.train.torch.get_device(),
            on_epoch=_report,
        )
    except (ConfigError, TrainingError) as error:
        return error
    return None


def _report(record: Record) -> None:
    import ray.train  # noqa: PLC0415

    ray.train.report({name: record[name] for name in ("step", "epoch", "total", "images_per_s")})
