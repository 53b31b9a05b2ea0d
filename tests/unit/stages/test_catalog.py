"""Opening a catalog: the user's own, or the embedded sample; and the version of the code."""

from pathlib import Path

import pytest

from damo_yolo.errors import ConfigError, DataError
from damo_yolo.stages.catalog import open_catalog, running_code_version
from damo_yolo.stages.check import check_catalog
from tests.unit.datasets.tiny import pets


def test_a_catalog_of_ones_own_is_opened_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pets(tmp_path, [])
    monkeypatch.chdir(tmp_path)
    opened = open_catalog("catalog.yaml", str(tmp_path / "runs"))
    checked = check_catalog(opened.catalog_uri, str(tmp_path / "report"))

    assert opened.catalog_uri == str(tmp_path / "catalog.yaml")
    assert opened.catalog_digest == checked.catalog_digest
    assert opened.tracking_uri == f"sqlite:///{tmp_path}/runs/mlflow.db"


def test_a_tracking_server_is_passed_on(tmp_path: Path) -> None:
    pets(tmp_path, [])
    uri = str(tmp_path / "catalog.yaml")
    opened = open_catalog(uri, "s3://bucket/runs", tracking_uri="http://mlflow:5000")

    assert opened.tracking_uri == "http://mlflow:5000"


def test_a_remote_workspace_needs_a_tracking_server() -> None:
    with pytest.raises(ConfigError, match="MLflow cannot keep its SQLite file in s3://bucket/runs"):
        open_catalog("catalog.yaml", "s3://bucket/runs")


def test_a_missing_catalog_is_an_error_that_tells_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no catalog is at") as caught:
        open_catalog(str(tmp_path / "catalog.yaml"), str(tmp_path))

    assert caught.value.fix == "give the location of a catalog file, or 'sample'"


def test_the_code_version_is_16_hex_digits_and_stays(tmp_path: Path) -> None:
    version = running_code_version()

    assert len(version) == 16
    assert int(version, 16) >= 0
    assert running_code_version() == version
    assert list(tmp_path.iterdir()) == []
