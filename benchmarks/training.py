"""What surrounds a training step: data, logging, checkpoints, ranks, Ray; and each option's price.

    python benchmarks/training.py overhead SHARDS PLAN   # benchmarks/results/training_overhead.json
    python benchmarks/training.py options                # benchmarks/results/training_options.json

`overhead`: damo-yolo-ns at 320 pixels, batch 8. The bare loop is forward, losses, backward, update
and average on one preloaded batch: on one core with half the batch, twice at the same time, as two
ranks share two cores. Against it stand the same steps with the loader, as two processes, and under
Ray Train with two workers; a step's time is the whole training's, checkpoints and all, from its
second epoch line on.

`options`: one process, one preloaded batch, each option switched alone, interleaved, CPU seconds.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
NUM_CLASSES = 701


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("overhead", "options"))
    parser.add_argument("shards", nargs="?", default="")
    parser.add_argument("plan", nargs="?", default="")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--image-size", type=int, default=SIDE)
    options = parser.parse_args()
    report = overhead(options) if options.part == "overhead" else prices(options)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"training_{options.part}.json"
    path.write_text(json.dumps(report | surroundings(), indent=1) + "\n")
    print(path.read_text())


def overhead(options: argparse.Namespace) -> dict[str, Any]:
    """Return seconds a step of the bare loop, and of trainings around it."""
    length = (f"schedule.epochs={options.epochs}", "schedule.max_steps=null")
    size = f"image_size={options.image_size}"
    config = load_config("small/twin").with_overrides((size, *length))
    bare = [bare_ranks(options, config)]
    with tempfile.TemporaryDirectory() as folder:
        ray_s = trained(options, config, f"{folder}/ray", num_workers=WORKERS)
    bare.append(bare_ranks(options, config))
    least = min(bare)
    return {
        "bare_step_s": [round(value, 4) for value in bare],
        "ray_step_s": round(ray_s, 4),
        "overhead": round(ray_s / least - 1, 4),
        "overhead_of_mean": round(ray_s / (sum(bare) / len(bare)) - 1, 4),
        "image_size": options.image_size,
        "global_batch": BATCH,
        "workers": WORKERS,
    }


def bare_ranks(options: argparse.Namespace, config: TrainConfig) -> float:
    """Return wall seconds of a bare step while as many processes step as there are workers."""
    context = multiprocessing.get_context("spawn")
    arguments = [(config, options.shards, options.plan, options.repeats * 4)] * WORKERS
    with context.Pool(WORKERS) as pool:
        return max(pool.starmap(bare_rank, arguments))


def bare_rank(config: TrainConfig, shards_uri: str, plan_uri: str, num_steps: int) -> float:
    """Return wall seconds of a step on this rank's part of one preloaded batch."""
    job = TrainJob(config=config, shards_uri=shards_uri, plan_uri=plan_uri, out_uri="", run_key="")
    loader = TrainLoader(
        shards_uri, plan_uri, loader_config(job), seed=0, rank=0, world_size=WORKERS
    )
    batch = next(loader.epoch(0, phase="plain"))
    step = bare_step(config, NUM_CLASSES if batch.class_mask is None else batch.class_mask.shape[1])
    with cpu_settings(config):
        step(batch)
        step(batch)
        start = time.perf_counter()
        for _ in range(num_steps):
            step(batch)
        return (time.perf_counter() - start) / num_steps


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


def trained(
    options: argparse.Namespace, config: TrainConfig, folder: str, *, num_workers: int
) -> float:
    """Return wall seconds a step of a whole training, after its first epoch."""
    train_detector(
        shards_uri=options.shards,
        plan_uri=options.plan,
        out_uri=folder,
        config=config,
        num_workers=num_workers,
    )
    epochs = [record for record in read_metrics(folder) if record["kind"] == "epoch"]
    first, last = epochs[0], epochs[-1]
    return float((last["time"] - first["time"]) / (last["step"] - first["step"]))


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
