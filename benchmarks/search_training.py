"""A searched nano against the shipped one of equal measured latency, trained alike on the sample.

    python benchmarks/search_training.py prepare --shards S --plan P --work W
    python benchmarks/search_training.py run --shards S --plan P --work W     (six times, or --all)
    python benchmarks/search_training.py table --work W

`prepare` fits a latency model of OpenVINO on this CPU, searches with the latency and the layers of
damo-yolo-ns as budgets, and moves the budget until both detectors take equally long, measured in
turn. `run` trains and evaluates the next pair of detector and seed that has no result yet, in
this process; `--ray` spreads all that are missing over a Ray cluster. `table` writes
benchmarks/results/search_training.json. Every step may be repeated: what is finished is kept.
"""

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
import torch

from damo_yolo.compute.ray_cluster import connect
from damo_yolo.evaluation.latency import describe_environment
from damo_yolo.labels.space import LabelSpace
from damo_yolo.models.cost import measure_cost
from damo_yolo.models.zoo import detector_config
from damo_yolo.recipes.sample import TWIN
from damo_yolo.stages.evaluate import evaluate_model
from damo_yolo.stages.profile import ProfileConfig, ProfileJob, profile_target
from damo_yolo.stages.profile_targets import place, time_in_turn
from damo_yolo.stages.search import SearchConfig, search_backbone
from damo_yolo.stages.train import train_detector

RESULT = Path(__file__).parent / "results" / "search_training.json"
TARGET, SHIPPED = "openvino-cpu", "damo-yolo-ns"
SEEDS = (0, 1, 2)
IMAGE_SIZE = TWIN.image_size
ROUNDS, ATTEMPTS, CLOSE_ENOUGH = 300, 6, 0.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("prepare", "run", "table"))
    parser.add_argument("--work", type=Path, required=True, help="folder for everything made")
    parser.add_argument("--shards", default="", help="shards of the sample")
    parser.add_argument("--plan", default="", help="sample plan of the sample")
    parser.add_argument("--steps", type=int, default=600, help="of each training")
    parser.add_argument("--all", action="store_true", help="run: all that are missing")
    parser.add_argument("--ray", action="store_true", help="run: all that are missing, on Ray")
    options = parser.parse_args()
    torch.set_num_threads(1)
    {"prepare": _prepare, "run": _run, "table": _table}[options.step](options)


def _prepare(options: argparse.Namespace) -> None:
    work: Path = options.work
    if (work / "pair.json").exists():
        print(f"{work / 'pair.json'} is there already")
        return
    work.mkdir(parents=True, exist_ok=True)
    space = LabelSpace.load(f"{options.shards}/label_space.csv")
    changes = {"image_size": IMAGE_SIZE, "num_classes": len(space)}
    shipped = detector_config(SHIPPED).model_copy(update=changes)
    path = work / "shipped.json"
    path.write_text(shipped.model_dump_json(indent=2, exclude_none=True))
    latency = work / "latency.yaml"
    if not latency.exists():
        job = ProfileJob(target=TARGET, family="mob", like=str(path))
        config = ProfileConfig(networks=24, held_out=8, rounds=100)
        print(profile_target(job, out_uri=str(latency), config=config).error, flush=True)
    pair = min(_attempts(path, latency, work), key=lambda pair: abs(pair["ratio"] - 1))
    (work / "pair.json").write_text(json.dumps(pair, indent=2))
    print(json.dumps(pair, indent=2))


def _attempts(shipped: Path, latency: Path, work: Path) -> list[dict[str, Any]]:
    """Search, measure, and correct the budget by what was measured, until it is close enough."""
    config = SearchConfig(family="mob", like=str(shipped))
    like = search_backbone(
        budgets={"layers": 1e3}, out_uri=str(work / "free"), config=config, latency_uri=str(latency)
    )
    budgets = {name: like.like_costs[name] for name in ("latency_ms", "layers")}
    attempts: list[dict[str, Any]] = []
    for attempt in range(ATTEMPTS):
        out = str(work / f"search-{attempt}")
        found = search_backbone(
            budgets=budgets, out_uri=out, config=config, latency_uri=str(latency)
        )
        times = _measure([str(shipped), found.best.uri])
        ratio = times[1] / times[0]
        print(f"budget {budgets['latency_ms']:.4f} ms: {times}, ratio {ratio:.4f}", flush=True)
        attempts.append(
            {
                "shipped": {"uri": str(shipped), "score": like.like_score, "ms": times[0]},
                "searched": {"uri": found.best.uri, "score": found.best.score, "ms": times[1]},
                "gap": found.best.gap,
                "ratio": ratio,
            }
        )
        if abs(ratio - 1) < CLOSE_ENOUGH:
            break
        budgets["latency_ms"] /= ratio
    return attempts


def _measure(uris: list[str]) -> list[float]:
    placed = [place(TARGET, detector_config(uri), threads=1) for uri in uris]
    return time_in_turn([network.run for network in placed], rounds=ROUNDS)


def _missing(work: Path) -> list[tuple[str, int]]:
    pairs = [(name, seed) for seed in SEEDS for name in ("shipped", "searched")]
    return [pair for pair in pairs if not _result_path(work, *pair).exists()]


def _result_path(work: Path, name: str, seed: int) -> Path:
    return work / f"{name}-{seed}.json"


def _run(options: argparse.Namespace) -> None:
    missing = _missing(options.work)
    if options.ray:
        with connect():
            train = ray.remote(num_cpus=1)(_train)
            ray.get([train.remote(options, name, seed) for name, seed in missing])
        return
    for name, seed in missing if options.all else missing[:1]:
        _train(options, name, seed)


def _train(options: argparse.Namespace, name: str, seed: int) -> None:
    work: Path = options.work
    uri = json.loads((work / "pair.json").read_text())[name]["uri"]
    schedule = TWIN.schedule.model_copy(update={"max_steps": options.steps})
    config = TWIN.model_copy(update={"model": uri, "seed": seed, "schedule": schedule})
    folder = str(work / "runs" / f"{name}-{seed}")
    start = time.perf_counter()
    trained = train_detector(
        shards_uri=options.shards,
        plan_uri=options.plan,
        out_uri=folder,
        config=config,
        num_workers=0,
    )
    found = evaluate_model(
        model_uri=folder, shards_uri=options.shards, out_uri=f"{folder}/evaluation"
    )
    row = {
        "name": name,
        "seed": seed,
        "ap": found.overall.ap,
        "ap50": found.overall.ap50,
        "train_s": trained.seconds,
        "wall_s": time.perf_counter() - start,
        "steps": trained.steps,
    }
    _result_path(work, name, seed).write_text(json.dumps(row, indent=2))
    print(json.dumps(row), flush=True)


def _table(options: argparse.Namespace) -> None:
    pair = json.loads((options.work / "pair.json").read_text())
    done = [(name, seed) for name in ("shipped", "searched") for seed in SEEDS]
    rows = [
        json.loads(path.read_text())
        for path in (_result_path(options.work, *key) for key in done)
        if path.exists()
    ]
    print("| nano | score | measured ms | GFLOPs | params M | seed | AP | AP50 | training s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        side = pair[row["name"]]
        cost = measure_cost(detector_config(side["uri"]))
        facts = f"{side['score']:.1f} | {side['ms']:.3f} | {cost.gflops:.3f} | {cost.params_m:.3f}"
        figures = f"{row['ap']:.4f} | {row['ap50']:.4f} | {row['train_s']:.0f}"
        print(f"| {row['name']} | {facts} | {row['seed']} | {figures} |")
    structures = {
        name: detector_config(pair[name]["uri"]).model_dump(mode="json", exclude_none=True)
        for name in ("shipped", "searched")
    }
    for name in structures:
        pair[name].pop("uri")
    content = {
        "date": datetime.now(UTC).date().isoformat(),
        "environment": describe_environment().model_dump(),
        "pair": pair,
        "structures": structures,
        "runs": rows,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
