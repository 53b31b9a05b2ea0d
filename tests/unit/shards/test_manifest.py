"""The manifest vouches for the shards."""

import json
from pathlib import Path

import pytest

from damo_yolo.errors import DataError
from damo_yolo.shards.manifest import Manifest
from tests.unit.shards.conftest import Written


def test_shards_as_written_verify(written: Written) -> None:
    assert written.manifest().verify() == []


def test_one_changed_byte_is_found_and_its_shard_named(written: Written) -> None:
    path = Path(written.folder_uri, "shard-000002.tar")
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)

    assert written.manifest().verify() == [str(path)]


def test_a_missing_shard_is_found(written: Written) -> None:
    path = Path(written.folder_uri, "shard-000000.tar")
    path.unlink()

    assert written.manifest().verify() == [str(path)]


def test_a_changed_table_is_found(written: Written) -> None:
    path = Path(written.folder_uri, "manifest.parquet")
    manifest = written.manifest()
    path.write_bytes(path.read_bytes() + b"\n")

    assert manifest.verify() == [str(path)]


def test_a_summary_whose_checksums_were_edited_is_found(written: Written) -> None:
    path = Path(written.folder_uri, "manifest.json")
    values = json.loads(path.read_text())
    values["label_space_sha256"] = "f" * 64
    path.write_text(json.dumps(values))

    assert written.manifest().verify() == [str(path)]


def test_the_summary_counts_what_is_there(written: Written) -> None:
    summary = written.manifest().summary

    assert summary.num_images == 20
    assert summary.num_boxes == 5 * (0 + 1 + 2 + 3)
    assert summary.datasets == {"toy": 20}
    assert summary.num_converted == 0
    assert [shard.num_images for shard in summary.shards] == [6, 6, 6, 2]
    assert summary.num_bytes == sum(
        path.stat().st_size for path in Path(written.folder_uri).glob("*.tar")
    )


def test_a_folder_without_shards_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no shards are at .*manifest\.json is missing"):
        Manifest.load(str(tmp_path))


def test_a_manifest_of_another_run_is_an_error(written: Written) -> None:
    path = Path(written.folder_uri, "manifest.json")
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "num_images": 21}))

    with pytest.raises(DataError, match="has 20 rows, not 21"):
        written.manifest()


def test_a_broken_manifest_is_an_error(written: Written) -> None:
    Path(written.folder_uri, "manifest.parquet").write_bytes(b"PAR1")

    with pytest.raises(DataError, match="is broken"):
        written.manifest()
