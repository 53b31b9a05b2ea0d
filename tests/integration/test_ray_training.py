"""Training under Ray: ranks without objects; workers that are killed, stopped, or hang.

Two wait for time-outs and restarts: pytest tests/integration/test_ray_training.py -m slow
"""

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # comes with Ray, without types
import pytest
import torch

from damo_yolo import storage
from damo_yolo.errors import ConfigError, TrainingError
from damo_yolo.mixing.balance import BalanceConfig
from damo_yolo.recipes.smoke import TWIN
from damo_yolo.stages.train import TrainResult, train_detector
from damo_yolo.training.config import DistillConfig, TrainConfig
from damo_yolo.training.launch import LaunchConfig
from damo_yolo.training.progress import read_metrics
from damo_yolo.training.state import read_tensors
from tests.square_builders import Squares, make_squares

pytestmark = pytest.mark.usefixtures("ray_cluster")

INTERRUPT_HANDLER = signal.getsignal(signal.SIGINT)  # a background job starts with it ignored
NUM_WITH_OBJECT = 2


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Squares:
    """Sixteen images, two of them with a square: most ranks see no object at a step."""
    config = BalanceConfig(empty_share=1.0)
    return make_squares(tmp_path_factory.mktemp("squares"), squares=NUM_WITH_OBJECT, config=config)


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    """Four steps an epoch, five epochs."""
    return TWIN.with_overrides(
        ["global_batch=4", "schedule.max_steps=20", "schedule.plain_epochs=2", "log_every=1"]
    )


@pytest.fixture(scope="module")
def trained(
    data: Squares, config: TrainConfig, tmp_path_factory: pytest.TempPathFactory
) -> TrainResult:
    return _train(data, config, tmp_path_factory.mktemp("through"))


def _train(
    data: Squares,
    config: TrainConfig,
    out: Path | str,
    *,
    num_workers: int = 2,
    launcher: LaunchConfig | None = None,
) -> TrainResult:
    return train_detector(
        shards_uri=data.shards_uri,
        plan_uri=data.plan_uri,
        out_uri=str(out),
        config=config,
        launch_config=launcher or LaunchConfig(num_workers=num_workers),
    )


def test_two_workers_train_where_most_ranks_see_no_object(trained: TrainResult) -> None:
    steps = [r for r in read_metrics(trained.model_uri) if r["kind"] == "step"]

    assert [record["step"] for record in steps] == list(range(1, 21))
    assert trained.steps == 20
    assert any(record["num_foreground"] == 0 for record in steps), "a step without any object"
    assert any(record["num_foreground"] > 0 for record in steps)


@pytest.mark.usefixtures("trained")
def test_after_a_training_an_interrupt_is_not_ray_s_any_more() -> None:
    assert signal.getsignal(signal.SIGINT) is INTERRUPT_HANDLER


@pytest.mark.parametrize("after_step", sorted(random.Random(7).sample(range(1, 19), 2)))
def test_a_killed_worker_changes_no_bit_of_anything(
    data: Squares, config: TrainConfig, trained: TrainResult, tmp_path: Path, after_step: int
) -> None:
    """Raw and averaged weights, optimiser, sample order: all that the last checkpoint holds."""
    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(_signal_a_worker, tmp_path, signal.SIGKILL, after_step=after_step)
        result = _train(data, config, tmp_path)

    assert killed.result() > 0
    assert result.model_sha256 == trained.model_sha256
    _assert_equal(_checkpoint(str(tmp_path)), _checkpoint(trained.model_uri))
    steps = [r["step"] for r in read_metrics(str(tmp_path)) if r["kind"] == "step"]
    assert steps == list(range(1, 21)), "no line lost, none twice"


@pytest.mark.parametrize("num_workers", [0, 4])
def test_any_number_of_workers_sees_the_same_global_batches(
    data: Squares, config: TrainConfig, trained: TrainResult, tmp_path: Path, num_workers: int
) -> None:
    """0 is one rank without Ray; the comparison is with two workers, epoch by epoch."""
    alike = _train(data, config, tmp_path, num_workers=num_workers)

    assert _fingerprints(alike.model_uri) == _fingerprints(trained.model_uri)


@pytest.mark.slow
def test_a_worker_that_is_taken_away_saves_the_state_first(
    data: Squares, config: TrainConfig, tmp_path: Path
) -> None:
    """Checkpoints come with epochs of four steps; SIGTERM makes one in between."""
    longer = config.with_overrides(["schedule.max_steps=120"])
    launcher = LaunchConfig(num_workers=2, max_failures=5)
    with ThreadPoolExecutor(1) as pool:
        paused = pool.submit(_take_workers_away, tmp_path / "broken")
        broken = _train(data, longer, tmp_path / "broken", launcher=launcher)
    through = _train(data, longer, tmp_path / "through")

    assert paused.result() % 4, "the step of the checkpoint lies within an epoch"
    assert broken.model_sha256 == through.model_sha256
    _assert_equal(_checkpoint(broken.model_uri), _checkpoint(through.model_uri))


@pytest.mark.slow
def test_a_rank_that_hangs_is_named(data: Squares, config: TrainConfig, tmp_path: Path) -> None:
    launcher = LaunchConfig(num_workers=2, timeout_s=8.0, max_failures=0)
    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(_signal_a_worker, tmp_path, signal.SIGSTOP, after_step=5)
        with pytest.raises(TrainingError, match=r"rank [01] did not come to the next step"):
            _train(data, config, tmp_path, launcher=launcher)

    pid = stopped.result()
    assert pid > 0
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).kill()
    assert storage.exists(str(tmp_path / "checkpoint" / "state.pt"))


def test_a_finished_training_is_returned_at_once(
    data: Squares, config: TrainConfig, trained: TrainResult
) -> None:
    before = Path(trained.model_uri, "model.pt").stat().st_mtime_ns

    again = _train(data, config, Path(trained.model_uri))

    assert again == trained
    assert Path(trained.model_uri, "model.pt").stat().st_mtime_ns == before


def test_another_training_does_not_enter_the_folder(
    data: Squares, config: TrainConfig, trained: TrainResult
) -> None:
    other = config.with_overrides(["seed=1"])

    with pytest.raises(TrainingError, match="another configuration"):
        _train(data, other, Path(trained.model_uri))


def test_what_a_worker_finds_wrong_reaches_the_user(
    data: Squares, config: TrainConfig, tmp_path: Path
) -> None:
    uneven = config.with_overrides(["global_batch=6", "accumulation=2"])

    with pytest.raises(ConfigError, match="cannot be cut into 2 workers"):
        _train(data, uneven, tmp_path)


def test_a_student_without_teacher_is_refused_before_workers_start(
    data: Squares, config: TrainConfig, tmp_path: Path
) -> None:
    taught = config.model_copy(update={"distill": DistillConfig()})

    with pytest.raises(TrainingError, match="no teacher is given"):
        _train(data, taught, tmp_path)

    assert not list(tmp_path.iterdir())


def test_a_student_learns_from_a_trained_teacher(
    data: Squares, config: TrainConfig, trained: TrainResult, tmp_path: Path
) -> None:
    taught = config.model_copy(update={"distill": DistillConfig()})

    result = train_detector(
        shards_uri=data.shards_uri,
        plan_uri=data.plan_uri,
        out_uri=str(tmp_path),
        config=taught,
        teacher_uri=trained.model_uri,
        num_workers=0,
    )

    distilled = [r["distill"] for r in read_metrics(str(tmp_path)) if r["kind"] == "step"]
    assert all(loss > 0 for loss in distilled[:12])
    assert all(loss == 0 for loss in distilled[12:]), "the plain phase is untaught"
    assert result.model_sha256 != trained.model_sha256


def test_a_training_lives_in_an_object_store_and_continues_there(
    data: Squares, config: TrainConfig, bucket: str
) -> None:
    shards_uri, plan_uri, out_uri = (f"{bucket}/{name}" for name in ("shards", "plan", "model"))
    storage.publish(Path(data.shards_uri), shards_uri)
    storage.publish(Path(data.plan_uri), plan_uri)
    short = config.with_overrides(["schedule.max_steps=8"])

    result = _train(Squares(data.records_uri, plan_uri, shards_uri), short, out_uri, num_workers=0)
    lost = result.model_copy(update={"model_sha256": "unfinished"})
    storage.write_text(f"{out_uri}/result.json", lost.model_dump_json())
    again = _train(Squares(data.records_uri, plan_uri, shards_uri), short, out_uri, num_workers=0)

    assert storage.exists(f"{out_uri}/checkpoint/state.pt")
    assert again.model_sha256 == result.model_sha256
    assert [r["step"] for r in read_metrics(out_uri) if r["kind"] == "step"] == list(range(1, 9))


def _signal_a_worker(
    folder: Path, number: signal.Signals, *, after_step: int, timeout_s: float = 120.0
) -> int:
    """Send a signal to one of the workers in the middle of the run; return its process id."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if any(record["step"] > after_step for record in read_metrics(str(folder))):
            children = psutil.Process().children(recursive=True)
            workers = [child for child in children if "RayTrainWorker" in " ".join(child.cmdline())]
            workers[0].send_signal(number)
            return int(workers[0].pid)
        time.sleep(0.01)
    return 0


def _take_workers_away(folder: Path) -> int:
    """Send SIGTERM until a checkpoint lies within an epoch, and return its step."""
    for after_step in (20, 50, 80):
        pid = _signal_a_worker(folder, signal.SIGTERM, after_step=after_step)
        while pid and psutil.pid_exists(pid):
            time.sleep(0.05)
        step = int(_checkpoint(str(folder))["position"][2])
        if step % 4:
            return step
    return 0


def _checkpoint(model_uri: str) -> dict[str, Any]:
    state = read_tensors(f"{model_uri}/checkpoint/state.pt")
    del state["seconds"]
    return state


def _assert_equal(ours: Any, theirs: Any, path: str = "state") -> None:
    """Compare nested values bit for bit."""
    if isinstance(theirs, torch.Tensor):
        assert torch.equal(ours, theirs), path
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs), path
        for name, value in theirs.items():
            _assert_equal(ours[name], value, f"{path}.{name}")
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs), path
        for index, value in enumerate(theirs):
            _assert_equal(ours[index], value, f"{path}[{index}]")
    else:
        assert ours == theirs, path


def _fingerprints(model_uri: str) -> list[str]:
    return [record["samples"] for record in read_metrics(model_uri) if record["kind"] == "epoch"]
