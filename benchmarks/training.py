"""What surrounds a training step: data, logging, checkpoints, ranks, Ray; and each option's price.

    python benchmarks/training.py overhead SHARDS PLAN   # benchmarks/results/training_overhead.json
    python benchmarks/training.py options                # benchmarks/results/training_options.json

`overhead`: damo-yolo-ns at 320 pixels, batch 8, two ranks on two cores with half the batch each:

- `alone`: forward, losses, backward, update and average on one preloaded batch; each rank
  normalises over its own images and keeps its own gradients;
- `together`: the same, over the images of both ranks and with their mean gradients;
- `loaded`: the same on the batches of a loader;
- `ray`: a training under Ray Train: loader, logging, checkpoints, ends of epochs and all.

All four run at once, but one at a time has the machine, for three seconds, while the processes of
the others stand still: other work on the machine, which comes and goes within seconds and can cost
half of it, meets all alike. What Ray and data cost is `ray` against `together`.

`options`: one process, one preloaded batch, each option switched alone, interleaved, CPU seconds.
"""

import argparse
import json
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, count, pairwise, repeat
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import psutil  # type: ignore[import-untyped]  # comes with Ray, without types
import torch
import torch.distributed as dist
from proof_bccd import surroundings
from timing import interleaved

from damo_yolo.loading.loader import TrainLoader
from damo_yolo.models.zoo import build_detector
from damo_yolo.recipes.choose import load_config
from damo_yolo.samples import Batch
from damo_yolo.stages.train import train_detector
from damo_yolo.training import step as steps
from damo_yolo.training.build import build_state
from damo_yolo.training.config import DistillConfig, TrainConfig
from damo_yolo.training.memory import noise
from damo_yolo.training.progress import read_metrics
from damo_yolo.training.ranks import data_parallel
from damo_yolo.training.run import TrainJob, cpu_settings, loader_config
from damo_yolo.training.schedule import average_decay

RESULTS = Path(__file__).parent / "results"
WORKERS = 2
SIDE, BATCH = 320, 8
ENDLESS = ("schedule.epochs=300", "schedule.max_steps=null")
WINDOW_S = 3.0
PARTS = 5
"""Of the whole time; they tell the spread."""
WARM_UP = {"alone": 5, "together": 5, "loaded": 5, "ray": 2}
"""Steps of each rung, lines of `metrics.jsonl` of the last, before it counts."""
NUM_CLASSES = 701


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("overhead", "options"))
    parser.add_argument("shards", nargs="?", default="")
    parser.add_argument("plan", nargs="?", default="")
    parser.add_argument("--minutes", type=float, default=10.0, help="of overhead, for all rungs")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--image-size", type=int, default=SIDE)
    options = parser.parse_args()
    report = overhead(options) if options.part == "overhead" else prices(options)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"training_{options.part}.json"
    path.write_text(json.dumps(report | surroundings(), indent=1) + "\n")
    print(path.read_text())


def overhead(options: argparse.Namespace) -> dict[str, Any]:
    """Return seconds a step of each rung, and what each costs over those below."""
    settings = (f"image_size={options.image_size}", "log_every=5", *ENDLESS)
    config = load_config("small/twin").with_overrides(settings)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        job = TrainJob(
            config=config,
            shards_uri=options.shards,
            plan_uri=options.plan,
            out_uri=f"{folder}/ray",
            run_key="",
        )
        rungs: list[Rung] = []
        try:
            for name in WARM_UP:
                process = context.Process(target=take_steps, args=(job, name, folder))
                process.start()
                rungs.append(Rung(name, Path(folder, f"{name}.txt"), psutil.Process(process.pid)))
                rungs[-1].warm_up(job.out_uri)
            for _ in range(max(PARTS, round(options.minutes * 60 / (WINDOW_S * len(rungs))))):
                for rung in rungs:
                    rung.run(WINDOW_S)
        finally:
            for rung in rungs:
                rung.end()
        seconds = {rung.name: rung.seconds_a_step(job.out_uri) for rung in rungs}
    return {
        "step_s": seconds,
        "ray_and_data": _over(seconds["ray"], seconds["together"]),
        "data": _over(seconds["loaded"], seconds["together"]),
        "exchange": _over(seconds["together"], seconds["alone"]),
        "image_size": options.image_size,
        "global_batch": BATCH,
        "workers": WORKERS,
        "window_s": WINDOW_S,
        "load_average": round(os.getloadavg()[2], 1),
    }


def _over(more: Sequence[float], less: Sequence[float]) -> dict[str, float]:
    """Return by which part a rung is slower than another: mean of the parts, standard error."""
    ratios = [m / n - 1 for m, n in zip(more, less, strict=True)]
    error = stdev(ratios) / len(ratios) ** 0.5
    return {"mean": round(mean(ratios), 4), "standard_error": round(error, 4)}


@dataclass
class Rung:
    """Processes that take steps while they may, and when they did."""

    name: str
    steps: Path
    """A line with the time of the end of each step, but of a training under Ray."""
    root: psutil.Process
    processes: list[psutil.Process] = field(default_factory=list)
    windows: list[tuple[float, float]] = field(default_factory=list)
    """Begin and end of each time it had the machine."""

    def warm_up(self, metrics: str) -> None:
        """Let it run until it has taken some steps, and stop it."""
        while len(self._ends(metrics)) < WARM_UP[self.name]:
            if not self.root.is_running() or self.root.status() == psutil.STATUS_ZOMBIE:
                raise SystemExit(f"{self.name} ended: its error is above")
            time.sleep(0.5)
        self.processes = [*self.root.children(recursive=True), self.root]
        self._signal(signal.SIGSTOP)

    def run(self, seconds: float) -> None:
        """Let it run for a while."""
        self._signal(signal.SIGCONT)
        start = time.time()
        time.sleep(seconds)
        self._signal(signal.SIGSTOP)
        self.windows.append((start, time.time()))

    def end(self) -> None:
        """Kill it."""
        self._signal(signal.SIGKILL)

    def seconds_a_step(self, metrics: str) -> list[float]:
        """Return seconds that it had the machine per step, over equal parts of the whole."""
        ends = [e for e in self._ends(metrics) if e[1] >= self.windows[0][0]]
        cuts = [ends[round(i * (len(ends) - 1) / PARTS)] for i in range(PARTS + 1)]
        return [
            round((self._active(b[1]) - self._active(a[1])) / (b[0] - a[0]), 4)
            for a, b in pairwise(cuts)
        ]

    def _active(self, until: float) -> float:
        return sum(max(0.0, min(end, until) - start) for start, end in self.windows)

    def _ends(self, metrics: str) -> list[tuple[int, float]]:
        """Return number and time of steps."""
        if self.name == "ray":
            lines = read_metrics(metrics)
            return [(line["step"], line["time"]) for line in lines if line["kind"] == "step"]
        if not self.steps.exists():
            return []
        return [(n, float(t)) for n, t in enumerate(self.steps.read_text().split())]

    def _signal(self, number: signal.Signals) -> None:
        for process in self.processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)


def take_steps(job: TrainJob, name: str, folder: str) -> None:
    """Let two processes of a rung take steps, without end."""
    if name == "ray":
        train_detector(
            shards_uri=job.shards_uri,
            plan_uri=job.plan_uri,
            out_uri=job.out_uri,
            config=job.config,
            num_workers=WORKERS,
        )
        return
    context = multiprocessing.get_context("spawn")
    arguments = [(job, name, rank, folder) for rank in range(WORKERS)]
    ranks = [context.Process(target=bare_rank, args=each) for each in arguments]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()


def bare_rank(job: TrainJob, name: str, rank: int, folder: str) -> None:
    """Take steps without end; rank 0 notes their times."""
    config = job.config
    loader = TrainLoader(
        job.shards_uri, job.plan_uri, loader_config(job), seed=0, rank=rank, world_size=WORKERS
    )
    stream = chain.from_iterable(loader.epoch(n, phase="mosaic") for n in count())
    first = next(stream)
    num_classes = NUM_CLASSES if first.class_mask is None else first.class_mask.shape[1]
    if name != "alone":
        meeting = f"file://{folder}/{name}-meeting"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=WORKERS)
    step = bare_step(config, num_classes)
    with cpu_settings(config), Path(folder, f"{name}.txt").open("a", buffering=1) as times:
        for batch in stream if name == "loaded" else repeat(first):
            step(batch)
            if rank == 0:
                times.write(f"{time.time()}\n")


def bare_step(
    config: TrainConfig, num_classes: int, *, distils: bool = False
) -> Callable[..., Any]:
    """Return a function that takes one step on a batch, with all ranks there are."""
    cpu = torch.device("cpu")
    teacher = build_detector("damo-yolo-nm", num_classes=num_classes).eval() if distils else None
    state = build_state(config, num_classes=num_classes, device=cpu, teacher=teacher)
    state.model.train()
    if config.compile:
        state.model.detector.compile()
    model = data_parallel(state.model, cpu)
    parts = 1 if config.accumulation == "auto" else config.accumulation
    precision = torch.bfloat16 if config.precision == "bf16" else torch.float32

    def step(batch: Batch) -> None:
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        local = steps.to_device(batch, cpu, layout=layout)
        steps.backward(
            model,
            steps.split(local, parts),
            teacher=teacher,
            distill_weight=config.distill.weight if config.distill else 0.0,
            precision=precision,
        )
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.average.update(state.model.detector, keep=average_decay(9, decay=0.9998, tau=2000))

    return step


def prices(options: argparse.Namespace) -> dict[str, Any]:
    """Return CPU seconds of a step with each option switched alone."""
    plain = load_config("small/twin").with_overrides([f"image_size={options.image_size}"])
    rows: dict[str, TrainConfig] = {
        "as the recipe": plain,
        "channels_last=false": plain.with_overrides(["channels_last=false"]),
        "precision=bf16": plain.with_overrides(["precision=bf16"]),
        "accumulation=2": plain.with_overrides(["accumulation=2"]),
        "compile=true": plain.with_overrides(["compile=true"]),
        "optimizer.kind=sgd": plain.with_overrides(["optimizer.kind=sgd"]),
        "distill from nm": plain.model_copy(update={"distill": DistillConfig()}),
        "3 classes, not 701": plain,
    }
    sides = []
    for name, config in rows.items():
        classes = 3 if name.startswith("3") else NUM_CLASSES
        step = bare_step(config, classes, distils=config.distill is not None)
        batch = noise_batch(config, classes)
        sides.append(lambda step=step, batch=batch: step(batch))
    with cpu_settings(plain):
        seconds = interleaved(sides, repeats=options.repeats)
    return {
        "step_cpu_s": {name: round(s, 4) for name, s in zip(rows, seconds, strict=True)},
        "relative": {name: round(s / seconds[0], 3) for name, s in zip(rows, seconds, strict=True)},
        "image_size": options.image_size,
        "batch": BATCH,
    }


def noise_batch(config: TrainConfig, num_classes: int) -> Batch:
    """Return grey images with ten objects each."""
    images, boxes, labels, valid, mask = noise(
        config, BATCH, num_classes=num_classes, device=torch.device("cpu")
    )
    assert images is not None
    assert boxes is not None
    assert labels is not None
    assert valid is not None
    return Batch(
        images=images.to(torch.uint8),
        gt_boxes=boxes[:, :10],
        gt_labels=labels[:, :10],
        gt_valid=valid[:, :10],
        class_mask=mask,
        keys=("",) * BATCH,
        original_sizes=((0, 0),) * BATCH,
    )


if __name__ == "__main__":
    main()
