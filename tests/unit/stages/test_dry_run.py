"""Walking a training's path without training, on sixteen squares."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from damo_yolo.cli.main import app
from damo_yolo.errors import ConfigError, DataError, TrainingError
from damo_yolo.mixing.balance import BalanceConfig
from damo_yolo.recipes.smoke import STUDENT, TWIN
from damo_yolo.stages.balance import balance
from damo_yolo.stages.dry_run import DryRunResult, dry_run
from damo_yolo.stages.merge import merge_datasets
from damo_yolo.stages.shard import shard
from damo_yolo.stages.train import train_detector
from damo_yolo.training.launch import LaunchConfig
from damo_yolo.training.progress import read_metrics

CATALOG = """
name: squares
label_space: space.csv
evaluation: squares
datasets:
  - name: squares
    format: yolo
    mapping: mapping.csv
    classes: data.yaml
    train: {annotations: train, images: train}
    val: {annotations: val, images: val}
"""
CONFIG = TWIN.with_overrides(["global_batch=4", "schedule.max_steps=8", "schedule.mosaic=false"])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with shards and a plan of sixteen squares."""
    root = tmp_path_factory.mktemp("squares")
    (root / "space.csv").write_text("unified_id,name\n0,square\n1,disc\n")
    (root / "mapping.csv").write_text("source_id,source_name,unified_id,also_unknown\nsquare,,0,\n")
    (root / "data.yaml").write_text("names: [square]\n")
    (root / "catalog.yaml").write_text(CATALOG)
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        (root / split).mkdir()
        for number in range(16):
            image = rng.integers(0, 120, (64, 64, 3), dtype=np.uint8)
            image[16:48, 16:48] = 255
            (root / split / f"{number}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
            cv2.imwrite(str(root / split / f"{number}.jpg"), image)
    records, plan, shards = (str(root / name) for name in ("records", "plan", "shards"))
    merge_datasets(str(root / "catalog.yaml"), records)
    balance(records, plan, config=BalanceConfig(), global_batch=4)
    shard(records, plan, shards, global_batch=4)
    return root


@pytest.fixture(scope="module")
def dry(root: Path) -> DryRunResult:
    return dry_run(
        shards_uri=str(root / "shards"),
        plan_uri=str(root / "plan"),
        out_uri=str(root / "dry"),
        config=CONFIG,
    )


def test_a_dry_run_shows_the_first_batch_and_finds_the_loss_of_random_weights(
    root: Path, dry: DryRunResult
) -> None:
    picture = cv2.imread(dry.picture_uri)

    assert picture is not None
    assert picture.shape[0] >= 64
    assert len(dry.keys) == 4
    assert dry.num_objects == 4
    assert dry.problems == ()
    assert set(dry.expected) == {"min_qfl", "max_qfl", "dfl", "max_giou"}
    assert {path.name for path in (root / "dry").iterdir()} == {"first_batch.png"}


def test_a_dry_run_says_how_long_and_how_large_a_training_is(dry: DryRunResult) -> None:
    assert (dry.steps_per_epoch, dry.total_steps) == (4, 8)
    assert 0 < dry.data_s < dry.step_s
    assert dry.hours == pytest.approx(8 * dry.step_s / 3600, abs=1e-3)
    assert 10 < dry.checkpoint_mib < 100
    assert dry.memory_mib > 50


@pytest.mark.parametrize(
    ("num_workers", "loader_processes", "problem"),
    [(3, 0, "cannot be cut into 3 workers"), (2, 3, "cannot share 4 lanes evenly")],
)
def test_a_dry_run_refuses_what_the_workers_of_the_training_cannot_share(
    root: Path, tmp_path: Path, num_workers: int, loader_processes: int, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        dry_run(
            shards_uri=str(root / "shards"),
            plan_uri=str(root / "plan"),
            out_uri=str(tmp_path),
            config=CONFIG,
            num_workers=num_workers,
            loader_processes=loader_processes,
        )


def test_a_dry_run_without_the_teacher_it_needs_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no teacher is given"):
        dry_run(
            shards_uri=str(root / "shards"),
            plan_uri=str(root / "plan"),
            out_uri=str(tmp_path),
            config=STUDENT,
        )


def test_training_from_own_weights_knows_their_classes_and_validates_on_the_way(
    root: Path, tmp_path: Path
) -> None:
    train = partial(
        train_detector,
        shards_uri=str(root / "shards"),
        plan_uri=str(root / "plan"),
        launch_config=LaunchConfig(num_workers=0),
    )
    validated = CONFIG.with_overrides(["validation.every_epochs=1"])
    first = train(out_uri=str(tmp_path / "first"), config=validated)
    tuned = train(out_uri=str(tmp_path / "tuned"), config=CONFIG, init_uri=first.model_uri)

    epochs = [r for r in read_metrics(first.model_uri) if r["kind"] == "epoch"]
    assert all(0 <= record["ap"] <= record["ap50"] <= 1 for record in epochs)
    assert first.best_ap == max(record["ap"] for record in epochs)
    assert {"best.pt", "last.pt", "state.pt"} == {
        path.name for path in (tmp_path / "first" / "checkpoint").iterdir()
    }
    fresh_loss = read_metrics(first.model_uri)[0]["total"]
    assert read_metrics(tuned.model_uri)[0]["total"] < fresh_loss
    assert tuned.run_key != first.run_key
    log = (tmp_path / "first" / "train.log").read_text().splitlines()
    assert len(log) == 2
    assert "AP50" in log[0]


def test_the_command_trains_a_chain_and_shows_recipes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards and plan lie where the options expect them when nothing is said."""
    monkeypatch.chdir(root)
    runner = CliRunner()
    shown = runner.invoke(app, ["recipe", "show", "smoke/twin"])
    (tmp_path / "my.yaml").write_text(shown.stdout)
    command = ["train", "--config", str(tmp_path / "my.yaml"), "--out", str(tmp_path / "chain")]
    command += ["--workers", "0", "--chain", "damo-yolo-ns,damo-yolo-ns"]
    settings = ("global_batch=4", "schedule.max_steps=2", "schedule.plain_epochs=0")

    done = runner.invoke(app, [*command, *(part for s in settings for part in ("--set", s))])

    assert done.exit_code == 0, done.output
    assert (tmp_path / "chain" / "2-damo-yolo-ns" / "model.pt").exists()
    taught = read_metrics(str(tmp_path / "chain" / "2-damo-yolo-ns"))
    assert taught[0]["distill"] > 0


def test_nothing_at_the_shards_is_an_error_with_a_fix(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no shards are at"):
        dry_run(
            shards_uri=str(tmp_path / "shards"),
            plan_uri=str(tmp_path / "plan"),
            out_uri=str(tmp_path),
            config=CONFIG,
        )
