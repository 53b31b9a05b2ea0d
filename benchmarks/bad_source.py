"""Is a planted bad source found? `python benchmarks/bad_source.py RECORDS PLAN SHARDS MODEL`.

For each training dataset of a finished run in turn: its boxes are moved by a third of their size,
the shards are written anew, and `damo-yolo evaluate --plan` ranks the sources: with MODEL, trained
on the honest data, as the witness, and for datasets after `--train` with a detector that was
trained on the bad data.
"""

import argparse
import json
import os
import platform
import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from damo_yolo.datasets.records import read_records, write_records
from damo_yolo.evaluation.sources import SourceRanking
from damo_yolo.recipes.choose import choose_recipe
from damo_yolo.samples import ImageRecord
from damo_yolo.stages.evaluate import evaluate_model
from damo_yolo.stages.shard import shard
from damo_yolo.stages.train import train_detector

RESULT = Path(__file__).parent / "results" / "bad_source.json"
SHIFT = 1 / 3
"""Of width and height: two equal boxes so far apart overlap with IoU 0.29."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("records", "plan", "shards", "model"):
        parser.add_argument(name)
    parser.add_argument("--train", nargs="*", default=[], metavar="DATASET")
    options = parser.parse_args()
    names = sorted(json.loads(Path(options.plan, "plan.json").read_text())["datasets"])
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        honest = _ranked(options.model, options.shards, options.plan, Path(folder) / "honest")
        rows.append(_row("none", "honest", honest))
        for bad in names:
            shards = _planted(options, bad, Path(folder) / bad)
            ranking = _ranked(options.model, shards, options.plan, Path(folder) / f"{bad}-ranked")
            rows.append(_row(bad, "honest", ranking))
            if bad in options.train:
                model = str(Path(folder) / f"{bad}-model")
                config = choose_recipe("sample", role="twin", model="damo-yolo-ns", seed=0)
                train_detector(
                    shards_uri=shards, plan_uri=options.plan, out_uri=model, config=config
                )
                out = Path(folder) / f"{bad}-trained"
                rows.append(_row(bad, "bad", _ranked(model, shards, options.plan, out)))
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: metadata.version(name) for name in ("torch", "numpy")},
        "shift": SHIFT,
        "rows": rows,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _planted(options: argparse.Namespace, bad: str, folder: Path) -> str:
    """Write the records with one dataset's boxes moved, and their shards."""
    records = folder / "records"
    shutil.copytree(options.records, records)
    moved = (_moved(row) if row.dataset == bad else row for row in _rows(options.records))
    write_records(moved, str(records / "train.parquet"))
    shard(str(records), options.plan, str(folder / "shards"), global_batch=8)
    return str(folder / "shards")


def _rows(records: str) -> list[ImageRecord]:
    return list(read_records(str(Path(records) / "train.parquet")))


def _moved(row: ImageRecord) -> ImageRecord:
    """Move the boxes right and down, or back where they would leave the image."""
    sides = row.boxes[:, 2:] - row.boxes[:, :2]
    step = SHIFT * sides
    size = np.array([row.width, row.height], np.float32)
    step = np.where(row.boxes[:, 2:] + step > size, -step, step)
    boxes = row.boxes + np.tile(step, 2)
    inside = np.clip(boxes, 0, np.tile(size, 2)).astype(np.float32)
    return replace(row, boxes=inside)


def _ranked(model: str, shards: str, plan: str, out: Path) -> SourceRanking:
    evaluate_model(model_uri=model, shards_uri=shards, plan_uri=plan, out_uri=str(out))
    return SourceRanking.model_validate_json((out / "sources.json").read_text())


def _row(bad: str, witness: str, ranking: SourceRanking) -> dict[str, Any]:
    row = {
        "bad": bad,
        "witness_trained_on": f"{witness} data",
        "worst": ranking.sources[0].name,
        "scores": {item.name: round(item.score, 3) for item in ranking.sources},
        "own_agreement": {item.name: round(item.own_agreement, 3) for item in ranking.sources},
        "taught": {item.name: round(item.taught, 3) for item in ranking.sources},
    }
    print(json.dumps(row), flush=True)
    return row


if __name__ == "__main__":
    main()
