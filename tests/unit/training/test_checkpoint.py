"""Checkpoints where storage fails: the last good one stays, and an outage is waited out."""

import errno
import threading
import time
from pathlib import Path

import boto3
import pytest
import torch
from moto.server import ThreadedMotoServer

from damo_yolo import storage
from damo_yolo.errors import StorageError, TrainingError
from damo_yolo.training.build import build_state
from damo_yolo.training.config import TrainConfig
from damo_yolo.training.state import Position, TrainState, load_state, save_state

OUTAGE_S = 6.0


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    return TrainConfig(model="damo-yolo-ns", image_size=64, global_batch=2)


def _state(config: TrainConfig, step: int) -> TrainState:
    state = build_state(config, num_classes=2, device=torch.device("cpu"))
    state.position = Position(0, step, step)
    return state


def _step_of(uri: str, config: TrainConfig) -> int:
    state = _state(config, 0)
    assert load_state(state, uri, run_key="key", rank=0)
    return state.position.step


def test_a_full_disk_leaves_the_last_good_checkpoint(
    tmp_path: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk takes half of the second checkpoint."""
    save_state(_state(config, 1), str(tmp_path), run_key="key", is_writer=True)
    write = Path.write_bytes

    def fill(self: Path, data: bytes) -> int:
        write(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(StorageError, match="No space left on device") as caught:
        save_state(_state(config, 2), str(tmp_path), run_key="key", is_writer=True)
    monkeypatch.undo()

    assert "free space" in caught.value.fix
    assert _step_of(str(tmp_path), config) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"], "no half a file is left"


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path, config: TrainConfig) -> None:
    save_state(_state(config, 1), str(tmp_path), run_key="other", is_writer=True)

    with pytest.raises(TrainingError, match="another configuration or other data"):
        load_state(_state(config, 0), str(tmp_path), run_key="key", rank=0)


def test_an_object_store_that_goes_away_is_waited_for(
    tmp_path: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers once, is away while a checkpoint is written, and comes back on the same port."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(storage, "PAUSE_S", 0.2)
    monkeypatch.setattr(storage, "MAX_ATTEMPTS", 1)
    storage._client_of.cache_clear()
    boto3.client("s3").create_bucket(Bucket="data")
    uri = f"s3://data/{tmp_path.name}"
    save_state(_state(config, 1), uri, run_key="key", is_writer=True)
    server.stop()
    back = ThreadedMotoServer(ip_address="127.0.0.1", port=port)

    def come_back() -> None:
        time.sleep(OUTAGE_S)
        back.start()

    thread = threading.Thread(target=come_back)
    thread.start()
    began = time.monotonic()
    save_state(_state(config, 2), uri, run_key="key", is_writer=True)
    waited = time.monotonic() - began
    thread.join()

    assert waited >= OUTAGE_S - 0.5
    assert _step_of(uri, config) == 2
    back.stop()
    storage._client_of.cache_clear()


def test_an_object_store_that_never_answered_is_an_error_at_once(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr(storage, "MAX_ATTEMPTS", 1)
    monkeypatch.setattr(storage, "_answered", set())
    storage._client_of.cache_clear()

    with pytest.raises(StorageError, match="did not answer"):
        save_state(_state(config, 1), "s3://data/x", run_key="key", is_writer=True)
    storage._client_of.cache_clear()
