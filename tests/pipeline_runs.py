"""A pipeline file, run on this machine as a user runs it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PIPELINES = ROOT / "pipelines"


@dataclass(frozen=True)
class Run:
    """A finished run of the pipeline."""

    workspace: Path
    stdout: str
    stderr: str
    code: int

    @property
    def summary(self) -> dict[str, Any]:
        newest = max(self.workspace.glob("report-*/summary.json"), key=os.path.getmtime)
        values: dict[str, Any] = json.loads(newest.read_text())
        return values

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.workspace}/mlflow.db"


def run_pipeline(
    workspace: Path, *settings: str, file: str = "general_class.py", ray: bool = True
) -> Run:
    """Run a pipeline file here, as a user would.

    Args:
        workspace: of the run.
        settings: as `name=value`.
        file: of the folder `pipelines`.
        ray: False: a step that needs Ray fails, so all such must be reused.
    """
    command = [sys.executable, "-m", "damo_yolo.cli.kfp_run", str(PIPELINES / file)]
    for setting in (f"workspace={workspace}", *settings):
        command += ["--set", setting]
    environment = {**os.environ, "COLUMNS": "120"}
    environment.pop("RAY_ADDRESS", None)
    if not ray:
        environment["RAY_ADDRESS"] = (
            "nowhere:1"  # a step that came to training would fail otherwise
        )
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=590, check=False
    )
    return Run(workspace, done.stdout, done.stderr, done.returncode)
