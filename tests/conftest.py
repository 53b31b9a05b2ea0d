"""Fixtures for data that may lie beside the checkout; a test says so when it needs what is not."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import torch
from moto.server import ThreadedMotoServer

from damo_yolo import storage

SHARED_DIR = Path(__file__).resolve().parents[2] / "shared"


def _folder(name: str) -> Path:
    folder = SHARED_DIR / name
    if not folder.is_dir():
        pytest.skip(f"needs the folder shared/{name} beside the checkout")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Sum in the same order on every machine; the golden numbers were made with one thread."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Numbers made by the published code."""
    return _folder("golden")


@pytest.fixture(scope="session")
def shared_data_dir() -> Path:
    """Small real datasets."""
    return _folder("data")


@pytest.fixture(scope="session")
def facts_dir() -> Path:
    """Fact sheets and tables."""
    return _folder("facts")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Return a fresh prefix of an object store of its own."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    storage._client_of.cache_clear()
    boto3.client("s3").create_bucket(Bucket="data")
    yield f"s3://data/{tmp_path.name}"
    storage._client_of.cache_clear()
    server.stop()
