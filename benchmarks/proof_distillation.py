"""What a teacher is worth: damo-yolo-ns alone, taught by damo-yolo-nm, taught by random weights.

    python benchmarks/proof_distillation.py run W         # every run that is not there yet
    python benchmarks/proof_distillation.py table W       # benchmarks/results/distillation.json
    python benchmarks/proof_distillation.py gradients W   # of both losses, before and after

Data: the embedded sample of seed 0, 160 pixels, batch 8; the same schedule, augmentation and start
weights for every kind of a seed; AP on the validation images. `paper` distils as the paper does,
`aligned` as the sample's recipe does: the align modules learn alone for the first quarter; `random`
is that with a teacher that was never trained. `--kinds` has two more: no clipping, four times the
weight. With `--init` and `--init-teacher` all start from trained weights, and shards that lie in W
already are used in place of the sample (docs/training.md). One core a run: several `run` commands
on the same folder share the work.
"""

import argparse
import json
import os
import statistics
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch
from proof_bccd import surroundings

from damo_yolo import storage
from damo_yolo.labels.space import LabelSpace
from damo_yolo.loading.loader import TrainLoader
from damo_yolo.mixing.balance import BalanceConfig
from damo_yolo.models.detector import Detector
from damo_yolo.recipes.choose import load_config
from damo_yolo.samples import Batch
from damo_yolo.stages.balance import balance
from damo_yolo.stages.evaluate import evaluate_model
from damo_yolo.stages.merge import merge_datasets
from damo_yolo.stages.sample import render_sample
from damo_yolo.stages.shard import shard
from damo_yolo.stages.train import train_detector
from damo_yolo.training.build import build_state, load_teacher, write_model
from damo_yolo.training.config import TrainConfig
from damo_yolo.training.progress import read_metrics
from damo_yolo.training.run import TrainJob, loader_config
from damo_yolo.training.state import read_tensors
from damo_yolo.training.step import TrainedModel, look, split, to_device

RESULT = Path(__file__).parent / "results" / "distillation.json"
SEEDS = (0, 1, 2)
GLOBAL_BATCH = 8
KINDS: dict[str, tuple[str, ...]] = {
    "alone": ("distill=null", "optimizer.clip_norm=30"),
    "paper": ("distill.align_fraction=0",),
    "aligned": (),
    "random": (),
    "unclipped": ("distill.align_fraction=0", "optimizer.clip_norm=null"),
    "heavy": ("distill.weight=2",),
}
MAIN_KINDS = ("alone", "paper", "aligned", "random")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("run", "table", "gradients"))
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, nargs="+", default=[400, 1600])
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=MAIN_KINDS)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--init", default="", help="weights that every student starts from")
    parser.add_argument("--init-teacher", default="", help="and the teacher")
    parser.add_argument("--set", nargs="+", default=[], help="other settings of every run")
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    work = options.work.resolve()
    if options.action == "table":
        write_table(work, options.result)
        return
    if options.action == "gradients":
        print(json.dumps(gradients(work, options), indent=1))
        return
    prepare(work)
    most = max(options.steps)
    teacher = train(
        work,
        "teacher",
        settings(options, steps=most, seed=0),
        "sample/teacher",
        init_uri=options.init_teacher,
    )
    for steps in options.steps:
        for seed in options.seeds:
            for kind in options.kinds:
                changes = (*settings(options, steps=steps, seed=seed), *KINDS[kind])
                uri = {"alone": "", "random": random_teacher(work, options)}.get(kind, teacher)
                train(
                    work,
                    f"{kind}-{steps}-{seed}",
                    changes,
                    "sample/student",
                    teacher_uri=uri,
                    init_uri=options.init,
                )


def settings(options: argparse.Namespace, *, steps: int, seed: int) -> tuple[str, ...]:
    """Return what differs from the sample's recipe in every run."""
    return (
        f"image_size={options.image_size}",
        f"schedule.max_steps={steps}",
        f"seed={seed}",
        *options.set,
    )


def prepare(work: Path) -> None:
    """Render the sample and write its shards; nothing where they are."""
    if (work / "shards" / "result.json").exists():
        return
    data, records, plan, shards = (str(work / n) for n in ("data", "records", "plan", "shards"))
    render_sample(data, seed=0)
    merge_datasets(f"{data}/catalog.yaml", records)
    balance(records, plan, config=BalanceConfig(), global_batch=GLOBAL_BATCH)
    shard(records, plan, shards, global_batch=GLOBAL_BATCH)


def random_teacher(work: Path, options: argparse.Namespace) -> str:
    """Write the teacher's untrained start weights as a model, and return its folder."""
    folder = str(work / "random_teacher")
    if not storage.exists(f"{folder}/model.pt"):
        config = load_config("sample/teacher").with_overrides(settings(options, steps=1, seed=99))
        space = LabelSpace.load(str(work / "shards" / "label_space.csv"))
        state = build_state(config, num_classes=len(space), device=torch.device("cpu"))
        weights = state.average.state_dict()
        write_model(state, weights, f"{folder}/model.pt", space=space, manifest_sha256="")
    return folder


def train(
    work: Path,
    name: str,
    changes: tuple[str, ...],
    recipe: str,
    *,
    teacher_uri: str = "",
    init_uri: str = "",
) -> str:
    """Train and evaluate one run, unless it is there or another process is at it."""
    folder = work / name
    folder.mkdir(exist_ok=True)
    if (folder / "evaluation" / "metrics.json").exists() or not claim(folder):
        return str(folder)
    config: TrainConfig = load_config(recipe).with_overrides(changes)
    train_detector(
        shards_uri=str(work / "shards"),
        plan_uri=str(work / "plan"),
        out_uri=str(folder),
        config=config,
        teacher_uri=teacher_uri,
        init_uri=init_uri,
        num_workers=0,
    )
    score = evaluate_model(
        model_uri=str(folder),
        shards_uri=str(work / "shards"),
        out_uri=str(folder / "evaluation"),
    )
    print(f"{name}: AP {score.ap:.3f}, AP50 {score.ap50:.3f}", flush=True)
    return str(folder)


def gradients(work: Path, options: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Return how the backbone's gradients of both losses compare on four batches.

    "fresh" is step 0; "trained" the end of the longest `paper` run of seed 0.
    """
    places = (str(work / "shards"), str(work / "plan"))
    steps_run = max(options.steps)
    changes = settings(options, steps=steps_run, seed=0)
    config = load_config("sample/student").with_overrides(changes)
    space = LabelSpace.load(f"{places[0]}/label_space.csv")
    cpu = torch.device("cpu")
    teacher = load_teacher(
        str(work / "teacher"), config, label_space_sha256=space.sha256, device=cpu
    )
    job = TrainJob(config=config, shards_uri=places[0], plan_uri=places[1], out_uri="", run_key="")
    loader = TrainLoader(*places, loader_config(job), seed=0)
    batches = list(islice(loader.epoch(0, phase="plain"), 4))
    state = build_state(config, num_classes=len(space), device=cpu, teacher=teacher)
    state.model.train()
    fresh = [compare(state.model, teacher, batch) for batch in batches]
    trained = read_tensors(str(work / f"paper-{steps_run}-0" / "checkpoint" / "state.pt"))
    state.model.load_state_dict(trained["model"])
    return {
        "fresh": fresh,
        "trained": [compare(state.model, teacher, batch) for batch in batches],
    }


def compare(model: TrainedModel, teacher: Detector, batch: Batch) -> dict[str, float]:
    """Return length and angle of the two gradients, without the weight of the second."""
    local = to_device(batch, torch.device("cpu"), layout=torch.channels_last)
    (part,) = split(local, 1)
    features = look(teacher, part[0], torch.float32)
    parameters = list(model.detector.backbone.parameters())
    without, with_teacher = (
        flat_gradient(model(part, features, weight, torch.float32).total, parameters)
        for weight in (0.0, 1.0)
    )
    difference = with_teacher - without
    cosine = torch.nn.functional.cosine_similarity(without, difference, dim=0)
    return {
        "detection": round(float(without.norm()), 3),
        "distillation": round(float(difference.norm()), 3),
        "cosine": round(float(cosine), 3),
    }


def flat_gradient(total: torch.Tensor, parameters: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the gradient of all parameters as one vector."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(total, parameters)])


def claim(folder: Path) -> bool:
    """Tell whether this process may do the run: nobody who still lives has claimed it."""
    mark = folder / "claimed"
    if mark.exists() and Path(f"/proc/{mark.read_text()}").exists():
        return mark.read_text() == str(os.getpid())
    mark.write_text(str(os.getpid()))
    return True


def write_table(work: Path, result_file: Path) -> None:
    """Gather every finished run into means, spreads and gains over the student alone."""
    runs = []
    for path in sorted(work.glob("*/evaluation/metrics.json")):
        name = path.parent.parent.name
        if name == "teacher":
            continue
        kind, steps, seed = name.split("-")
        score = json.loads(path.read_text())
        result = json.loads((path.parent.parent / "result.json").read_text())
        curve = [
            {"step": line["step"], "loss": round(line["qfl"] + line["giou"] + line["dfl"], 4)}
            | {name: round(line[name], 4) for name in ("ap", "ap50") if name in line}
            for line in read_metrics(str(path.parent.parent))
            if line["kind"] == "epoch"
        ]
        runs.append(
            {
                "kind": kind,
                "steps": int(steps),
                "seed": int(seed),
                "ap": round(score["ap"], 4),
                "ap50": round(score["ap50"], 4),
                "minutes_in_steps": round(result["seconds"] / 60, 2),
                "curve": curve,
            }
        )
    teacher = json.loads((work / "teacher" / "evaluation" / "metrics.json").read_text())
    table = [
        summary(runs, kind, steps)
        for steps in sorted({run["steps"] for run in runs})
        for kind in KINDS
        if any(run["kind"] == kind and run["steps"] == steps for run in runs)
    ]
    report = {
        "command": "python benchmarks/proof_distillation.py run W; ... table W (docs/training.md)",
        "teacher": {"ap": round(teacher["ap"], 4), "ap50": round(teacher["ap50"], 4)},
        "table": table,
        "runs": runs,
        **surroundings(),
    }
    result_file.parent.mkdir(exist_ok=True)
    result_file.write_text(json.dumps(report, indent=1) + "\n")
    for row in table:
        print(row)


def summary(runs: list[dict[str, object]], kind: str, steps: int) -> dict[str, object]:
    """Return mean and spread of a kind, and its gain over the student alone, seed by seed."""
    scores = {run["seed"]: run for run in runs if run["kind"] == kind and run["steps"] == steps}
    alone = {run["seed"]: run for run in runs if run["kind"] == "alone" and run["steps"] == steps}
    row: dict[str, object] = {"kind": kind, "steps": steps, "seeds": len(scores)}
    for metric in ("ap", "ap50"):
        values = [float(str(run[metric])) for run in scores.values()]
        row[metric] = round(statistics.mean(values), 4)
        row[f"{metric}_spread"] = round(statistics.stdev(values), 4) if values[1:] else None
        gains = [
            float(str(scores[seed][metric])) - float(str(alone[seed][metric]))
            for seed in scores
            if seed in alone
        ]
        row[f"{metric}_gain"] = round(statistics.mean(gains), 4) if gains else None
        row[f"{metric}_gain_spread"] = round(statistics.stdev(gains), 4) if gains[1:] else None
    return row


if __name__ == "__main__":
    main()
