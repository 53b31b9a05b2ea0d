"""Training over two Ray nodes, one of which goes away and another comes: minutes.

pytest -m slow tests/integration/test_ray_elastic.py
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from damo_yolo.compute.ray_cluster import LOCAL_SETTINGS
from damo_yolo.recipes.smoke import TWIN
from damo_yolo.stages.train import TrainResult, train_detector
from damo_yolo.training.config import TrainConfig
from damo_yolo.training.launch import LaunchConfig
from damo_yolo.training.progress import read_metrics
from tests.square_builders import Squares, make_squares

pytestmark = pytest.mark.slow

EPOCHS = 100
STEPS_PER_EPOCH = 4


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head with one CPU; the test adds nodes with one each."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="ray-") as root:
        for name, value in LOCAL_SETTINGS.items():  # Ray reads some once a process: as other tests
            patch.setenv(name, value)
        patch.setenv("RAY_TMPDIR", root)  # other clusters of this machine stay known as they are
        import ray
        from ray._private.authentication.authentication_token_setup import (
            ensure_token_if_auth_enabled,
        )
        from ray.cluster_utils import Cluster

        ensure_token_if_auth_enabled(create_token_if_missing=True)  # as `ray.init` does
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]  # Ray has no types here


@pytest.fixture
def data(tmp_path: Path) -> Squares:
    (tmp_path / "squares").mkdir()
    return make_squares(tmp_path / "squares")


@pytest.fixture
def config() -> TrainConfig:
    return TWIN.with_overrides(
        ["global_batch=4", f"schedule.max_steps={EPOCHS * STEPS_PER_EPOCH}", "log_every=1"]
    )


@pytest.mark.timeout(1500)
def test_a_training_goes_on_without_a_node_and_takes_in_another(
    cluster: Any, data: Squares, config: TrainConfig, tmp_path: Path
) -> None:
    away = cluster.add_node(num_cpus=1)
    launcher = LaunchConfig(num_workers=2, min_workers=1, resize_s=5.0)
    elastic, alone = tmp_path / "elastic", tmp_path / "alone"
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(_train, data, config, elastic, launcher)
        _wait(lambda: _workers(elastic)[-1:] == [2], training)
        cluster.remove_node(away, allow_graceful=False)
        _wait(lambda: _workers(elastic)[-1:] == [1], training)
        cluster.add_node(num_cpus=1)
        result = training.result()
    _train(data, config, alone, LaunchConfig(num_workers=0))

    counts = _workers(elastic)
    changes = [n for n, before in zip(counts, [0, *counts], strict=False) if n != before]
    assert changes == [2, 1, 2], "ranks that ended the epochs"
    assert result.steps == EPOCHS * STEPS_PER_EPOCH
    steps = [line["step"] for line in read_metrics(str(elastic)) if line["kind"] == "step"]
    assert steps == list(range(1, result.steps + 1)), "no line lost, none twice"
    assert _fingerprints(elastic) == _fingerprints(alone), "the same images at every step"


def _train(data: Squares, config: TrainConfig, out: Path, launcher: LaunchConfig) -> TrainResult:
    return train_detector(
        shards_uri=data.shards_uri,
        plan_uri=data.plan_uri,
        out_uri=str(out),
        config=config,
        launch_config=launcher,
    )


def _wait(is_so: Callable[[], bool], training: Any, *, timeout_s: float = 400.0) -> None:
    end = time.monotonic() + timeout_s
    while not is_so():
        assert not training.done(), "the training ended before"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def _epochs(folder: Path) -> list[dict[str, Any]]:
    return [line for line in read_metrics(str(folder)) if line["kind"] == "epoch"]


def _workers(folder: Path) -> list[int]:
    return [line["workers"] for line in _epochs(folder)]


def _fingerprints(folder: Path) -> list[str]:
    return [line["samples"] for line in _epochs(folder)]
