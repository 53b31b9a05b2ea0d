"""What surrounds a training step: data, logging, checkpoints, ranks, Ray; and each option's price.

    python benchmarks/training.py overhead SHARDS PLAN   # benchmarks/results/training_overhead.json
    python benchmarks/training.py options                # benchmarks/results/training_options.json

`overhead`: damo-yolo-ns at 320 pixels, batch 8. The bare loop is forward, losses, backward, update
and average on one preloaded batch: on one core with half the batch, twice at the same time, as two
ranks share two cores, before and after the training. Against it stands a training under Ray Train
with two workers, loader, collectives and checkpoints and all, from the end of one epoch to the
end of the next. `overhead` compares the fastest epoch with the fastest round of the bare loop, by
the clock and by the processor time of a worker, which other work on the machine disturbs less but
which holds no waiting.

`options`: one process, one preloaded batch, each option switched alone, interleaved, CPU seconds.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import psutil  # type: ignore[import-untyped]  # comes with Ray, without types
import torch
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
from damo_yolo.training.run import TrainJob, cpu_settings, loader_config
from damo_yolo.training.schedule import average_decay

RESULTS = Path(__file__).parent / "results"
WORKERS = 2
SIDE, BATCH = 320, 8
ROUND_STEPS = 10
RAY_NICENESS = 15
"""Of Ray's workers, unless told otherwise; the bare loop stands back as far."""
NUM_CLASSES = 701


class Seconds(NamedTuple):
    """Of a step."""

    wall: float
    """Of the slower rank."""
    cpu: float
    """Of a rank, in the mean."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("overhead", "options"))
    parser.add_argument("shards", nargs="?", default="")
    parser.add_argument("plan", nargs="?", default="")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--image-size", type=int, default=SIDE)
    options = parser.parse_args()
    report = overhead(options) if options.part == "overhead" else prices(options)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"training_{options.part}.json"
    path.write_text(json.dumps(report | surroundings(), indent=1) + "\n")
    print(path.read_text())


def overhead(options: argparse.Namespace) -> dict[str, Any]:
    """Return seconds a step of the bare loop, and of a training around it."""
    length = (f"schedule.epochs={options.epochs}", "schedule.max_steps=null")
    size = f"image_size={options.image_size}"
    config = load_config("small/twin").with_overrides((size, *length))
    bare = bare_ranks(options, config)
    with tempfile.TemporaryDirectory() as folder:
        ray = trained(options, config, f"{folder}/ray")
    bare += bare_ranks(options, config)
    return {
        "bare_step_s": _listed(bare),
        "ray_step_s": _listed(ray),
        "overhead": {
            "wall": round(min(s.wall for s in ray) / min(s.wall for s in bare) - 1, 4),
            "cpu": round(min(s.cpu for s in ray) / min(s.cpu for s in bare) - 1, 4),
        },
        "image_size": options.image_size,
        "global_batch": BATCH,
        "workers": WORKERS,
        "load_average": round(os.getloadavg()[2], 1),
    }


def _listed(found: Sequence[Seconds]) -> dict[str, list[float]]:
    return {
        "wall": [round(seconds.wall, 4) for seconds in found],
        "cpu": [round(seconds.cpu, 4) for seconds in found],
    }


def bare_ranks(options: argparse.Namespace, config: TrainConfig) -> list[Seconds]:
    """Return seconds of a bare step while as many processes step as there are workers, by round."""
    context = multiprocessing.get_context("spawn")
    arguments = [(config, options.shards, options.plan, options.repeats)] * WORKERS
    with context.Pool(WORKERS) as pool:
        rounds = zip(*pool.starmap(bare_rank, arguments), strict=True)
        return [Seconds(max(r.wall for r in ranks), mean(r.cpu for r in ranks)) for ranks in rounds]


def bare_rank(config: TrainConfig, shards_uri: str, plan_uri: str, rounds: int) -> list[Seconds]:
    """Return seconds of a step on this rank's part of one preloaded batch, by round."""
    os.nice(RAY_NICENESS)
    job = TrainJob(config=config, shards_uri=shards_uri, plan_uri=plan_uri, out_uri="", run_key="")
    loader = TrainLoader(
        shards_uri, plan_uri, loader_config(job), seed=0, rank=0, world_size=WORKERS
    )
    batch = next(loader.epoch(0, phase="mosaic"))
    step = bare_step(config, NUM_CLASSES if batch.class_mask is None else batch.class_mask.shape[1])
    found = []
    with cpu_settings(config):
        step(batch)
        step(batch)
        for _ in range(rounds):
            start, cpu = time.perf_counter(), time.process_time()
            for _ in range(ROUND_STEPS):
                step(batch)
            wall = time.perf_counter() - start
            found.append(Seconds(wall / ROUND_STEPS, (time.process_time() - cpu) / ROUND_STEPS))
    return found


def bare_step(
    config: TrainConfig, num_classes: int, *, distils: bool = False
) -> Callable[..., Any]:
    """Return a function that takes one step on a batch, and knows nothing else."""
    cpu = torch.device("cpu")
    teacher = build_detector("damo-yolo-nm", num_classes=num_classes).eval() if distils else None
    state = build_state(config, num_classes=num_classes, device=cpu, teacher=teacher)
    state.model.train()
    parts = 1 if config.accumulation == "auto" else config.accumulation
    precision = torch.bfloat16 if config.precision == "bf16" else torch.float32

    def step(batch: Batch) -> None:
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        local = steps.to_device(batch, cpu, layout=layout)
        steps.backward(
            state.model,
            steps.split(local, parts),
            teacher=teacher,
            distill_weight=config.distill.weight if config.distill else 0.0,
            precision=precision,
        )
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.average.update(state.model.detector, keep=average_decay(9, decay=0.9998, tau=2000))

    return step


def trained(options: argparse.Namespace, config: TrainConfig, folder: str) -> list[Seconds]:
    """Return seconds a step of each epoch of a whole training but the first.

    From the end of an epoch to the end of the next: data, collectives, checkpoint and all.
    """
    marks: dict[int, tuple[float, float]] = {}  # by step: wall and processor seconds so far

    def train() -> None:
        train_detector(
            shards_uri=options.shards,
            plan_uri=options.plan,
            out_uri=folder,
            config=config,
            num_workers=WORKERS,
        )

    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(train)
        while not training.done():
            lines = [record for record in read_metrics(folder) if record["kind"] == "epoch"]
            if lines and lines[-1]["step"] not in marks:
                marks[lines[-1]["step"]] = lines[-1]["time"], worker_seconds()
            time.sleep(0.1)
        training.result()
    whole = [mark for mark in sorted(marks.items()) if mark[1][1] > 0]  # workers may be gone
    return [
        Seconds((after[0] - before[0]) / (end - start), (after[1] - before[1]) / (end - start))
        for (start, before), (end, after) in pairwise(whole)
    ]


def worker_seconds() -> float:
    """Return the processor seconds that the workers of this process have used, per worker."""
    total = 0.0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "RayTrainWorker" in " ".join(child.cmdline()):
                used = child.cpu_times()
                total += used.user + used.system
    return total / WORKERS


def prices(options: argparse.Namespace) -> dict[str, Any]:
    """Return CPU seconds of a step with each option switched alone."""
    plain = load_config("small/twin").with_overrides([f"image_size={options.image_size}"])
    rows: dict[str, TrainConfig] = {
        "as the recipe": plain,
        "channels_last=false": plain.with_overrides(["channels_last=false"]),
        "precision=bf16": plain.with_overrides(["precision=bf16"]),
        "accumulation=2": plain.with_overrides(["accumulation=2"]),
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
