"""Pipeline files are loaded, parameters read, and what KFP prints is told step by step."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from damo_yolo.cli.kfp_run import load_pipeline, read_arguments
from damo_yolo.cli.step_log import StepLog
from damo_yolo.errors import ConfigError

PIPELINE = """
from kfp import dsl

@dsl.component(base_image="python:3.11", install_kfp_package=False)
def double(number: int) -> int:
    return 2 * number

@dsl.pipeline
def doubling(number: int = 2, factor: float = 1.0, name: str = "x", loud: bool = False) -> int:
    return double(number=number).output
"""


@pytest.fixture
def pipeline_file(tmp_path: Path) -> Path:
    path = tmp_path / "pipelines" / "doubling.py"
    path.parent.mkdir()
    path.write_text(PIPELINE)
    return path


def test_overrides_take_the_types_that_the_pipeline_declares(pipeline_file: Path) -> None:
    pipeline = load_pipeline(pipeline_file)

    arguments = read_arguments(pipeline, ["number=3", "factor=2", "name=12", "loud=true"])

    assert arguments == {"number": 3, "factor": 2.0, "name": "12", "loud": True}
    assert isinstance(arguments["factor"], float)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epoch=3", "has no parameter 'epoch'"),
        ("number=many", "'number' is a whole number"),
        ("number=1.5", "'number' is a whole number"),
        ("loud=1", "'loud' is true or false"),
        ("number", "has no name and value"),
    ],
)
def test_a_wrong_override_names_the_parameter(
    pipeline_file: Path, override: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_arguments(load_pipeline(pipeline_file), [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "holds 0 pipelines"), (PIPELINE + PIPELINE.replace("doubling", "other"), "2 pipelines"),
     ("import no_such_module_at_all", "cannot be imported")],
)  # fmt: skip
def test_a_file_without_one_pipeline_is_refused(
    pipeline_file: Path, text: str, message: str
) -> None:
    pipeline_file.write_text(text)

    with pytest.raises(ConfigError, match=message):
        load_pipeline(pipeline_file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no pipeline file"):
        load_pipeline(tmp_path / "none.py")


RUN = """\
10:00:00.000 - INFO - Executing task \x1b[96m'merge'\x1b[0m
10:00:00.000 - INFO - Streamed logs:

    [KFP Executor 2026-11-23 INFO]: Looking for component
    [KFP Executor 2026-11-23 INFO]: Got executor_input:
    {
        "inputs": {}
    }
    merged 3 datasets
    (PlacementGroupCleaner pid=9) Traceback (most recent call last):
    (PlacementGroupCleaner pid=9) ray.exceptions.AuthenticationError: RPC error
    [KFP Executor 2026-11-23 INFO]: step 20: loss 1.5
    Traceback (most recent call last):
      File "a.py", line 1, in <module>
    damo_yolo.errors.DataError: 2 classes are not mapped, first: Bat
      fix: add each to the mapping
10:00:01.000 - ERROR - Task \x1b[96m'merge'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m
"""


def test_a_failed_step_tells_its_error_and_no_traceback(tmp_path: Path) -> None:
    screen = io.StringIO()
    with StepLog(tmp_path / "run.log", Console(file=screen, soft_wrap=True)) as log:
        log.write("10:00:00.000 - INFO - Task 'check' cache hit (key=1)\n")
        for piece in RUN.partition("datasets"):  # lines may arrive in pieces
            log.write(piece)
        failure = log.failure()

    assert failure is not None
    assert failure.problem == "step merge: 2 classes are not mapped, first: Bat"
    assert failure.fix == "add each to the mapping"
    shown = screen.getvalue()
    assert "check reused" in shown
    assert "  merged 3 datasets" in shown
    assert "  step 20: loss 1.5" in shown
    assert "inputs" not in shown
    assert "Cleaner" not in shown
    assert "Traceback" not in shown
    assert "KFP Executor" not in shown
    assert "Traceback" in (tmp_path / "run.log").read_text()


def test_an_unforeseen_error_is_told_by_its_last_line(tmp_path: Path) -> None:
    with StepLog(tmp_path / "run.log", Console(file=io.StringIO())) as log:
        log.write("10:00:00.000 - INFO - Executing task 'merge'\n")
        log.write("    Traceback (most recent call last):\n      File x\n    KeyError: 'a'\n")
        failure = log.failure()

    assert failure is not None
    assert failure.problem == "step merge: KeyError: 'a'"
    assert "run.log" in failure.fix
