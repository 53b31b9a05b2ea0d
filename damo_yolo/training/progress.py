"""`metrics.jsonl` for machines, `train.log` for people.

Rank 0 of a training writes them; the stage's process reads the first while it grows.
"""

import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from damo_yolo import storage
from damo_yolo.training.seen import NAMED

FILE_NAME = "metrics.jsonl"
LOG_NAME = "train.log"
PARTS_OF_LOSS = ("qfl", "giou", "dfl", "distill")
Record = dict[str, Any]
Sink = Callable[[Sequence[Record]], None]

logger = logging.getLogger(__name__)


class MetricsLog:
    """Lines of metrics in a folder; lines after the step a run continues from are taken back."""

    def __init__(self, folder_uri: str, *, start_step: int) -> None:
        """Keep the lines of the first `start_step` steps of an earlier attempt.

        Args:
            folder_uri: model folder.
            start_step: updates done when this attempt starts.
        """
        self._uri = storage.join(folder_uri, FILE_NAME)
        self._log_uri = storage.join(folder_uri, LOG_NAME)
        kept = [line for line in read_metrics(folder_uri) if line["step"] <= start_step]
        self._text = "".join(_line(record) for record in kept)
        self._log = "".join(_log_line(record) for record in kept if record["kind"] == "epoch")
        storage.write_text(self._uri, self._text)
        self._waits = False

    def add(self, record: Record) -> None:
        """Append a line and show it to readers; an object store gets whole files, at `flush`."""
        line = _line(record)
        if storage.is_remote(self._uri):
            self._text, self._waits = self._text + line, True
        else:
            storage.append_text(self._uri, line)
        if record["kind"] == "epoch":
            self._log += _log_line(record)
            storage.write_text(self._log_uri, self._log)

    def flush(self) -> None:
        """Make every line visible."""
        if self._waits:
            storage.write_text(self._uri, self._text)
            self._waits = False


def read_metrics(folder_uri: str) -> list[Record]:
    """Return the whole lines of a model folder written so far, oldest first."""
    uri = storage.join(folder_uri, FILE_NAME)
    if not storage.exists(uri):
        return []
    whole = storage.read_text(uri).rpartition("\n")[0]  # the last one may still be in the writing
    return [json.loads(line) for line in whole.splitlines()]


@contextmanager
def progress() -> Iterator[Sink]:
    """Yield a sink that shows records: a bar on a terminal, a line each in a log."""
    if not sys.stderr.isatty():
        yield _log_lines
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("starting workers", total=None)

        def show(records: Sequence[Record]) -> None:
            for record in records:
                if record["kind"] == "epoch":
                    console.print(describe(record), markup=False, highlight=False)
            last = records[-1]
            bar.update(
                task,
                completed=last["step"],
                total=last["total_steps"],
                description=f"loss {last['total']:.3f}, {last['images_per_s']:.1f} images/s",
            )

        yield show


def _log_lines(records: Sequence[Record]) -> None:
    for record in records:
        logger.info("%s", describe(record))


def describe(record: Record) -> str:
    """Return a record as a line for people: what it does not hold is left out.

    >>> describe({"kind": "epoch", "step": 56, "epoch": 1, "total": 2.5, "images_per_s": 30.0})
    'epoch 1 done, step 56: loss 2.500, 30.0 images/s'
    """
    where = f"step {record['step']}"
    if record["kind"] == "epoch":
        where = f"epoch {record['epoch']} done, {where}"
    parts = [f"loss {record['total']:.3f}"]
    parts += [f"{name} {record[name]:.3f}" for name in PARTS_OF_LOSS if record.get(name)]
    parts += [f"lr {record['lr']:.2e}"] if "lr" in record else []
    parts += [f"AP {record['ap']:.3f}, AP50 {record['ap50']:.3f}"] if "ap" in record else []
    parts += [f"{record['images_per_s']:.1f} images/s"]
    parts += [f"{record['memory_mib']:.0f} MiB"] if "memory_mib" in record else []
    parts += [_broken_images(record)] if record.get("broken") else []
    parts += [f"{_clock(record['left_s'])} left"] if record.get("left_s") else []
    return f"{where}: {', '.join(parts)}"


def _broken_images(record: Record) -> str:
    names = record.get("broken_images", ())
    text = ", ".join(names[:NAMED]) + ", …" * (len(names) > NAMED)
    return f"{record['broken']} broken images" + (f" ({text})" if text else "")


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _log_line(record: Record) -> str:
    when = datetime.fromtimestamp(record.get("time", 0), tz=UTC)
    return f"{when:%Y-%m-%d %H:%M:%S} {describe(record)}\n"


@contextmanager
def following(folder_uri: str, sinks: Sequence[Sink], *, period_s: float) -> Iterator[None]:
    """Hand new lines of a training to the sinks while the block runs, and the rest at its end.

    A line that a restarted training takes back and writes again is handed on once.

    Args:
        folder_uri: model folder.
        sinks: called with new records in order of their steps, from one thread at a time.
        period_s: seconds between two looks.
    """
    seen: set[tuple[str, int]] = set()
    done = threading.Event()

    def look() -> None:
        records = read_metrics(folder_uri)
        fresh = [r for r in records if (r["kind"], r["step"]) not in seen]
        seen.update((r["kind"], r["step"]) for r in fresh)
        for sink in sinks if fresh else ():
            sink(fresh)

    def watch() -> None:
        while not done.wait(period_s):
            look()

    look()
    thread = threading.Thread(target=watch, name="follow-metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        look()


def _line(record: Record) -> str:
    return json.dumps(record) + "\n"
