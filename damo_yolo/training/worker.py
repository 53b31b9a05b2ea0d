"""What Ray runs on every worker: Ray at the edges, the loop inside."""

from typing import Any

from damo_yolo.errors import ConfigError, DamoYoloError, TrainingError
from damo_yolo.training.ranks import LostRankError
from damo_yolo.training.reporter import PausedError, Record
from damo_yolo.training.run import Launcher, TrainJob, run_training
from damo_yolo.training.stop import StopWish, is_asked_to_stop


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
    rank, job = context.get_world_rank(), TrainJob.from_mapping(values)
    try:
        run_training(
            job,
            rank=rank,
            world_size=context.get_world_size(),
            device=ray.train.torch.get_device(),
            launcher=Launcher(on_epoch=_report, wish=StopWish(job.out_uri, rank=rank)),
        )
    except LostRankError:
        raise
    except PausedError as error:
        if is_asked_to_stop(job.out_uri):
            return error
        raise  # a worker is taken away: the others go on with a new one
    except (ConfigError, TrainingError) as error:
        return error
    return None


def _report(record: Record) -> None:
    import ray.train  # noqa: PLC0415

    ray.train.report({name: record[name] for name in ("step", "epoch", "total", "images_per_s")})
