"""What few real photographs teach on two cores: BCCD and fruit300, from scratch and fine-tuned.

    python benchmarks/proof_bccd.py ../shared/data W                  # both sets from scratch
    python benchmarks/proof_bccd.py ../shared/data W --init MODEL     # and BCCD from that model

Each run trains damo-yolo-ns at 320 pixels with `damo-yolo train --config small/twin` on the train
part and is scored once on the test part; the curve is the test AP of the averaged weights on the
way, which nothing depends on (`validation.deploy=last`). A run that was cut off continues; each
leaves benchmarks/results/proof_<name>.json. Both sets are shown in full to the loss: three classes,
a label space of their own.
"""

import argparse
import json
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from damo_yolo import __version__
from damo_yolo.mixing.balance import BalanceConfig
from damo_yolo.recipes.choose import load_config
from damo_yolo.stages.balance import balance
from damo_yolo.stages.evaluate import evaluate_model
from damo_yolo.stages.merge import merge_datasets
from damo_yolo.stages.shard import shard
from damo_yolo.stages.train import train_detector
from damo_yolo.training.progress import read_metrics

RESULTS = Path(__file__).parent / "results"
OVERRIDES = ("validation.every_epochs=3", "validation.deploy=last")
GLOBAL_BATCH = 8


@dataclass(frozen=True)
class Photographs:
    """A set of photographs with a train and a test part, in Pascal VOC form."""

    classes: tuple[str, ...]
    train: dict[str, str]
    test: dict[str, str]
    target_ap50: float
    max_steps: int


SETS = {
    "bccd": Photographs(
        classes=("Platelets", "RBC", "WBC"),
        train={
            "annotations": "bccd/Annotations",
            "images": "bccd/JPEGImages",
            "image_set": "bccd/ImageSets/Main/trainval.txt",
        },
        test={
            "annotations": "bccd/Annotations",
            "images": "bccd/JPEGImages",
            "image_set": "bccd/ImageSets/Main/test.txt",
        },
        target_ap50=0.75,
        max_steps=500,
    ),
    "fruit300": Photographs(
        classes=("apple", "banana", "orange"),
        train={"annotations": "fruit300/train", "images": "fruit300/train"},
        test={"annotations": "fruit300/test", "images": "fruit300/test"},
        target_ap50=0.5,
        max_steps=500,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder that holds bccd/ and fruit300/")
    parser.add_argument("work", type=Path)
    parser.add_argument("--init", default="", help="model folder to fine-tune on BCCD")
    parser.add_argument("--only", choices=SETS, help="one of the two sets")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0, help="0: the set's own number")
    options = parser.parse_args()
    for name, photographs in SETS.items():
        if options.only in {None, name}:
            prepare(name, photographs, options.data.resolve(), options.work.resolve() / name)
            run(name, photographs, options, init_uri="")
    if options.init and options.only in {None, "bccd"}:
        run("bccd", SETS["bccd"], options, init_uri=options.init)


def prepare(name: str, photographs: Photographs, data: Path, work: Path) -> None:
    """Write catalog, label space and mapping, and shards from them; nothing where they are."""
    if (work / "shards" / "result.json").exists():
        return
    work.mkdir(parents=True, exist_ok=True)
    names = list(enumerate(photographs.classes))
    space = "".join(f"{number},{label}\n" for number, label in names)
    mapping = "".join(f"{label},,{number},\n" for number, label in names)
    (work / "space.csv").write_text("unified_id,name\n" + space)
    (work / "mapping.csv").write_text("source_id,source_name,unified_id,also_unknown\n" + mapping)
    parts = {
        split: {field: str(data / place) for field, place in places.items()}
        for split, places in (("train", photographs.train), ("val", photographs.test))
    }
    dataset = {"name": name, "format": "voc", "mapping": "mapping.csv", **parts}
    catalog = {"name": name, "label_space": "space.csv", "evaluation": name, "datasets": [dataset]}
    (work / "catalog.yaml").write_text(json.dumps(catalog))  # JSON is YAML
    records, plan, shards = (str(work / part) for part in ("records", "plan", "shards"))
    merge_datasets(str(work / "catalog.yaml"), records)
    balance(records, plan, config=BalanceConfig(), global_batch=GLOBAL_BATCH)
    shard(records, plan, shards, global_batch=GLOBAL_BATCH)


def run(name: str, photographs: Photographs, options: argparse.Namespace, *, init_uri: str) -> None:
    """Train, or continue, one run; evaluate it and keep the figures."""
    work = options.work.resolve() / name
    title = f"{name}_{'tuned' if init_uri else 'scratch'}"
    steps = options.steps or photographs.max_steps
    settings = (*OVERRIDES, f"schedule.max_steps={steps}", f"seed={options.seed}")
    config = load_config("small/twin").with_overrides(settings)
    model_uri = str(work / f"{title}-{steps}-{options.seed}")
    result = train_detector(
        shards_uri=str(work / "shards"),
        plan_uri=str(work / "plan"),
        out_uri=model_uri,
        config=config,
        init_uri=init_uri,
        num_workers=options.workers,
    )
    score = evaluate_model(
        model_uri=model_uri, shards_uri=str(work / "shards"), out_uri=f"{model_uri}/evaluation"
    )
    records = read_metrics(model_uri)
    curve = [
        {"step": line["step"], "ap": round(line["ap"], 4), "ap50": round(line["ap50"], 4)}
        for line in records
        if "ap" in line
    ]
    report = {
        "name": title,
        "command": "python benchmarks/proof_bccd.py ../shared/data W"
        + (" --init GENERAL_MODEL" if init_uri else ""),
        "ap50": round(score.ap50, 4),
        "ap": round(score.ap, 4),
        "target_ap50": photographs.target_ap50,
        "images": {"train": records[-1]["step"] * GLOBAL_BATCH, "test": score.num_images},
        "per_class_ap50": {row.name: round(row.ap50, 4) for row in score.overall.per_class},
        "steps": result.steps,
        "minutes_in_steps": round(result.seconds / 60, 2),
        "workers": options.workers,
        "seed": options.seed,
        "curve": curve,
        "config": config.model_dump(mode="json"),
        **surroundings(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"proof_{title}.json").write_text(json.dumps(report, indent=1) + "\n")
    print(f"{title}: AP50 {score.ap50:.3f}, AP {score.ap:.3f}, {result.seconds / 60:.1f} minutes")


def surroundings() -> dict[str, object]:
    """Return date, machine and versions."""
    return {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {
            "damo_yolo": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


if __name__ == "__main__":
    main()
