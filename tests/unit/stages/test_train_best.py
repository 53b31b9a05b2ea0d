"""The best backbones of a search are trained as the shipped one is, and take as long."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from damo_yolo.cli.main import app
from damo_yolo.errors import ConfigError
from damo_yolo.models.config import DetectorConfig
from damo_yolo.recipes.smoke import TWIN
from damo_yolo.search.evolve import EvolutionConfig
from damo_yolo.stages import profile_targets, train_best
from damo_yolo.stages.profile import list_convs
from damo_yolo.stages.profile_targets import Placed
from damo_yolo.stages.search import SearchConfig
from damo_yolo.stages.train_best import TrainBestConfig, TrainBestResult
from tests.detector_builders import flat_latency
from tests.square_builders import Squares, make_squares

BUDGETS = {"layers": 32.0}
SEARCH = SearchConfig(image_size=64, evolution=EvolutionConfig(evaluations=4_000))
TRAINING = TWIN.with_overrides(["schedule.max_steps=2"])
MODEL = flat_latency("onnx", base=1.0, share=2e-2)
"""Of a target whose convolutions take 0.8 of what it says."""


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Squares:
    return make_squares(tmp_path_factory.mktemp("squares"), global_batch=8)


@pytest.fixture(scope="module", autouse=True)
def _target() -> Iterator[None]:
    """Make up the target, and train here, without Ray."""

    def place(_: str, config: DetectorConfig, *, threads: int) -> Placed:
        assert threads == 1
        predicted = sum(
            float(conv.times[0] * MODEL.conv_ms(conv, "silu")[0]) for conv in list_convs(config)
        )
        return Placed(lambda: 1.0 + 0.8 * predicted, ())

    def time_in_turn(runs: Sequence[Callable[[], Any]], *, rounds: int) -> list[float]:
        assert rounds == TrainBestConfig().rounds
        return [float(run()) for run in runs]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profile_targets, "place", place)
        patch.setattr(profile_targets, "time_in_turn", time_in_turn)
        patch.setattr(train_best, "map_tasks", lambda function, items: list(map(function, items)))
        yield


@pytest.fixture(scope="module")
def latency_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("latency") / "latency.yaml"
    path.write_text(MODEL.to_yaml())
    return str(path)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def result(squares: Squares, latency_uri: str, out: Path) -> TrainBestResult:
    return run(squares, latency_uri, out)


def run(
    squares: Squares, latency_uri: str, out: Path, budgets: dict[str, float] | None = None
) -> TrainBestResult:
    return train_best.train_best(
        budgets=budgets or BUDGETS,
        latency_uri=latency_uri,
        shards_uri=squares.shards_uri,
        plan_uri=squares.plan_uri,
        out_uri=str(out),
        training=TRAINING,
        search=SEARCH,
        config=TrainBestConfig(count=2, seeds=2),
    )


def test_the_best_take_as_long_as_the_shipped_one_and_all_are_trained_alike(
    result: TrainBestResult, out: Path
) -> None:
    shipped, best, other = result.entrants
    assert [row.name for row in result.entrants] == ["shipped", "best", "alternative-1"]
    assert best.ms == pytest.approx(shipped.ms, rel=0.02)
    assert (best.score or 0) > (shipped.score or 0) > 0
    assert (best.score or 0) >= (other.score or 0) > 0
    assert len({row.params_m for row in result.entrants}) == 3
    assert [(len(row.ap), len(row.ap50)) for row in result.entrants] == [(2, 2)] * 3
    assert (result.steps, result.image_size, result.target) == (2, 64, "onnx")
    configs = [yaml.safe_load(path.read_text()) for path in (out / "trained").glob("*/config.yaml")]
    assert sorted((config.pop("model"), config.pop("seed")) for config in configs) == sorted(
        (row.uri, seed) for row in result.entrants for seed in (0, 1)
    )
    assert configs == [configs[0]] * 6
    assert TrainBestResult.model_validate_json((out / "training.json").read_text()) == result


def test_a_repeated_call_measures_and_trains_nothing_anew(
    squares: Squares,
    latency_uri: str,
    out: Path,
    result: TrainBestResult,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models = sorted((out / "trained").glob("*/model.pt"))
    written = [path.stat().st_mtime_ns for path in models]

    monkeypatch.setattr(profile_targets, "place", None)
    again = run(squares, latency_uri, out)

    assert again == result
    assert len(models) == 6
    assert [path.stat().st_mtime_ns for path in models] == written


def test_a_folder_holds_one_comparison(
    squares: Squares, latency_uri: str, out: Path, result: TrainBestResult
) -> None:
    assert result.entrants
    with pytest.raises(ConfigError, match="holds a comparison with other budgets"):
        run(squares, latency_uri, out, budgets={"layers": 26.0})


def test_the_latency_is_not_free(squares: Squares, latency_uri: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="latency_ms is not free"):
        run(squares, latency_uri, tmp_path, budgets={"latency_ms": 5.0})


def test_the_command_prints_a_table(squares: Squares, latency_uri: str, tmp_path: Path) -> None:
    arguments = ["search", "--out", str(tmp_path / "out"), "--budget", "layers=32"]
    arguments += ["--image-size", "64", "--latency", latency_uri, "--train-best", "1"]
    arguments += ["--shards", squares.shards_uri, "--plan", squares.plan_uri]
    arguments += ["--config", "smoke/twin", "--set", "schedule.max_steps=2"]

    told = CliRunner().invoke(app, arguments)

    assert told.exit_code == 0, told.output
    for word in ("shipped", "best", "GFLOPs", "2 steps at 64 pixels"):
        assert word in told.stdout
