"""The balance stage: a plan, and what it does to the mixture."""

import json
from pathlib import Path

import pytest

from damo_yolo.datasets.records import write_records
from damo_yolo.errors import ConfigError
from damo_yolo.mixing.balance import BalanceConfig
from damo_yolo.mixing.plan import SamplePlan
from damo_yolo.stages.balance import BalanceResult, balance
from tests.record_builders import make_record


@pytest.fixture
def records_uri(tmp_path: Path) -> str:
    """Dataset `big`: 16 images of class 0, one of which has class 1 too. `small`: 4 of class 2."""
    records = [make_record(f"big/{i}", class_ids=[0, 1] if i == 5 else [0]) for i in range(16)]
    records += [make_record(f"small/{i}", class_ids=[2]) for i in range(4)]
    write_records(records, str(tmp_path / "records" / "train.parquet"))
    datasets = {"big": {"sampling": "inverse_frequency"}, "small": {"sampling": "none"}}
    (tmp_path / "records" / "datasets.json").write_text(json.dumps({"datasets": datasets}))
    return str(tmp_path / "records")


def test_the_plan_follows_sizes_and_classes(records_uri: str, tmp_path: Path) -> None:
    result = balance(
        records_uri, str(tmp_path / "plan"), config=BalanceConfig(size_power=0.5), global_batch=8
    )
    plan = SamplePlan.read(str(tmp_path / "plan"))

    # 20 images make epochs of 24 draws; 4 : 2 between the datasets; in `big` 15 images weigh 1/16
    # and one 17/16, together 2.
    assert result.draws_per_epoch == plan.num_draws == 24
    assert plan.keys[5].as_py() == "big/5"
    assert plan.expected_draws[0] == pytest.approx(16 / 32)
    assert plan.expected_draws[5] == pytest.approx(16 * 17 / 32)
    assert plan.expected_draws[16:].tolist() == pytest.approx([2.0] * 4)


def test_the_result_says_what_balance_changed(records_uri: str, tmp_path: Path) -> None:
    result = balance(
        records_uri, str(tmp_path / "plan"), config=BalanceConfig(size_power=0.5), global_batch=8
    )

    assert result.datasets["big"].share_before == pytest.approx(0.8)
    assert result.datasets["big"].share_after == pytest.approx(2 / 3)
    assert result.datasets["big"].largest_draws == pytest.approx(8.5)
    exposure = {item.class_id: (item.before, item.after) for item in result.classes}
    assert exposure[0] == pytest.approx((24 * 16 / 20, 16))
    assert exposure[1] == pytest.approx((24 / 20, 8.5))
    assert exposure[2] == pytest.approx((24 * 4 / 20, 8))
    assert result.unique_coverage == pytest.approx((15 * 0.5 + 5) / 20)


def test_the_result_says_what_other_powers_would_do(records_uri: str, tmp_path: Path) -> None:
    result = balance(
        records_uri, str(tmp_path / "plan"), config=BalanceConfig(size_power=0.3), global_batch=8
    )

    powers = {preview.size_power: preview for preview in result.powers}
    assert list(powers) == [0.0, 0.25, 0.3, 0.5, 0.75, 1.0]
    assert powers[0.0].shares == {"big": 0.5, "small": 0.5}
    assert powers[0.0].largest_draws == pytest.approx(12 * 17 / 32)
    assert powers[1.0].shares["small"] == pytest.approx(0.2)
    assert powers[0.5].unique_coverage == pytest.approx(0.625)


def test_the_same_records_give_the_same_bytes(records_uri: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        balance(records_uri, str(tmp_path / name), config=BalanceConfig(), global_batch=8)

    for file in ("plan.parquet", "plan.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_plan_json_is_the_result(records_uri: str, tmp_path: Path) -> None:
    result = balance(records_uri, str(tmp_path), config=BalanceConfig(), global_batch=8)

    values = json.loads((tmp_path / "plan.json").read_text())
    assert BalanceResult.from_mapping(values) == result


def test_the_length_of_an_epoch_can_be_set(records_uri: str, tmp_path: Path) -> None:
    config = BalanceConfig(draws_per_epoch=100)

    result = balance(records_uri, str(tmp_path), config=config, global_batch=8)

    assert result.draws_per_epoch == 104


def test_an_empty_global_batch_is_refused(records_uri: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="global batch of 0"):
        balance(records_uri, str(tmp_path), config=BalanceConfig(), global_batch=0)
