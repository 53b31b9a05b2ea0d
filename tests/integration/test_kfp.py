"""Pipeline files compile, run here through KFP's local runner, and are submitted to an API."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = ROOT / "pipelines" / "general_class.py"
SHIM = ROOT / "infra" / "bin" / "kfp"

STEPS = """
from kfp import dsl

@dsl.component(base_image="python:3.11", install_kfp_package=False)
def check(catalog: str) -> str:
    from damo_yolo.errors import DataError

    if catalog == "broken":
        raise DataError("dataset 'a': 2 classes are not mapped, first: Bat", fix="map them")
    print(f"checked {catalog}")
    return catalog.upper()

@dsl.pipeline
def checking(catalog: str = "fine", workspace: str = "runs") -> str:
    return check(catalog=catalog).output
"""


def run_program(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DAMO_YOLO_PYTHON": sys.executable, "RAY_ADDRESS": "none:1"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def steps_file(tmp_path: Path) -> Path:
    path = tmp_path / "steps.py"
    path.write_text(STEPS)
    return path


def kfp_run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_program(sys.executable, "-m", "damo_yolo.cli.kfp_run", *arguments, cwd=cwd)


@pytest.mark.parametrize(
    ("file", "steps"),
    [
        ("general_class.py", {"check-catalog", "merge-datasets", "tune-detector", "promote-model"}),
        ("loss_weights.py", {"merge-datasets", "write-shards", "tune-detector", "register-model"}),
    ],
)
def test_the_pipelines_compile_as_the_kfp_manual_says(
    tmp_path: Path, file: str, steps: set[str]
) -> None:
    target, pipeline = tmp_path / "pipeline.yaml", str(PIPELINE.with_name(file))

    done = run_program(
        str(SHIM), "dsl", "compile", "--py", pipeline, "--output", str(target), cwd=ROOT
    )

    assert done.returncode == 0, done.stderr
    spec = next(yaml.safe_load_all(target.read_text()))
    assert {"train-detector", *steps} <= set(spec["root"]["dag"]["tasks"])
    for executor in spec["deploymentSpec"]["executors"].values():
        assert "pip install" not in " ".join(executor["container"]["command"])


def test_a_repeated_run_reuses_its_steps(steps_file: Path, tmp_path: Path) -> None:
    first = run_program(str(SHIM), "run", str(steps_file), cwd=tmp_path)
    second = run_program(str(SHIM), "run", str(steps_file), cwd=tmp_path)

    assert first.returncode == 0, first.stderr
    assert "checked fine" in first.stdout
    assert "check reused" in second.stdout
    assert "checked fine" not in second.stdout


def test_a_failed_step_ends_in_one_sentence_with_a_fix(steps_file: Path, tmp_path: Path) -> None:
    done = kfp_run(str(steps_file), "--set", "catalog=broken", cwd=tmp_path)

    assert done.returncode == 2
    assert "dataset 'a': 2 classes are not mapped, first: Bat" in done.stderr
    assert "fix: map them" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


class FakeApi(BaseHTTPRequestHandler):
    """As much of the Kubeflow Pipelines API as a submission uses."""

    runs: list[dict[str, Any]]

    def do_GET(self) -> None:
        if self.path.startswith("/apis/v2beta1/healthz"):
            self.answer({"multi_user": False})
        elif self.path.startswith("/apis/v2beta1/experiments"):
            self.answer({"experiments": []})
        else:
            self.answer({"run_id": "run-1", "state": "SUCCEEDED"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.startswith("/apis/v2beta1/experiments"):
            self.answer({"experiment_id": "exp-1", "display_name": body["display_name"]})
        else:
            self.runs.append(body)
            self.answer({"run_id": "run-1", "experiment_id": "exp-1"})

    def answer(self, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    class Handler(FakeApi):
        runs: list[dict[str, Any]] = []  # noqa: RUF012 - one list for each server

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", Handler.runs
    server.shutdown()
    server.server_close()


def test_the_same_file_is_submitted_to_an_endpoint(
    api: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    endpoint, runs = api

    done = kfp_run(
        str(PIPELINE), "--endpoint", endpoint, "--wait",
        "--set", "workspace=s3://bucket/runs", "--set", "epochs=3", cwd=tmp_path,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert runs[0]["runtime_config"]["parameters"] == {
        "workspace": "s3://bucket/runs",
        "epochs": 3,
    }
    spec = runs[0]["pipeline_spec"]  # two documents: the pipeline, and what Kubernetes adds to it
    assert spec["pipeline_spec"]["pipelineInfo"]["name"] == "general-class"
    assert "damo-yolo-storage" in json.dumps(spec["platform_spec"])
    assert "SUCCEEDED" in done.stdout


def test_a_folder_of_this_machine_is_refused_as_a_cluster_workspace(tmp_path: Path) -> None:
    done = kfp_run(str(PIPELINE), "--endpoint", "http://127.0.0.1:9", cwd=tmp_path)

    assert done.returncode == 2
    assert "no pod can see it" in done.stderr


def test_an_endpoint_that_does_not_answer_is_named(tmp_path: Path) -> None:
    done = kfp_run(
        str(PIPELINE), "--endpoint", "http://127.0.0.1:9", "--set", "workspace=s3://b/r",
        cwd=tmp_path,
    )  # fmt: skip

    assert done.returncode == 2
    assert "http://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
