"""Written shards, and an object store in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import numpy as np
import pytest
from moto import mock_aws

from damo_yolo import storage
from damo_yolo.datasets.records import write_records
from damo_yolo.samples import ImageRecord
from damo_yolo.shards.manifest import Manifest, ManifestSummary
from damo_yolo.shards.write import ShardConfig, write_shards
from tests.record_builders import make_records


@dataclass(frozen=True)
class Written:
    """Records on disk, and the folder that their shards go to."""

    records: list[ImageRecord]
    records_uri: str
    folder_uri: str

    def write(self, **settings: int) -> ManifestSummary:
        """Write the shards, 6 images each unless told otherwise."""
        return write_shards(
            self.records_uri,
            self.folder_uri,
            split="train",
            expected_draws=np.linspace(0.1, 4.0, len(self.records)),
            label_space_sha256="0" * 64,
            config=ShardConfig.from_mapping({"images_per_shard": 6, "num_workers": 2, **settings}),
        )

    def manifest(self) -> Manifest:
        """Load what was written."""
        return Manifest.load(self.folder_uri)

    def files(self) -> dict[str, bytes]:
        """Return every file of a local folder by its name."""
        root = Path(self.folder_uri)
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def unwritten(tmp_path: Path) -> Written:
    """20 images, not yet in shards."""
    records = make_records(tmp_path / "images", 20)
    uri = str(tmp_path / "records.parquet")
    write_records(records, uri)
    return Written(records, uri, str(tmp_path / "shards"))


@pytest.fixture
def written(unwritten: Written) -> Written:
    """20 images in shards of 6, 6, 6 and 2."""
    unwritten.write()
    return unwritten


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The prefix of an empty bucket."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    storage._client_of.cache_clear()
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="test")
        yield "s3://test/shards"
    storage._client_of.cache_clear()
