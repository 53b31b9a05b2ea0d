"""What balance, class mask and mosaic window buy, on the embedded sample, one short run each.

    damo-yolo sample --out W/data && damo-yolo merge W/data/catalog.yaml --out W/records
    python benchmarks/ablation_stream.py run W     # one unfinished run; repeat until it says done
    python benchmarks/ablation_stream.py table W   # benchmarks/results/ablation_stream.json

Every run trains damo-yolo-ns on one core from the same weights per seed and is scored on the fully
annotated validation copy. Each setting differs from `all` in one thing. Free partners come from the
whole epoch; with one lane, a window of 32 is the last four batches. Without mosaic, pictures are
scaled and shifted alone, as in the sample's own recipe.
"""

import argparse
import json
import platform
import statistics
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import torch

from damo_yolo.augment.policy import AugmentConfig, Partners
from damo_yolo.mixing.balance import BalanceConfig
from damo_yolo.recipes.sample import GLOBAL_BATCH, TWIN
from damo_yolo.shards.manifest import read_summary
from damo_yolo.stages.balance import balance
from damo_yolo.stages.evaluate import EvaluateConfig, EvaluateResult, evaluate_model
from damo_yolo.stages.shard import shard
from damo_yolo.training.config import ScheduleConfig, TrainConfig
from damo_yolo.training.run import TrainJob, run_training

SEEDS = (0, 1, 2)
STEPS = 700
GROUP = 8
"""Classes called rare, and as many called frequent, by their training boxes."""
WHOLE_EPOCH = 1_000_000
OFF = BalanceConfig(
    size_power=1,
    empty_share=1,
    sampling=dict.fromkeys(("coco", "objects365", "openimages"), "none"),
)
RESULTS = Path(__file__).parent / "results" / "ablation_stream.json"
METRICS = ("ap", "ap50", "frequent", "rare")


@dataclass(frozen=True)
class Setting:
    """What a run trains with."""

    balanced: bool = True
    class_mask: bool = True
    window: int = 32
    partners: Partners = "any"
    mosaic: bool = True


SETTINGS = {
    "all": Setting(),
    "no balance": Setting(balanced=False),
    "no mask": Setting(class_mask=False),
    "free partners": Setting(window=WHOLE_EPOCH),
    "partners of one dataset": Setting(partners="same_dataset"),
    "no mosaic": Setting(mosaic=False),
    "no mosaic, no mask": Setting(mosaic=False, class_mask=False),
    "window 64": Setting(window=64),
}
QUEUE = sorted(product(SETTINGS, SEEDS), key=lambda item: (item[0] == "window 64", item[1]))
"""Seed after seed, so that an unfinished table is a fair one; the extra window comes last."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("action", choices=("run", "table"))
    parser.add_argument("workspace", type=Path)
    options = parser.parse_args()
    if options.action == "table":
        write_table(options.workspace)
        return
    for name, seed in QUEUE:
        if not result_path(options.workspace, name, seed).exists():
            run(options.workspace, name, seed)
            return
    print("done")


def run(workspace: Path, name: str, seed: int) -> None:
    setting = SETTINGS[name]
    shards, plans = prepare(workspace)
    plan = plans[setting.balanced]
    out = workspace / "models" / f"{slug(name)}-{seed}"
    started = time.process_time()
    run_training(
        TrainJob(
            config=train_config(setting, seed),
            shards_uri=str(shards),
            plan_uri=str(plan),
            out_uri=str(out),
            run_key=f"{name} {seed} {STEPS}",
            manifest_sha256=read_summary(str(shards / "train")).sha256,
        )
    )
    seconds = time.process_time() - started
    scores = evaluate_model(
        model_uri=str(out),
        shards_uri=str(shards),
        out_uri=str(out / "evaluation"),
        config=EvaluateConfig(threads=1),
    )
    entry = {"setting": name, "seed": seed, "train_cpu_s": round(seconds, 1)}
    entry |= figures(scores, rank_classes(shards))
    print(json.dumps(entry), flush=True)
    path = result_path(workspace, name, seed)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(entry))


def prepare(workspace: Path) -> tuple[Path, dict[bool, Path]]:
    """Write both plans and the shards, once."""
    shards = workspace / "shards"
    plans = {True: workspace / "plan-on", False: workspace / "plan-off"}
    if not (shards / "result.json").exists():
        for balanced, plan in plans.items():
            config = BalanceConfig() if balanced else OFF
            balance(str(workspace / "records"), str(plan), config=config, global_batch=GLOBAL_BATCH)
        shard(str(workspace / "records"), str(plans[True]), str(shards))
    return shards, plans


def train_config(setting: Setting, seed: int) -> TrainConfig:
    """Return the recipe of the sample, with a mosaic phase and a last, plain epoch."""
    changes: dict[str, Any] = {
        "num_lanes": 1,
        "window": setting.window,
        "class_mask": setting.class_mask,
        "seed": seed,
        "schedule": TWIN.schedule.model_copy(update={"max_steps": STEPS}),
    }
    if setting.mosaic:
        changes["schedule"] = ScheduleConfig(max_steps=STEPS, warmup_fraction=0.06, plain_epochs=1)
        changes["augment"] = AugmentConfig(
            mosaic_scale=(0.75, 1.25), mixup_prob=0, shear_deg=0.2, partners=setting.partners
        )
    return TWIN.model_copy(update=changes)


def rank_classes(shards: Path) -> list[int]:
    """Return the ids of all classes with training boxes, the rarest first."""
    boxes: dict[int, int] = {}
    for facts in json.loads((shards / "datasets.json").read_text())["datasets"].values():
        for class_id, counts in facts["classes"].items():
            boxes[int(class_id)] = boxes.get(int(class_id), 0) + counts["boxes"]
    return sorted(boxes, key=lambda class_id: (boxes[class_id], class_id))


def figures(scores: EvaluateResult, ranked: list[int]) -> dict[str, float]:
    per_class = {item.class_id: item.ap for item in scores.datasets["full"].per_class}
    groups = {"rare": ranked[:GROUP], "frequent": ranked[-GROUP:]}
    means = {
        name: statistics.fmean(per_class[class_id] for class_id in ids)
        for name, ids in groups.items()
    }
    return {"ap": scores.ap, "ap50": scores.ap50, **means}


def write_table(workspace: Path) -> None:
    runs = [json.loads(path.read_text()) for path in sorted((workspace / "runs").glob("*.json"))]
    RESULTS.parent.mkdir(exist_ok=True)
    report = {
        "command": "python benchmarks/ablation_stream.py",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, one core",
        "torch": torch.__version__,
        "steps": STEPS,
        "global_batch": GLOBAL_BATCH,
        "runs": runs,
    }
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    print(f"| setting | seeds | {' | '.join(METRICS)} |")
    print("|---|---|" + "---|" * len(METRICS))
    for name in SETTINGS:
        mine = [entry for entry in runs if entry["setting"] == name]
        cells = " | ".join(mean_and_spread([entry[metric] for entry in mine]) for metric in METRICS)
        print(f"| {name} | {len(mine)} | {cells} |")


def mean_and_spread(values: list[Any]) -> str:
    """Return the mean and the sample standard deviation."""
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


def result_path(workspace: Path, name: str, seed: int) -> Path:
    return workspace / "runs" / f"{slug(name)}-{seed}.json"


def slug(name: str) -> str:
    return name.replace(" ", "-")


if __name__ == "__main__":
    main()
