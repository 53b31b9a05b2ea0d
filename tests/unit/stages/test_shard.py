"""The shard stage: train and val folders that need nothing else of the records."""

import json
from pathlib import Path

import numpy as np
import pytest

from damo_yolo.datasets.records import write_records
from damo_yolo.errors import DataError
from damo_yolo.labels.space import LabelSpace
from damo_yolo.mixing.balance import BalanceConfig
from damo_yolo.mixing.plan import SamplePlan
from damo_yolo.shards.manifest import Manifest
from damo_yolo.shards.order import EpochOrder
from damo_yolo.shards.read import ShardReader
from damo_yolo.shards.write import ShardConfig
from damo_yolo.stages.balance import balance
from damo_yolo.stages.shard import ShardResult, shard
from tests.record_builders import make_records

SPACE = LabelSpace.of_names(["a", "b", "c", "d", "e"])


@pytest.fixture
def merged(tmp_path: Path) -> tuple[str, str]:
    """Locations of merged records and of their plan."""
    records_dir = tmp_path / "records"
    train = make_records(tmp_path / "images", 30)
    write_records(train, str(records_dir / "train.parquet"))
    val = make_records(tmp_path / "images", 5, dataset="held_out")
    write_records(val, str(records_dir / "val.parquet"))
    (records_dir / "label_space.csv").write_text(SPACE.to_csv())
    datasets = {"datasets": {"toy": {"sampling": "repeat_factor"}}}
    (records_dir / "datasets.json").write_text(json.dumps(datasets))
    plan_uri = str(tmp_path / "plan")
    balance(str(records_dir), plan_uri, config=BalanceConfig(), global_batch=8)
    return str(records_dir), plan_uri


def test_shards_hold_train_and_val_and_what_reading_them_needs(
    merged: tuple[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "shards"

    result = shard(*merged, str(out), config=ShardConfig(images_per_shard=8), global_batch=8)

    assert (result.train.num_images, result.train.num_shards) == (30, 4)
    assert (result.val.num_images, result.val.num_shards) == (5, 1)
    assert (result.num_images, result.num_shards) == (35, 5)
    val = Manifest.load(str(out / "val"))
    assert val.keys.to_pylist() == [f"held_out/{i}" for i in range(5)]
    assert val.summary.label_space_sha256 == SPACE.sha256
    for name in ("label_space.csv", "datasets.json"):
        assert (out / name).read_bytes() == (tmp_path / "records" / name).read_bytes()
    assert ShardResult.from_mapping(json.loads((out / "result.json").read_text())) == result
    assert result.bytes_read_per_byte_used >= 1


def test_an_epoch_can_be_drawn_and_read_from_the_shards(
    merged: tuple[str, str], tmp_path: Path
) -> None:
    shard(*merged, str(tmp_path / "shards"))
    manifest = Manifest.load(str(tmp_path / "shards" / "train"))
    plan = SamplePlan.read(merged[1])
    order = EpochOrder(manifest, plan, 0, 0, 8)

    with ShardReader(manifest, verify=True) as reader:
        keys = [sample.key for lane in order.lanes for sample in reader.stream(lane)]

    drawn = dict(zip(plan.keys.to_pylist(), plan.draws(0, 0).tolist(), strict=True))
    assert len(keys) == 32
    assert {key: keys.count(key) for key in drawn} == drawn


def test_running_again_changes_nothing(merged: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "shards"
    first = shard(*merged, str(out))
    files = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    assert shard(*merged, str(out)) == first
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == files


def test_a_plan_of_other_records_is_refused(merged: tuple[str, str], tmp_path: Path) -> None:
    plan = SamplePlan.read(merged[1])
    plan.restricted_to(np.arange(30) != 4).write(merged[1])

    with pytest.raises(DataError, match="was not made of the records"):
        shard(*merged, str(tmp_path / "shards"))
