"""Reading samples by row: right bytes, few reads, corruption found."""

import threading
from pathlib import Path

import numpy as np
import pytest

from damo_yolo import storage
from damo_yolo.errors import DamoYoloError, DataError
from damo_yolo.shards.density import read_density
from damo_yolo.shards.manifest import Manifest
from damo_yolo.shards.read import MAX_OPEN_FILES, ShardReader
from tests.record_builders import make_manifest
from tests.unit.shards.conftest import Written


def corrupt(manifest: Manifest, row: int) -> None:
    """Change one byte in the middle of an image."""
    path = Path(manifest.shard_uris[manifest.shard[row]])
    data = bytearray(path.read_bytes())
    data[manifest.image_offset[row] + manifest.image_size[row] // 2] ^= 0xFF
    path.write_bytes(data)


def test_samples_come_in_the_order_asked_for_with_image_and_annotations(written: Written) -> None:
    manifest = written.manifest()
    by_key = {record.key: record for record in written.records}
    rows = [13, 2, 19, 2, 0]

    with ShardReader(manifest) as reader:
        samples = reader.read(rows)

    assert [sample.row for sample in samples] == rows
    for sample in samples:
        record = by_key[sample.key]
        assert sample.image == Path(record.image_uri).read_bytes()
        assert (sample.boxes == record.boxes).all()
        assert sample.boxes.shape == (len(record.class_ids), 4)
        assert sample.class_ids.tolist() == record.class_ids.tolist()
        assert (sample.width, sample.height, sample.dataset) == (64, 48, "toy")
        assert sample.known_ids is None


@pytest.mark.parametrize("window", [1, 3, 32])
def test_a_stream_yields_what_reading_at_once_returns(written: Written, window: int) -> None:
    rows = np.random.default_rng(0).integers(0, 20, 50)

    with ShardReader(written.manifest()) as reader:
        keys = [sample.key for sample in reader.stream(rows, window=window)]
        assert keys == [sample.key for sample in reader.read(rows)]


def test_a_stream_can_be_left_early(written: Written) -> None:
    with ShardReader(written.manifest()) as reader:
        stream = reader.stream(range(20), window=2)
        assert next(stream).row == 0
        del stream


def test_neighbours_are_read_at_once(written: Written) -> None:
    manifest = written.manifest()

    with ShardReader(manifest) as reader:
        reader.read(range(len(manifest)))

    assert reader.count.num_reads == 4  # one a shard
    assert 1.0 <= reader.count.bytes_read_per_byte_used < 2.0


def test_distant_samples_are_read_apart(written: Written) -> None:
    manifest = written.manifest()

    with ShardReader(manifest, max_gap_bytes=0) as reader:
        reader.read([0, 2, 4])

    assert reader.count.num_reads == 3


def test_an_object_store_gives_the_same_samples(written: Written, bucket: str) -> None:
    remote = Written(written.records, written.records_uri, bucket)
    remote.write()

    with ShardReader(written.manifest()) as local, ShardReader(remote.manifest()) as reader:
        samples = list(reader.stream(range(20), window=4))
        expected = local.read(range(20))

    assert [sample.image for sample in samples] == [sample.image for sample in expected]
    assert [sample.key for sample in samples] == [sample.key for sample in expected]


def test_distant_ranges_of_an_object_store_are_asked_for_at_the_same_time(
    written: Written, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.publish(Path(written.folder_uri), bucket)
    manifest = Manifest.load(bucket)
    all_waiting = threading.Barrier(4)
    read_range = storage.read_range

    def together(uri: str, *, offset: int, size: int) -> bytes:
        all_waiting.wait(timeout=10)  # one after the other, they would wait in vain
        return read_range(uri, offset=offset, size=size)

    monkeypatch.setattr(storage, "read_range", together)
    rows = [0, 6, 12, 18]  # one of each shard

    with ShardReader(manifest) as reader:
        assert [sample.row for sample in reader.read(rows)] == rows


def test_a_corrupt_sample_is_found_and_named_when_verifying(written: Written) -> None:
    manifest = written.manifest()
    corrupt(manifest, 9)
    key = manifest.keys[9].as_py()

    with ShardReader(manifest, verify=True) as reader:
        assert len(reader.read([8, 10])) == 2
        with pytest.raises(DataError, match=f"image '{key}'.*SHA-256 differs"):
            reader.read([9])


def test_an_error_in_the_read_ahead_reaches_the_caller(written: Written) -> None:
    manifest = written.manifest()
    corrupt(manifest, 9)

    with (
        ShardReader(manifest, verify=True) as reader,
        pytest.raises(DataError, match="SHA-256 differs"),
    ):
        list(reader.stream(range(20), window=2))


@pytest.mark.parametrize("bytes_left", [0, 3000])
def test_a_truncated_shard_is_an_error_that_names_it(written: Written, bytes_left: int) -> None:
    manifest = written.manifest()
    path = Path(manifest.shard_uris[1])
    path.write_bytes(path.read_bytes()[:bytes_left])

    with ShardReader(manifest) as reader, pytest.raises(DataError, match=r"shard-000001\.tar ends"):
        reader.read([11])


def test_a_missing_shard_is_an_error_that_names_it(written: Written) -> None:
    manifest = written.manifest()
    Path(manifest.shard_uris[2]).unlink()

    with ShardReader(manifest) as reader, pytest.raises(DamoYoloError, match=r"shard-000002\.tar"):
        reader.read([12])


def test_the_number_of_open_files_is_bounded(
    unwritten: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    unwritten.write(images_per_shard=1)
    monkeypatch.setattr("damo_yolo.shards.read.MAX_OPEN_FILES", 3)

    with ShardReader(unwritten.manifest()) as reader:
        keys = [sample.key for sample in reader.stream(list(range(20)) * 2, window=5)]
        descriptors = {file.descriptor for file in reader._files.values()}

    assert MAX_OPEN_FILES > 3
    assert keys[:20] == keys[20:]
    assert len(descriptors) == 3


def test_reading_all_neighbours_in_turn_reads_little_in_vain() -> None:
    manifest = make_manifest(100, images_per_shard=50)

    density = read_density(manifest, np.arange(96).reshape(2, 48), window=16)

    # Per window: 16 samples of 102560 bytes between first and last, of which 100512 are asked for.
    assert density == pytest.approx(102_048 / 100_512, rel=0.01)


def test_far_samples_are_not_joined_and_cost_nothing_extra() -> None:
    manifest = make_manifest(100, images_per_shard=100, image_bytes=500_000)

    apart = read_density(manifest, np.arange(0, 100, 10).reshape(1, 10))

    assert apart == pytest.approx(501_024 / 500_512)


def test_small_gaps_are_read_along() -> None:
    manifest = make_manifest(100, images_per_shard=100, image_bytes=10_000)

    every_second = read_density(manifest, np.arange(0, 100, 2).reshape(1, 50), window=50)

    assert every_second == pytest.approx(2 * 12_048 / 10_512, rel=0.02)
