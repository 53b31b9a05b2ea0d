"""Writing shards: standard tars, complete, reproducible, resumable."""

import hashlib
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import webdataset

from damo_yolo.errors import DataError
from damo_yolo.shards.receipts import Receipt
from damo_yolo.shards.records import RecordFile
from damo_yolo.shards.tar import ShardTask, sample_json, write_tar
from damo_yolo.shards.write import EMPTY_BUCKET, ShardConfig, draw_buckets, plan_tasks, write_shards
from tests.record_builders import make_image, make_record
from tests.unit.shards.conftest import Written


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset's own
def test_webdataset_reads_every_image_once_with_its_annotations(written: Written) -> None:
    tars = sorted(str(path) for path in Path(written.folder_uri).glob("*.tar"))
    assert len(tars) == 4
    samples = list(webdataset.WebDataset(tars, shardshuffle=False))

    by_key = {json.loads(sample["json"])["key"]: sample for sample in samples}

    assert len(samples) == len(by_key) == 20
    for record in written.records:
        sample = by_key[record.key]
        assert sample["jpg"] == Path(record.image_uri).read_bytes()
        values = json.loads(sample["json"])
        assert (np.array(values["boxes"], np.float32).reshape(-1, 4) == record.boxes).all()
        assert values["class_ids"] == record.class_ids.tolist()


def test_the_manifest_points_at_the_payloads(written: Written) -> None:
    manifest = written.manifest()
    images = {record.key: Path(record.image_uri).read_bytes() for record in written.records}

    for row, key in enumerate(manifest.keys.to_pylist()):
        tar = Path(manifest.shard_uris[manifest.shard[row]]).read_bytes()
        offset, size = manifest.image_offset[row], manifest.image_size[row]
        assert tar[offset : offset + size] == images[key]
        text = tar[manifest.json_offset[row] :][: manifest.json_size[row]]
        assert json.loads(text)["key"] == key
        assert manifest.sha256s()[row].as_py() == hashlib.sha256(images[key] + text).digest()


def test_images_of_similar_expected_draws_share_shards(written: Written) -> None:
    manifest = written.manifest()

    spans = [manifest.bucket[manifest.shard == shard] for shard in range(4)]

    assert (np.diff(manifest.bucket) >= 0).all()
    assert spans[0].max() < 1 < spans[3].min()  # below one draw, about four


def test_writing_again_gives_the_same_bytes(written: Written, tmp_path: Path) -> None:
    first = written.files()
    elsewhere = Written(written.records, written.records_uri, str(tmp_path / "again"))

    written.write()
    elsewhere.write(num_workers=1)

    assert written.files() == first
    assert elsewhere.files() == first
    assert len(first) == 4 + 4 + 2  # tars, receipts, manifest and its summary


def test_writing_again_reads_no_image(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Receipt:
        raise AssertionError("a finished shard was written again")

    monkeypatch.setattr("damo_yolo.shards.write.write_tar", refuse)

    assert written.write().num_images == 20


def test_an_interrupted_run_goes_on_where_it_stopped(
    unwritten: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[int] = []

    def count(task: ShardTask, *rest: object) -> Receipt:
        if task.index == 2 and 2 not in built:
            built.append(2)
            raise KeyboardInterrupt
        built.append(task.index)
        return write_tar(task, *rest)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr("damo_yolo.shards.write.write_tar", count)
    with pytest.raises(KeyboardInterrupt):
        unwritten.write(num_workers=1)
    assert not Path(unwritten.folder_uri, "manifest.json").exists()

    unwritten.write(num_workers=1)

    whole = Written(unwritten.records, unwritten.records_uri, str(tmp_path / "whole"))
    monkeypatch.setattr("damo_yolo.shards.write.write_tar", write_tar)
    whole.write()
    assert unwritten.files() == whole.files()
    assert built.count(0) == built.count(1) == 1


KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from damo_yolo.shards import tar, write
from tests.unit.shards.conftest import Written

where, how_many, records_uri, folder_uri = sys.argv[1:]
module, name = (tar, "plain_jpeg") if where == "within a tar" else (write, "write_receipt")
original, calls = getattr(module, name), []

def deadly(*args, **kwargs):
    calls.append(1)
    if len(calls) == int(how_many):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **kwargs)

setattr(module, name, deadly)
Written([None] * 20, records_uri, folder_uri).write()
"""


@pytest.mark.parametrize(("where", "how_many"), [("within a tar", 9), ("before a receipt", 2)])
def test_a_killed_run_goes_on_to_the_same_bytes(
    unwritten: Written, tmp_path: Path, where: str, how_many: int
) -> None:
    locations = (unwritten.records_uri, unwritten.folder_uri)
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WRITER, where, str(how_many), *locations],
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert not Path(unwritten.folder_uri, "manifest.json").exists()

    unwritten.write()

    whole = Written(unwritten.records, unwritten.records_uri, str(tmp_path / "whole"))
    whole.write()
    assert unwritten.files() == whole.files()


def test_a_draft_of_a_killed_run_is_removed(written: Written) -> None:
    draft = Path(written.folder_uri, ".shard-000001.tar.k1ll3d")
    draft.write_bytes(b"half a shard")

    written.write()

    assert not draft.exists()


def test_a_changed_image_file_is_written_anew(written: Written) -> None:
    before, sums_before = written.manifest(), written.manifest().sha256s()
    changed = written.records[7]
    make_image(Path(changed.image_uri), seed=99)

    written.write()

    after = written.manifest()
    differs = [a != b for a, b in zip(sums_before, after.sha256s(), strict=True)]
    assert [key for key, new in zip(after.keys.to_pylist(), differs, strict=True) if new] == [
        changed.key
    ]
    assert before.summary.sha256 != after.summary.sha256
    assert after.verify() == []


def test_a_deleted_shard_is_written_anew(written: Written) -> None:
    before = written.files()
    Path(written.folder_uri, "shard-000001.tar").unlink()

    written.write()

    assert written.files() == before


def test_shards_of_an_earlier_larger_run_are_removed(written: Written) -> None:
    written.write(images_per_shard=10)

    names = sorted(path.name for path in Path(written.folder_uri).rglob("shard-*"))
    assert names == [f"shard-00000{i}.{kind}" for i in (0, 1) for kind in ("parquet", "tar")]
    assert written.manifest().verify() == []


def test_an_unreadable_image_stops_the_run_and_is_named(unwritten: Written) -> None:
    Path(unwritten.records[3].image_uri).write_bytes(b"no image")

    with pytest.raises(DataError, match=r"1 images cannot be read, 0 are allowed.*toy/3.*toy-3"):
        unwritten.write()


def test_allowed_unreadable_images_are_left_out_and_listed(unwritten: Written) -> None:
    Path(unwritten.records[3].image_uri).unlink()

    summary = unwritten.write(max_left_out=1)

    assert [item.key for item in summary.left_out] == ["toy/3"]
    assert summary.num_images == 19
    assert summary.num_boxes == sum(len(r.boxes) for r in unwritten.records) - 3
    assert "toy/3" not in unwritten.manifest().keys.to_pylist()


def test_without_expected_draws_images_keep_the_order_of_the_records(unwritten: Written) -> None:
    write_shards(
        unwritten.records_uri,
        unwritten.folder_uri,
        split="val",
        expected_draws=None,
        label_space_sha256="",
        config=ShardConfig(images_per_shard=7),
    )

    keys = unwritten.manifest().keys.to_pylist()
    assert keys == [record.key for record in unwritten.records]


def test_shards_go_to_an_object_store_with_the_same_bytes(written: Written, bucket: str) -> None:
    remote = Written(written.records, written.records_uri, bucket)

    remote.write()

    manifest = remote.manifest()
    assert manifest.summary == written.manifest().summary
    assert manifest.verify() == []


def test_buckets_are_half_octaves_of_expected_draws() -> None:
    buckets = draw_buckets(np.array([0.0, 0.25, 0.5, 1.0, 1.1, 2**0.5, 2.0, 8.0]))

    assert buckets.tolist() == [EMPTY_BUCKET, -4, -2, 0, 0, 1, 2, 6]


def test_tasks_hold_every_record_once_and_mix_images_of_one_bucket() -> None:
    tasks = plan_tasks(1000, "folder", np.ones(1000), config=ShardConfig(images_per_shard=300))

    rows = np.concatenate([task.rows for task in tasks])
    assert [len(task.rows) for task in tasks] == [300, 300, 300, 100]
    assert sorted(rows.tolist()) == list(range(1000))
    assert (np.abs(np.diff(rows)) == 1).mean() < 0.02


def test_boxes_survive_as_the_same_float32_in_few_digits() -> None:
    corners = np.array([[0.1, 1 / 3, 123.456, 1e-7]], np.float32)
    text = sample_json(replace(make_record("a/0", class_ids=[1]), boxes=corners))

    assert (np.array(json.loads(text)["boxes"], np.float32) == corners).all()
    assert b"[0.1,0.33333334,123.456,1e-07]" in text


def test_records_are_taken_in_any_order_from_all_over_the_file(unwritten: Written) -> None:
    with RecordFile.open(unwritten.records_uri) as records:
        taken = records.take(np.array([19, 0, 7]))
        count = len(records)

    assert count == 20
    assert [record.key for record in taken] == ["toy/19", "toy/0", "toy/7"]
    assert (taken[2].boxes == unwritten.records[7].boxes).all()
