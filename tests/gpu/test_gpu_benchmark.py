"""The script that somebody with a GPU runs: small on a CPU here, whole on the device there."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
PARTS = {"forward", "loss", "backward", "update"}


def _run(out: Path, *arguments: str) -> Any:
    environment = {**os.environ, "GPU_RESULT": str(out), "PYTHON": sys.executable}
    script = ROOT / "benchmarks" / "gpu.sh"
    subprocess.run([script, *arguments], env=environment, check=True, capture_output=True)
    return json.loads(out.read_text())


def test_it_prints_one_json_and_both_forms_lose_the_same(tmp_path: Path) -> None:
    small = ["--device", "cpu", "--models", "damo-yolo-ns", "--precisions", "fp32"]
    sizes = ["--image-size", "64", "--batch", "2", "--objects", "3", "--steps", "1"]

    report = _run(tmp_path / "gpu.json", *small, *sizes)

    ours, eager = report["rows"]
    assert (ours["kind"], eager["kind"]) == ("ours", "eager")
    assert ours["loss"] == pytest.approx(eager["loss"], rel=1e-3)
    for row in report["rows"]:
        assert set(row["split_ms"]) == PARTS
        assert row["step_ms"] == pytest.approx(sum(row["split_ms"].values()), abs=0.1)
        assert 0 < row["assignment_and_loss_share"] < 1
    assert report["device"] == "CPU"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
def test_steps_on_the_device_lose_the_same_in_both_forms(tmp_path: Path) -> None:
    report = _run(tmp_path / "gpu.json", "--models", "damo-yolo-t", "--batch", "4", "--steps", "5")

    by_kind = {(row["precision"], row["kind"]): row for row in report["rows"]}
    for precision in ("bf16", "fp32"):
        ours, eager = by_kind[precision, "ours"], by_kind[precision, "eager"]
        assert ours["loss"] == pytest.approx(eager["loss"], rel=0.02)
        assert ours["peak_memory_mib"] > 0
