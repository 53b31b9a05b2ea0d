"""What surrounds a training step: data, logging, checkpoints, ranks, Ray; and each option's price.

    python benchmarks/training.py overhead SHARDS PLAN   # benchmarks/results/training_overhead.json
    python benchmarks/training.py options                # benchmarks/results/training_options.json

`overhead`: damo-yolo-ns at 320 pixels, batch 8, two ranks on two cores with half the batch each, in
rungs that each add something. They take turns: after every epoch of the last, Ray's processes stand
still while the first three play a round each of ten steps:

- `alone`: forward, losses, backward, update and average on one preloaded batch; each rank
  normalises over its own images and keeps its own gradients;
- `together`: the same, over the images of both ranks and with their mean gradients;
- `loaded`: the same on the batches of a loader;
- `ray`: a training under Ray Train, from the end of one epoch to the end of the next: loader,
  logging, checkpoints and all.

What Ray and data cost is `ray` against `together`. Medians of the rounds of a launch are compared,
by the clock and by the processor time of a rank, which other work on the machine disturbs less but
which holds no waiting. Two launches of the very same loop differ by up to 6 % of a step, so all of
it is launched several times, and the mean is what counts.

`options`: one process, one preloaded batch, each option switched alone, interleaved, CPU seconds.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import chain, count
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any, NamedTuple

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
from damo_yolo.training.progress import FILE_NAME, read_metrics
from damo_yolo.training.ranks import data_parallel
from damo_yolo.training.run import TrainJob, cpu_settings, loader_config
from damo_yolo.training.schedule import average_decay

RESULTS = Path(__file__).parent / "results"
WORKERS = 2
SIDE, BATCH = 320, 8
ROUND_STEPS = 10
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
    parser.add_argument("--launches", type=int, default=5, help="each of new processes")
    parser.add_argument("--epochs", type=int, default=3, help="of a launch")
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
    length = (f"schedule.epochs={options.epochs}", "schedule.max_steps=null")
    size = f"image_size={options.image_size}"
    config = load_config("small/twin").with_overrides((size, *length))
    launches = []
    for number in range(options.launches):
        with bare_ranks(options, config) as play, tempfile.TemporaryDirectory() as folder:
            play()  # warms up
            launches.append(trained(options, config, f"{folder}/ray", between=play))
        print(f"launch {number + 1}: {_over(launches[-1:], 'ray', 'together')}", flush=True)
    return {
        "step_s": [{name: _listed(s) for name, s in rungs.items()} for rungs in launches],
        "ray_and_data": _over(launches, "ray", "together"),
        "data": _over(launches, "loaded", "together"),
        "exchange": _over(launches, "together", "alone"),
        "image_size": options.image_size,
        "global_batch": BATCH,
        "workers": WORKERS,
        "load_average": round(os.getloadavg()[2], 1),
    }


def _over(
    launches: Sequence[dict[str, list[Seconds]]], more: str, less: str
) -> dict[str, dict[str, Any]]:
    """Return by which part the median round of a rung is slower than that of another.

    The mean of all launches, its standard error, and each.
    """
    found = {}
    for clock in Seconds._fields:
        parts = [
            median(getattr(s, clock) for s in rungs[more])
            / median(getattr(s, clock) for s in rungs[less])
            - 1
            for rungs in launches
        ]
        error = stdev(parts) / len(parts) ** 0.5 if len(parts) > 1 else None
        found[clock] = {
            "mean": round(mean(parts), 4),
            "standard_error": None if error is None else round(error, 4),
            "launches": [round(part, 4) for part in parts],
        }
    return found


def _listed(found: Sequence[Seconds]) -> dict[str, list[float]]:
    return {
        "wall": [round(seconds.wall, 4) for seconds in found],
        "cpu": [round(seconds.cpu, 4) for seconds in found],
    }


@contextmanager
def bare_ranks(
    options: argparse.Namespace, config: TrainConfig
) -> Iterator[Callable[[], dict[str, Seconds]]]:
    """Yield a function that plays a round without Ray: seconds of a step, by rung."""
    context = multiprocessing.get_context("spawn")
    job = TrainJob(
        config=config, shards_uri=options.shards, plan_uri=options.plan, out_uri="", run_key=""
    )
    with tempfile.TemporaryDirectory() as folder:
        pipes, processes = [], []
        for rank in range(WORKERS):
            pipe, other_end = context.Pipe()
            arguments = (job, rank, f"file://{folder}/meeting", other_end)
            processes.append(context.Process(target=bare_rank, args=arguments, daemon=True))
            processes[-1].start()
            other_end.close()  # a rank that dies is an error here, not a silence
            pipes.append(pipe)

        def play() -> dict[str, Seconds]:
            for pipe in pipes:
                pipe.send("play")
            found = [pipe.recv() for pipe in pipes]
            return {
                name: Seconds(max(f[name].wall for f in found), mean(f[name].cpu for f in found))
                for name in found[0]
            }

        yield play
        for pipe, process in zip(pipes, processes, strict=True):
            pipe.send("end")
            process.join()


def bare_rank(job: TrainJob, rank: int, meeting: str, pipe: Connection) -> None:
    """Send seconds of this rank's steps, by rung, whenever asked."""
    config = job.config
    loader = TrainLoader(
        job.shards_uri, job.plan_uri, loader_config(job), seed=0, rank=rank, world_size=WORKERS
    )
    stream = chain.from_iterable(loader.epoch(n, phase="mosaic") for n in count())
    batch = next(stream)
    num_classes = NUM_CLASSES if batch.class_mask is None else batch.class_mask.shape[1]
    alone = bare_step(config, num_classes)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=WORKERS)
    together = bare_step(config, num_classes)
    rungs = {
        "alone": lambda: alone(batch),
        "together": lambda: together(batch),
        "loaded": lambda: together(next(stream)),
    }
    with cpu_settings(config):
        while pipe.recv() == "play":
            found = {}
            for name, step in rungs.items():
                dist.barrier()
                start, cpu = time.perf_counter(), time.process_time()
                for _ in range(ROUND_STEPS):
                    step()
                wall, cpu = time.perf_counter() - start, time.process_time() - cpu
                found[name] = Seconds(wall / ROUND_STEPS, cpu / ROUND_STEPS)
            pipe.send(found)
    dist.destroy_process_group()


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


def trained(
    options: argparse.Namespace,
    config: TrainConfig,
    folder: str,
    *,
    between: Callable[[], dict[str, Seconds]],
) -> dict[str, list[Seconds]]:
    """Return seconds a step of each epoch of a whole training but the first, under "ray".

    From the end of an epoch to the end of the next: data, collectives, checkpoint and all. After
    each, all of Ray stands still while `between` plays; what that found is in the other rows.
    """
    rungs: dict[str, list[Seconds]] = {"ray": []}
    strangers = {child.pid for child in psutil.Process().children(recursive=True)}

    def train() -> None:
        train_detector(
            shards_uri=options.shards,
            plan_uri=options.plan,
            out_uri=folder,
            config=config,
            num_workers=WORKERS,
        )

    metrics = Path(folder, FILE_NAME)
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(train)
        last: dict[str, Any] | None = None
        last_cpu = stood_still = 0.0
        seen = -1
        while not training.done():
            time.sleep(0.1)
            size = metrics.stat().st_size if metrics.exists() else -1
            if size == seen:  # reading it ten times a second would be felt
                continue
            seen = size
            lines = [record for record in read_metrics(folder) if record["kind"] == "epoch"]
            if not lines or lines[-1] == last:
                continue
            children = psutil.Process().children(recursive=True)
            ray = [child for child in children if child.pid not in strangers]
            cpu = worker_seconds(ray)
            if not cpu:  # the workers are gone
                break
            if last:
                steps_taken = lines[-1]["step"] - last["step"]
                wall = lines[-1]["time"] - last["time"] - stood_still
                rungs["ray"].append(Seconds(wall / steps_taken, (cpu - last_cpu) / steps_taken))
            last, last_cpu = lines[-1], cpu
            start = time.perf_counter()
            with standing_still(ray):
                for name, seconds in between().items():
                    rungs.setdefault(name, []).append(seconds)
            stood_still = time.perf_counter() - start
        training.result()
    return rungs


@contextmanager
def standing_still(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """Stop processes for the length of the block."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def worker_seconds(processes: Sequence[psutil.Process]) -> float:
    """Return the processor seconds that Ray's workers among them have used, per worker."""
    total = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if "RayTrainWorker" in " ".join(process.cmdline()):
                used = process.cpu_times()
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
