"""The best backbones of a search are trained as the shipped one is, and take as long."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from damo_yolo.cli.main import app
from damo_yolo.errors import ConfigError, TrainingError
from damo_yolo.models.config import DetectorConfig
from damo_yolo.recipes.smoke import TWIN
from damo_yolo.search.evolve import EvolutionConfig
from damo_yolo.search.fitted_latency import FEATURES, FittedLatency, LatencyError
from damo_yolo.stages import profile_targets, train_best
from damo_yolo.stages.profile import list_convs
from damo_yolo.stages.profile_targets import Placed
from damo_yolo.stages.search import SearchConfig
from damo_yolo.stages.train_best import TrainBestConfig, TrainBestResult
from tests.square_builders import Squares, make_squares

BUDGETS = {"layers": 32.0}
SEARCH = SearchConfig(image_size=64, evolution=EvolutionConfig(evaluations=8_000))


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Squares:
    return make_squares(tmp_path_factory.mktemp("squares"), global_batch=8)


@pytest.fixture
def latency_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A latency model that takes what is wide to be dearer than it is on its made-up target."""
    model = FittedLatency(
        target="onnx",
        base=1.0,
        shares=dict.fromkeys(FEATURES, 2e-2),
        error=LatencyError(num_networks=8, rank_correlation=1, median=0.1, worst=0.2),
        image_size=64,
        neck_channels=(40, 80, 160),
        activations=("silu",),
    )

    def measured(_: str, config: DetectorConfig, *, threads: int) -> Placed:
        assert threads == 1
        predicted = sum(
            float(conv.times[0] * model.conv_ms(conv, "silu")[0]) for conv in list_convs(config)
        )
        return Placed(lambda: 1.0 + 0.8 * predicted, ())

    def in_turn(runs: Sequence[Callable[[], Any]], *, rounds: int) -> list[float]:
        assert rounds == TrainBestConfig().rounds
        return [float(run()) for run in runs]

    monkeypatch.setattr(profile_targets, "place", measured)
    monkeypatch.setattr(profile_targets, "time_in_turn", in_turn)
    path = tmp_path / "latency.yaml"
    path.write_text(model.to_yaml())
    return str(path)


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_best, "map_tasks", lambda function, items: list(map(function, items)))


def run(squares: Squares, latency_uri: str, out: Path, **changes: Any) -> TrainBestResult:
    values: dict[str, Any] = {
        "budgets": BUDGETS,
        "latency_uri": latency_uri,
        "shards_uri": squares.shards_uri,
        "plan_uri": squares.plan_uri,
        "out_uri": str(out),
        "training": TWIN,
        "search": SEARCH,
        "config": TrainBestConfig(count=2, seeds=2),
    }
    return train_best.train_best(**(values | changes))


def test_the_best_take_as_long_as_the_shipped_one_and_all_are_trained_alike(
    squares: Squares, latency_uri: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    result = run(squares, latency_uri, out)

    shipped, best, other = result.entrants
    assert [row.name for row in result.entrants] == ["shipped", "best", "alternative-1"]
    assert best.ms == pytest.approx(shipped.ms, rel=0.02)
    assert best.score is not None
    assert shipped.score is not None
    assert best.score > shipped.score
    assert best.score >= (other.score or 0) > 0
    assert len({row.params_m for row in result.entrants}) == 3
    assert [len(row.ap) for row in result.entrants] == [2, 2, 2]
    assert all(0 <= ap <= ap50 <= 1 for r in result.entrants for ap, ap50 in zip(r.ap, r.ap50))  # noqa: B905
    assert (result.steps, result.image_size, result.target) == (6, 64, "onnx")
    configs = [yaml.safe_load(path.read_text()) for path in (out / "trained").glob("*/config.yaml")]
    assert sorted((config.pop("model"), config.pop("seed")) for config in configs) == sorted(
        (row.uri, seed) for row in result.entrants for seed in (0, 1)
    )
    assert configs == [configs[0]] * 6
    assert TrainBestResult.model_validate_json((out / "training.json").read_text()) == result


def test_a_repeated_call_measures_and_trains_nothing_anew(
    squares: Squares, latency_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TrainBestConfig(count=1)
    first = run(squares, latency_uri, tmp_path / "out", config=settings)
    models = sorted((tmp_path / "out" / "trained").glob("*/model.pt"))
    written = [path.stat().st_mtime_ns for path in models]

    monkeypatch.setattr(profile_targets, "place", None)
    again = run(squares, latency_uri, tmp_path / "out", config=settings)

    assert again == first
    assert len(models) == 2
    assert [path.stat().st_mtime_ns for path in models] == written


def test_other_budgets_choose_anew(squares: Squares, latency_uri: str, tmp_path: Path) -> None:
    settings = TrainBestConfig(count=1)
    run(squares, latency_uri, tmp_path / "out", config=settings)

    with pytest.raises(TrainingError, match="holds a training with another"):
        run(squares, latency_uri, tmp_path / "out", config=settings, budgets={"layers": 26.0})


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
