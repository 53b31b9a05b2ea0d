"""Fixtures for data that may lie beside the checkout; a test says so when it needs what is not."""

from pathlib import Path

import pytest
import torch

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
