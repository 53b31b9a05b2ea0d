"""A sweep of twelve trials over the loss weights of the sample, killed halfway, timed to its end.

    python benchmarks/sweep.py /tmp/sweep

renders the sample, starts `damo-yolo tune`, ends it with SIGKILL once half of the trials have ended
(its whole process group: driver, Ray and trials), starts it again, and writes
`benchmarks/results/sweep_loss_weights.json`. A repeated call goes on where the last one stopped.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from damo_yolo.mixing.balance import BalanceConfig
from damo_yolo.stages.balance import balance
from damo_yolo.stages.check import check_catalog
from damo_yolo.stages.merge import merge_datasets
from damo_yolo.stages.sample import render_sample
from damo_yolo.stages.shard import shard
from damo_yolo.tuning.result import SWEEP_FILE
from damo_yolo.tuning.trial import ATTEMPTS_FILE, TRIALS

RESULT = Path(__file__).parent / "results" / "sweep_loss_weights.json"
PACKAGES = ("torch", "ray", "optuna", "damo-yolo-pipeline")
NUM_TRIALS, STEPS, SEEDS, GLOBAL_BATCH = 12, 300, 3, 8
KILL, CALLS = "killed.json", "calls.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where data and sweep go")
    parser.add_argument("--trials", type=int, default=NUM_TRIALS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    root = options.folder.resolve()
    prepare(root)
    out = root / "sweep"
    if not (root / KILL).exists():
        (root / KILL).write_text(json.dumps(run_and_kill(root, options)))
    run(root, options)
    result = json.loads((out / SWEEP_FILE).read_text())
    report = summary(result, root)
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({k: v for k, v in report.items() if k != "trials"}, indent=1))


def prepare(root: Path) -> None:
    """Make records, plan and shards of the sample."""
    if (root / "shards" / "result.json").exists():
        return
    names = ("data", "records", "plan", "shards")
    data, records, plan, shards = (str(root / name) for name in names)
    render_sample(data)
    catalog = f"{data}/catalog.yaml"
    check_catalog(catalog, str(root / "check")).raise_on_errors()
    merge_datasets(catalog, records)
    balance(records, plan, config=BalanceConfig(), global_batch=GLOBAL_BATCH)
    shard(records, plan, shards)


def start(root: Path, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "damo_yolo.cli.main", "tune"]
    command += ["--shards", str(root / "shards"), "--plan", str(root / "plan")]
    command += ["--out", str(root / "sweep"), "--config", "sample/twin"]
    command += ["--trials", str(options.trials), "--steps", str(options.steps)]
    command += ["--seeds", str(SEEDS), "--tracking-uri", f"sqlite:///{root}/mlflow.db"]
    return subprocess.Popen(command, start_new_session=True)


def run_and_kill(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Kill everything once half of the trials have ended; return what was there by then."""
    began = time.monotonic()
    process = start(root, options)
    while num_ended(root) < options.trials // 2:
        if process.poll() is not None:
            sys.exit("the sweep ended before half of its trials had")
        time.sleep(1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    note_call(root, time.monotonic() - began)
    return {"ended": num_ended(root), "values": values_of(root)}


def run(root: Path, options: argparse.Namespace) -> None:
    began = time.monotonic()
    code = start(root, options).wait()
    if code:
        sys.exit(code)
    if time.monotonic() - began > 1:
        note_call(root, time.monotonic() - began)


def note_call(root: Path, seconds: float) -> None:
    file = root / CALLS
    calls = json.loads(file.read_text()) if file.exists() else []
    file.write_text(json.dumps([*calls, round(seconds, 1)]))


def num_ended(root: Path) -> int:
    """Return how many trials have trained to their end or were stopped: all but the running."""
    words: list[list[str]] = [json.loads(f.read_text()) for f in trial_folders(root, ATTEMPTS_FILE)]
    running = min(os.cpu_count() or 1, len(words))
    return max(len(words) - running, sum(attempts[-1] == "" for attempts in words))


def values_of(root: Path) -> dict[str, list[float]]:
    """Return the loss weights of every trial that has started, by its id."""
    found = {}
    for file in trial_folders(root, "config.yaml"):
        loss = yaml.safe_load(file.read_text())["loss"]
        found[file.parent.name] = [loss[name] for name in ("qfl", "giou", "dfl")]
    return found


def trial_folders(root: Path, name: str) -> list[Path]:
    return sorted((root / "sweep" / TRIALS).glob(f"*/{name}"))


def summary(result: dict[str, Any], root: Path) -> dict[str, Any]:
    killed, calls = (json.loads((root / name).read_text()) for name in (KILL, CALLS))
    after = {
        trial["trial_id"]: [trial["values"][f"loss.{name}"] for name in ("qfl", "giou", "dfl")]
        for trial in result["trials"]
    }
    return {
        "what": "damo-yolo tune over the loss weights of the sample, killed halfway, resumed",
        "date": datetime.now(tz=UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "steps_of_a_trial": result["total_steps"],
        "minutes": round(sum(calls) / 60, 1),
        "seconds_of_each_call": calls,
        "minutes_of_training": round(sum(t["seconds"] for t in result["trials"]) / 60, 1),
        "trials_started_before_the_kill": len(killed["values"]),
        "same_trials_after_it": all(after.get(k) == v for k, v in killed["values"].items()),
        "published_weights_among_them": result["trials"][0]["values"]
        == {"loss.qfl": 1.0, "loss.giou": 2.0, "loss.dfl": 0.25},
        "verdict": result["verdict"],
        "importance": result["importance"],
        "comparison": result["comparison"],
        "trials": [
            {k: t[k] for k in ("number", "values", "state", "figures", "attempts", "seconds")}
            for t in result["trials"]
        ],
    }


if __name__ == "__main__":
    main()
