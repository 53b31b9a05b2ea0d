"""A training as one trial of Ray Tune: in the trial's own process, reporting after every epoch."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from damo_yolo import storage
from damo_yolo.training.reporter import Record
from damo_yolo.training.run import CHECKPOINT_FOLDER, Launcher, TrainJob, run_training
from damo_yolo.training.state import FILE_NAME

FIGURES = ("step", "epoch", "total", "images_per_s", "ap", "ap50")
"""Of an epoch's record, where it has them; a searcher chooses by `ap` or `total`."""


def run_trial(job: TrainJob, *, wish: Callable[[], int] | None = None) -> None:
    """Train as the trial that calls this; Tune stops it as it likes, between epochs.

    A trial that Tune starts again continues from its last epoch: the checkpoint travels with the
    report, so another machine may take it up.

    Args:
        job: what to train; each trial needs a model folder of its own.
        wish: asked before every step, see `Reporter.wish`; None: never stops by itself.
    """
    from ray import tune  # noqa: PLC0415 - at the edge

    state_uri = storage.join(job.out_uri, CHECKPOINT_FOLDER, FILE_NAME)
    before = tune.get_checkpoint()
    if before:
        with before.as_directory() as folder:
            storage.write_bytes(state_uri, Path(folder, FILE_NAME).read_bytes())

    def report(record: Record) -> None:
        figures = {name: record[name] for name in FIGURES if name in record}
        with TemporaryDirectory() as folder:
            Path(folder, FILE_NAME).write_bytes(storage.read_bytes(state_uri))
            tune.report(figures, checkpoint=tune.Checkpoint.from_directory(folder))

    launcher = Launcher(on_epoch=report, wish=wish) if wish else Launcher(on_epoch=report)
    run_training(job, launcher=launcher)
