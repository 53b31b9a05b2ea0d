"""Previewing a balance setting: figures, wishes and the plot."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from damo_yolo.cli.main import app
from damo_yolo.datasets.records import write_records
from damo_yolo.errors import ConfigError
from damo_yolo.labels.space import LabelSpace
from damo_yolo.mixing.balance import BalanceConfig
from damo_yolo.mixing.power import Wish
from damo_yolo.stages.balance import balance
from damo_yolo.stages.preview import preview
from tests.record_builders import make_record


@pytest.fixture
def records_uri(tmp_path: Path) -> str:
    """Dataset `big`: 16 images of a cat, two without anything. `small`: 4 of a dog."""
    records = [make_record(f"big/{i}", class_ids=[0] if i < 14 else []) for i in range(16)]
    records += [make_record(f"small/{i}", class_ids=[1]) for i in range(4)]
    folder = tmp_path / "records"
    write_records(records, str(folder / "train.parquet"))
    datasets = {"big": {"sampling": "inverse_frequency"}, "small": {"sampling": "none"}}
    (folder / "datasets.json").write_text(json.dumps({"datasets": datasets}))
    (folder / "label_space.csv").write_text(LabelSpace.of_names(["cat", "dog"]).to_csv())
    return str(folder)


def test_a_preview_says_what_balance_will_do_and_writes_nothing(
    records_uri: str, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    shown = preview(records_uri, config=BalanceConfig(size_power=0.5), global_batch=8)
    assert sorted(tmp_path.rglob("*")) == before

    done = balance(
        records_uri, str(tmp_path / "plan"), config=BalanceConfig(size_power=0.5), global_batch=8
    )
    assert shown.exposure.model_dump() == done.model_dump(exclude={"plan_sha256"})
    assert shown.class_names == {0: "cat", 1: "dog"}


def test_a_wish_sets_the_power_and_its_share_is_had(records_uri: str) -> None:
    # 16 : 4 images; at power 0.5 the shares are 2 : 1.
    result = preview(records_uri, config=BalanceConfig(), global_batch=8, wish=Wish("small", 1 / 3))

    assert result.exposure.config.size_power == pytest.approx(0.5)
    assert result.exposure.datasets["small"].share_after == pytest.approx(1 / 3)


def test_images_that_no_epoch_draws_are_counted(records_uri: str) -> None:
    config = BalanceConfig(empty_share=0)

    assert preview(records_uri, config=config, global_batch=8).exposure.never_drawn == 2
    assert preview(records_uri, config=BalanceConfig(), global_batch=8).exposure.never_drawn == 0


@pytest.mark.parametrize(("name", "magic"), [("p.png", b"\x89PNG"), ("p.svg", b"<?xml")])
def test_the_plot_is_a_picture_of_the_kind_that_its_name_says(
    records_uri: str, tmp_path: Path, name: str, magic: bytes
) -> None:
    uri = str(tmp_path / name)

    contents = []
    for _ in range(2):
        preview(records_uri, config=BalanceConfig(), global_batch=8, plot_uri=uri)
        contents.append(Path(uri).read_bytes())

    assert contents[0].startswith(magic)
    assert contents[0] == contents[1]
    if name.endswith("svg"):
        assert b"clip-path" in contents[0]


def test_a_plot_of_another_kind_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ConfigError, match=r"p\.gif") as caught:
        preview("/nowhere", config=BalanceConfig(), global_batch=8, plot_uri="p.gif")
    assert ".png or .svg" in caught.value.fix


def test_the_command_prints_tables_or_json(records_uri: str) -> None:
    runner = CliRunner()

    told = runner.invoke(app, ["preview", records_uri, "--wish", "small=0.3333333333"])
    assert told.exit_code == 0
    assert "go to small with: --size-power 0.5" in told.stdout
    assert "the most drawn one 2 times" in told.stdout

    as_json = runner.invoke(app, ["preview", records_uri, "--set", "empty_share=0", "--json"])
    values = json.loads(as_json.stdout)
    assert values["exposure"]["config"]["empty_share"] == 0
    assert values["exposure"]["classes"][0]["class_id"] == 0
