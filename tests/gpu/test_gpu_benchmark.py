"""The script that somebody with a GPU runs: small on a CPU here, whole on the device there."""

import importlib
import json
import os
import subprocess
import sys
import venv
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
        assert row["images_per_s"] == pytest.approx(2 / row["step_ms"] * 1000, rel=0.05)
        share = row["split_ms"]["loss"] / sum(row["split_ms"].values())
        assert row["assignment_and_loss_share"] == pytest.approx(share, abs=0.01)
    assert report["device"] == "CPU"


def test_it_needs_no_package_but_those_it_names() -> None:
    program = (
        "import sys, torch; before = set(sys.modules); import gpu;"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "benchmarks")}
    found = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
    )

    packages = set(found.stdout.split()) - set(sys.stdlib_module_names)
    ours = {"gpu", "damo_yolo", "tests"}
    theirs = {"numpy", "pydantic", "pydantic_core", "annotated_types", "typing_inspection", "yaml"}
    helpers = {name for name in packages if name.startswith("_") or name == "cython_runtime"}
    assert ours < packages
    assert packages - ours - theirs - helpers - {"typing_extensions"} == set()


def test_without_torch_or_a_network_it_says_what_to_do(tmp_path: Path) -> None:
    bare = tmp_path / "bare" / "bin" / "python"
    venv.create(tmp_path / "bare", with_pip=True, symlinks=True)
    environment = {**os.environ, "PYTHON": str(bare), "PIP_NO_INDEX": "1", "PYTHONPATH": ""}
    environment["GPU_PACKAGES"] = str(tmp_path / "packages")
    script = ROOT / "benchmarks" / "gpu.sh"

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [script], env=environment, check=False, capture_output=True, text=True
        )

    no_torch = run()
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "torch.py").touch()
    no_network = run()

    assert (no_torch.returncode, no_network.returncode) == (2, 2)
    assert f"error: {bare} has no torch" in no_torch.stderr
    assert f"{bare} has no numpy pydantic pyyaml, and they could not be" in no_network.stderr
    assert "pip download --dest wheels numpy pydantic pyyaml" in no_network.stderr


def test_a_model_that_does_not_fit_says_so_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    gpu = importlib.import_module("gpu")

    def full(*_arguments: object) -> None:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(gpu, "eager_loss", full)
    small = "--device cpu --models damo-yolo-ns --precisions fp32 bf16 --image-size 64 --batch 2"
    monkeypatch.setattr(sys, "argv", ["gpu.py", *small.split(), "--steps", "1"])

    gpu.main()

    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row.get("failed", "") for row in rows] == ["", "out of memory"] * 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
def test_steps_on_the_device_lose_the_same_in_both_forms(tmp_path: Path) -> None:
    report = _run(tmp_path / "gpu.json", "--models", "damo-yolo-t", "--batch", "4", "--steps", "5")

    by_kind = {(row["precision"], row["kind"]): row for row in report["rows"]}
    for precision in ("bf16", "fp32"):
        ours, eager = by_kind[precision, "ours"], by_kind[precision, "eager"]
        assert ours["loss"] == pytest.approx(eager["loss"], rel=0.02)
        assert ours["peak_memory_mib"] > 0
