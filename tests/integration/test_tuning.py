"""Sweeps under Ray Tune: trials that die, trials that lag, a search that is killed.

pytest -m slow tests/integration/test_tuning.py
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import yaml

from damo_yolo.config import Config
from damo_yolo.errors import TrainingError
from damo_yolo.recipes.smoke import TWIN
from damo_yolo.stages.tune import tune_detector
from damo_yolo.training.config import TrainConfig
from damo_yolo.tuning.result import SweepResult
from damo_yolo.tuning.search import Outcome, SearchConfig, SearchPlan, search
from damo_yolo.tuning.space import Space
from damo_yolo.tuning.sweep import TuneConfig
from tests.square_builders import Squares, make_squares

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]

SPACE = Space.from_mapping({"parameters": {"x": {"uniform": [0.0, 1.0]}}})
START = {"x": 0.25}
Trial = Callable[[dict[str, Any], str], None]


def run(
    trial: Trial,
    folder: Path,
    *,
    space: Space = SPACE,
    start: dict[str, Any] | None = None,
    total_steps: int = 4,
    **settings: Any,
) -> list[Outcome]:
    plan = SearchPlan(
        name="search",
        folder_uri=str(folder),
        config=SearchConfig.from_mapping({"scheduler": "none", "searcher": "random", **settings}),
        points=[start or START],
        space=space,
        total_steps=total_steps,
    )
    return search(trial, plan, setup=str(folder))


def test_trials_that_die_end_no_search(tmp_path: Path) -> None:
    def trial(values: dict[str, Any], setup: str) -> None:
        import os
        from pathlib import Path

        from ray import tune

        from damo_yolo.errors import TrainingError

        mark = Path(setup) / f"{values['x']:.6f}"
        attempts = len(mark.read_text()) if mark.exists() else 0
        mark.write_text("." * (attempts + 1))
        number = len(list(Path(setup).glob("0.*")))
        if number == 2 and attempts == 0:
            os._exit(137)  # as the kernel does when memory is short
        if number == 3:
            raise TrainingError("the loss of step 3 is not finite", fix="lower the rate")
        if number == 4 and attempts == 0:
            raise MemoryError("no memory left")
        tune.report({"step": 4, "ap": values["x"]})

    found = run(trial, tmp_path, trials=5, concurrent=1, max_failures=1)

    assert len(found) == 5
    assert found[0].values == START
    assert [bool(outcome.problem) for outcome in found] == [False, False, True, False, False]
    assert "the loss of step 3 is not finite" in found[2].problem
    attempts = [len((tmp_path / f"{o.values['x']:.6f}").read_text()) for o in found]
    assert attempts == [1, 2, 2, 2, 1]


def test_a_trial_that_lags_is_stopped_and_the_others_end(tmp_path: Path) -> None:
    def trial(values: dict[str, Any], setup: str) -> None:
        from ray import tune

        del setup
        for step in range(1, 5):
            tune.report({"step": step, "ap": values["x"] * step})

    found = run(trial, tmp_path, trials=6, concurrent=1, scheduler="asha")

    values = [outcome.values["x"] for outcome in found]
    steps = [outcome.figures["step"] for outcome in found]
    stopped = [number for number, step in enumerate(steps) if step < 4]
    assert len(found) == 6
    assert steps[values.index(max(values))] == 4
    assert stopped
    assert all(values[number] < median(values[:number]) for number in stopped), "who came first"


def test_a_population_takes_turns_and_moves_values_within_the_space(tmp_path: Path) -> None:
    def trial(values: dict[str, Any], setup: str) -> None:
        import json
        from pathlib import Path
        from tempfile import TemporaryDirectory

        from ray import tune

        before, first = tune.get_checkpoint(), 1
        if before:
            with before.as_directory() as folder:
                first = int(Path(folder, "step").read_text()) + 1
        trial_id = tune.get_context().get_trial_id()
        for step in range(first, 9):
            with Path(setup, "steps.jsonl").open("a") as file:
                file.write(json.dumps([trial_id, step, values]) + "\n")
            with TemporaryDirectory() as folder:
                Path(folder, "step").write_text(str(step))
                point = tune.Checkpoint.from_directory(folder)
                tune.report({"step": step, "ap": values["x"] * step}, checkpoint=point)

    space = Space.from_mapping(
        {"parameters": {"x": {"uniform": [0.0, 1.0]}, "model": {"choice": ["s", "m", "l"]}}}
    )
    start = {"x": 0.95, "model": "m"}  # the strongest: others continue from it, beyond 1 or below

    found = run(trial, tmp_path, space=space, start=start, total_steps=8, trials=6, scheduler="pbt")

    lines = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    tried: dict[str, list[Any]] = {outcome.trial_id: [] for outcome in found}
    for trial_id, _, values in lines:
        tried[trial_id] += [] if values in tried[trial_id] else [values]
    assert len(found) == 6
    assert [outcome.problem for outcome in found] == [""] * 6
    assert [outcome.figures["step"] for outcome in found] == [8] * 6
    assert any(len(points) > 1 for points in tried.values()), "a weak one took a strong one's place"
    points = [values for all_of_one in tried.values() for values in all_of_one]
    assert all(0 <= values["x"] <= 1 and values["model"] in {"s", "m", "l"} for values in points)
    assert all(outcome.values == tried[outcome.trial_id][-1] for outcome in found), "trained"
    ends = [number for number, (_, step, _) in enumerate(lines) if step == 8]
    assert {trial_id for trial_id, _, _ in lines[: ends[0]]} == set(tried), "all take turns"


KILLED = """
import sys, time
from damo_yolo.tuning.search import SearchConfig, SearchPlan, search
from damo_yolo.tuning.space import Space

def trial(values, setup):
    import os, time
    from ray import tune
    folder = os.path.join(setup, tune.get_context().get_trial_id())
    with open(folder, "a") as file:
        file.write(f"{values['x']!r}\\n")
    for step in range(1, 5):
        time.sleep(0.5)
        tune.report({"step": step, "ap": values["x"]})

space = Space.from_mapping({"parameters": {"x": {"uniform": [0.0, 1.0]}}})
config = SearchConfig(trials=6, searcher="random", scheduler="none", concurrent=1)
plan = SearchPlan("search", sys.argv[1], config, points=[{"x": 0.25}], space=space, total_steps=4)
for outcome in search(trial, plan, setup=sys.argv[2]):
    print("OUTCOME", outcome.trial_id, repr(outcome.values["x"]), outcome.figures["step"])
"""


def test_a_killed_search_goes_on_with_the_same_trials(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(marks)]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    first = subprocess.Popen(command, env=environment, start_new_session=True)
    give_up_at = time.monotonic() + 120
    while len(list(marks.iterdir())) < 4 and time.monotonic() < give_up_at:
        time.sleep(0.1)
    time.sleep(1.0)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    before = {path.name: path.read_text().splitlines()[0] for path in marks.iterdir()}
    assert len(before) >= 4

    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=200, check=True
    )

    lines = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("OUTCOME")]
    after = {trial_id: value for trial_id, value, _ in lines}
    assert len(after) == 6
    assert before.items() <= after.items(), "same trials, same values"
    assert lines[0][1] == "0.25"
    assert all(step == "4.0" for _, _, step in lines)
    again = {path.name: len(path.read_text().splitlines()) for path in marks.iterdir()}
    assert len(again) == 6
    assert sum(again.values()) <= 7, "only the trial that was running started again"


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Squares:
    return make_squares(tmp_path_factory.mktemp("squares"))


RECIPE: TrainConfig = TWIN.with_overrides(["global_batch=4", "schedule.max_steps=4"])


@pytest.fixture(scope="module")
def sweep(squares: Squares, tmp_path_factory: pytest.TempPathFactory) -> SweepResult:
    folder = tmp_path_factory.mktemp("sweep")
    return tune_detector(
        shards_uri=squares.shards_uri,
        plan_uri=squares.plan_uri,
        records_uri=squares.records_uri,
        out_uri=str(folder / "out"),
        config=RECIPE,
        tune=_tune(folder / "space.yaml", trials=3, seeds=1),
        tracking_uri=f"sqlite:///{folder}/mlflow.db",
    )


def _tune(file: Path, *, trials: int, seeds: int) -> TuneConfig:
    parameters = {
        "loss.giou": {"log": [0.5, 8.0], "default": 2.0},
        "balance.empty_share": {"uniform": [0.0, 1.0], "default": 0.5},
    }
    file.write_text(yaml.safe_dump({"parameters": parameters}))
    settings = {"trials": trials, "scheduler": "none", "searcher": "random"}
    return TuneConfig.from_mapping({"space": str(file), "seeds": seeds, "search": settings})


def test_a_sweep_tries_the_published_values_first_and_trains_every_trial(
    sweep: SweepResult,
) -> None:
    assert [trial.state for trial in sweep.trials] == ["finished"] * 3
    assert sweep.trials[0].values == {"loss.giou": 2.0, "balance.empty_share": 0.5}
    assert [trial.is_default for trial in sweep.trials] == [True, False, False]
    for trial in sweep.trials:
        assert Path(trial.model_uri, "model.pt").exists()
        assert Path(trial.model_uri, "plan", "plan.parquet").exists()
        assert not list(Path(trial.model_uri).rglob("*.tar")), "one set of shards serves all"
        assert trial.figures["step"] == 4
        assert trial.figures["ap"] >= 0


def test_the_best_is_compared_with_the_default_before_it_is_called_better(
    sweep: SweepResult,
) -> None:
    assert sweep.comparison is not None
    assert sweep.comparison.seeds == (1000,)
    assert sweep.best in {1, 2}
    assert sweep.comparison.difference.verdict == "no difference shown"
    assert sweep.verdict.startswith("Nothing is shown to beat the default")
    assert sweep.chosen == sweep.trials[0].values
    assert sweep.overrides == []


def test_recipes_are_what_train_takes(sweep: SweepResult) -> None:
    chosen = TrainConfig.from_yaml(Path(sweep.recipe_uri).read_text())
    best = TrainConfig.from_yaml(Path(sweep.best_uri).read_text())

    assert chosen == RECIPE
    assert sweep.best is not None
    giou = sweep.trials[sweep.best].values["loss.giou"]
    assert best == RECIPE.with_overrides([f"loss.giou={giou}"])


def test_every_trial_is_a_child_run(sweep: SweepResult) -> None:
    from mlflow import MlflowClient

    folder = Path(sweep.recipe_uri).parents[1]
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("damo-yolo")
    assert experiment is not None

    runs = client.search_runs(
        [experiment.experiment_id], f"tags.mlflow.parentRunId = '{sweep.tracking_run_id}'"
    )

    assert sorted(run.data.tags["number"] for run in runs) == ["0", "1", "2"]
    assert {run.data.tags["state"] for run in runs} == {"finished"}
    for run in runs:
        assert set(run.data.params) == {"loss.giou", "balance.empty_share"}
        assert len(client.get_metric_history(run.info.run_id, "ap")) in {1, 2}


def test_a_finished_sweep_is_returned_and_another_does_not_enter_its_folder(
    sweep: SweepResult, squares: Squares
) -> None:
    folder = Path(sweep.recipe_uri).parent

    def repeat(seeds: int) -> Config:
        return tune_detector(
            shards_uri=squares.shards_uri,
            plan_uri=squares.plan_uri,
            records_uri=squares.records_uri,
            out_uri=str(folder),
            config=RECIPE,
            tune=_tune(folder.parent / "space.yaml", trials=3, seeds=seeds),
        )

    assert json.loads(repeat(1).model_dump_json()) == json.loads(sweep.model_dump_json())
    with pytest.raises(TrainingError, match="with other settings"):
        repeat(2)


def test_trials_of_several_workers_have_room_on_a_small_machine(
    squares: Squares, tmp_path: Path
) -> None:
    """A cluster of its own, as small as the machine: trials that only wait must leave room."""
    command = [sys.executable, "-m", "damo_yolo.cli.main", "tune", "--config", "smoke/twin"]
    command += ["--shards", squares.shards_uri, "--plan", squares.plan_uri]
    command += ["--out", str(tmp_path / "sweep"), "--set", "global_batch=4"]
    command += ["--trials", "2", "--steps", "4", "--seeds", "0", "--workers", "2", "--json"]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}

    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=600, check=False
    )

    assert done.returncode == 0, done.stderr
    result = SweepResult.from_yaml(done.stdout)
    assert [trial.state for trial in result.trials] == ["finished"] * 2
    assert all(trial.figures["step"] == 4 for trial in result.trials)
