"""`kfp-run FILE`: run a pipeline file on this machine, or submit the same file to a cluster."""

import contextlib
import importlib.util
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from damo_yolo.cli.console import console, run_app
from damo_yolo.cli.step_log import LOG_FORMAT, StepFailed, StepLog
from damo_yolo.config import parse_override
from damo_yolo.errors import ConfigError, DamoYoloError

if TYPE_CHECKING:
    from kfp.dsl.base_component import BaseComponent

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

WORKSPACE = "workspace"
"""The pipeline parameter that says where outputs go; made absolute for a local run."""


def main() -> None:
    """Entry point of the console script."""
    run_app(app)


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="Pipeline file: pipelines/general_class.py")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Override a pipeline parameter."),
    ] = None,
    endpoint: Annotated[
        str,
        typer.Option(envvar="KFP_ENDPOINT", help="Kubeflow Pipelines API; empty: run here."),
    ] = "",
    experiment: Annotated[str, typer.Option(help="Experiment on the endpoint.")] = "damo-yolo",
    wait: Annotated[bool, typer.Option(help="Wait for the submitted run to end.")] = False,
    cache: Annotated[bool, typer.Option(help="Reuse steps whose inputs did not change.")] = True,
    parameters: Annotated[
        bool, typer.Option("--parameters", help="List the pipeline's parameters and stop.")
    ] = False,
) -> None:
    """Run a pipeline file here, or on a cluster with --endpoint."""
    pipeline = load_pipeline(file)
    if parameters:
        _print_parameters(pipeline)
        return
    arguments = read_arguments(pipeline, overrides or [])
    if endpoint:
        submit(
            pipeline, arguments, endpoint=endpoint, experiment=experiment, wait=wait, cache=cache
        )
    else:
        run_here(pipeline, arguments, cache=cache)


def load_pipeline(file: Path) -> "BaseComponent":
    """Return the one pipeline defined in a file.

    Raises:
        ConfigError: there is no such file, it cannot be imported, or it holds no single pipeline.
    """
    if not file.is_file():
        raise ConfigError(f"no pipeline file at {file}", fix="check the path")
    from kfp.dsl.graph_component import GraphComponent

    module = _import_file(file)
    found = {name: obj for name, obj in vars(module).items() if isinstance(obj, GraphComponent)}
    if len(found) != 1:
        raise ConfigError(
            f"{file} holds {len(found)} pipelines" + (f": {', '.join(found)}" if found else ""),
            fix="keep exactly one function decorated with @dsl.pipeline in the file",
        )
    pipeline: BaseComponent = next(iter(found.values()))
    return pipeline


def read_arguments(pipeline: "BaseComponent", overrides: list[str]) -> dict[str, Any]:
    """Return the pipeline arguments named by `name=value` overrides, typed as declared.

    Raises:
        ConfigError: a name is not a parameter, or a value is not of its type.
    """
    declared = pipeline.component_spec.inputs or {}
    arguments = {}
    for text in overrides:
        name, value = parse_override(text)
        if name not in declared:
            raise ConfigError(
                f"the pipeline {pipeline.name!r} has no parameter {name!r}",
                fix=f"use one of: {', '.join(sorted(declared))}",
            )
        raw = text.partition("=")[2]
        arguments[name] = _typed(name, value, raw=raw, kind=str(declared[name].type))
    return arguments


def run_here(pipeline: "BaseComponent", arguments: dict[str, Any], *, cache: bool) -> None:
    """Run every step in a process of its own on this machine, with one Ray head for all."""
    from kfp import local

    declared = pipeline.component_spec.inputs or {}
    if WORKSPACE in declared:
        given = arguments.get(WORKSPACE) or declared[WORKSPACE].default or "runs"
        if "://" not in given:
            arguments[WORKSPACE] = str(Path(given).resolve())
    root = Path(arguments.get(WORKSPACE, "runs")).resolve()
    if "://" in str(arguments.get(WORKSPACE, "")):
        root = Path("runs").resolve()
    root.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    warnings.filterwarnings("ignore", module=r"kfp\.")  # what a local run cannot honour
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(root / "kfp"),
        enable_caching=cache,
    )
    started = time.monotonic()
    screen = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    step_log = StepLog(root / "kfp-run.log", screen, names=_display_names(pipeline))
    with _ray_head(), _stdout_to(step_log) as log:
        try:
            task = pipeline(**arguments)
        except RuntimeError as error:  # how KFP's local runner says that a step failed
            raise _explain(log, error) from None
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    console.print(f"pipeline {pipeline.name} finished in {minutes} min {seconds:02d} s")
    _show_summary(task)


def submit(
    pipeline: "BaseComponent",
    arguments: dict[str, Any],
    *,
    endpoint: str,
    experiment: str,
    wait: bool,
    cache: bool,
) -> None:
    """Send the pipeline to a Kubeflow Pipelines API."""
    import tempfile

    import urllib3
    from kfp import Client, compiler
    from kfp_server_api.exceptions import ApiException

    declared = pipeline.component_spec.inputs or {}
    if WORKSPACE in declared:
        workspace = str(arguments.get(WORKSPACE) or declared[WORKSPACE].default)
        if "://" not in workspace:
            raise ConfigError(
                f"the workspace {workspace!r} is a folder of this machine; no pod can see it",
                fix="give an object store: --set workspace=s3://bucket/prefix",
            )
    try:
        client = Client(host=endpoint)
        with tempfile.TemporaryDirectory() as folder:
            package = str(Path(folder) / "pipeline.yaml")
            compiler.Compiler().compile(pipeline, package)
            answer = client.create_run_from_pipeline_package(
                package, arguments, experiment_name=experiment, enable_caching=cache
            )
        console.print(
            f"submitted {pipeline.name}: {endpoint.rstrip('/')}/#/runs/details/{answer.run_id}"
        )
        if wait:
            state = client.wait_for_run_completion(answer.run_id, timeout=7 * 24 * 3600).state
            if state != "SUCCEEDED":
                raise DamoYoloError(f"the run ended {state}", fix="open it in the dashboard")
            console.print(f"the run ended {state}")
    except (urllib3.exceptions.HTTPError, ApiException, ValueError, ConnectionError) as error:
        reason = str(error).strip().splitlines()[0][:300]
        raise ConfigError(
            f"the Kubeflow Pipelines API at {endpoint} did not take the run: {reason}",
            fix="check the address and your login, or leave --endpoint out to run here",
        ) from None


def _import_file(file: Path) -> ModuleType:
    # A pipeline imports `components`, which lies beside its folder in a checkout.
    root = str(file.resolve().parent.parent)
    if root not in sys.path:
        sys.path.insert(0, root)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (ImportError, SyntaxError) as error:
        raise ConfigError(f"{file} cannot be imported: {error}", fix="correct the file") from None
    return module


def _typed(name: str, value: Any, *, raw: str, kind: str) -> Any:
    if kind == "String":
        return raw
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        "Integer": (is_number and value == int(value), "a whole number"),
        "Float": (is_number, "a number"),
        "Boolean": (isinstance(value, bool), "true or false"),
    }
    accepted, form = fits.get(kind, (True, ""))
    if not accepted:
        raise ConfigError(
            f"the parameter {name!r} is {form}, not {raw!r}", fix=f"write {name}=<{form}>"
        )
    return float(value) if kind == "Float" else value


def _display_names(pipeline: "BaseComponent") -> dict[str, str]:
    """Return what a person calls each task, by the name KFP's local runner prints."""
    tasks = pipeline.pipeline_spec.root.dag.tasks.values()
    return {task.component_ref.name.removeprefix("comp-"): task.task_info.name for task in tasks}


def _print_parameters(pipeline: "BaseComponent") -> None:
    for name, parameter in (pipeline.component_spec.inputs or {}).items():
        console.print(f"{name} = {parameter.default!r}", markup=False)


@contextlib.contextmanager
def _ray_head() -> Iterator[None]:
    """Start one Ray head for all steps and hand its address to them."""
    from damo_yolo.compute.ray_cluster import connect

    if os.environ.get("RAY_ADDRESS"):
        yield
        return
    with connect():
        import ray

        os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
        try:
            yield
        finally:
            del os.environ["RAY_ADDRESS"]


@contextlib.contextmanager
def _stdout_to(log: StepLog) -> Iterator[StepLog]:
    root = logging.getLogger()
    handlers, handler = root.handlers[:], logging.StreamHandler(log)
    handler.setFormatter(logging.Formatter(LOG_FORMAT, datefmt="%H:%M:%S"))
    root.handlers[:] = [handler]
    try:
        with log, contextlib.redirect_stdout(log):
            yield log
    finally:
        root.handlers[:] = handlers


def _explain(log: StepLog, error: RuntimeError) -> DamoYoloError:
    failed: StepFailed | None = log.failure()
    if failed is None:
        return DamoYoloError(str(error), fix=f"read {log.path}")
    return DamoYoloError(failed.problem, fix=failed.fix)


def _show_summary(task: Any) -> None:
    from damo_yolo.reporting.terminal import print_summary

    outputs = getattr(task, "outputs", None)
    for value in outputs.values() if isinstance(outputs, dict) else ():
        if isinstance(value, str) and value.endswith("summary.json"):
            print_summary(value, console)


if __name__ == "__main__":
    main()
