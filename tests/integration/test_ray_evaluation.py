"""Evaluation over Ray workers gives the very figures of one process."""

import os
from pathlib import Path

import pytest

from damo_yolo.compute.tasks import map_tasks
from damo_yolo.errors import DataError
from damo_yolo.stages.evaluate import EvaluateConfig, EvaluateResult, evaluate_model
from tests.detector_builders import trained_detector, write_model_folder, write_painted_shards


@pytest.mark.usefixtures("_own_cluster")
def test_workers_change_no_bit(tmp_path: Path) -> None:
    shards, _ = write_painted_shards(tmp_path, train=4, val=13)
    model = write_model_folder(trained_detector(shards), tmp_path / "model")

    def run(workers: int) -> EvaluateResult:
        config = EvaluateConfig(workers=workers, batch_size=2, threads=1)
        out = str(tmp_path / str(workers))
        return evaluate_model(model_uri=model, shards_uri=shards, out_uri=out, config=config)

    alone, shared = run(1), run(2)

    assert shared == alone
    assert alone.ap50 > 0.3
    for name in ("detections.parquet", "errors.json", "metrics.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def _refuse(item: int) -> int:
    raise DataError(f"item {item} is bad", fix="none")


@pytest.mark.usefixtures("_own_cluster")
def test_a_task_that_fails_says_why_as_it_would_here() -> None:
    with pytest.raises(DataError, match="is bad"):
        map_tasks(_refuse, [1, 2])


def _processors(_: int) -> float:
    import ray

    return float(ray.cluster_resources()["CPU"])  # type: ignore[no-untyped-call]


@pytest.mark.usefixtures("_own_cluster")
def test_tasks_beyond_the_processors_wait() -> None:
    num_cores = os.cpu_count() or 1

    assert map_tasks(_processors, range(num_cores + 1)) == [num_cores] * (num_cores + 1)


@pytest.fixture
def _own_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep away from a cluster that the environment names."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
