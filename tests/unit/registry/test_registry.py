"""A version, its gates and its aliases, on a real MLflow store in SQLite."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from damo_yolo.artifacts import Artifact, Precision
from damo_yolo.errors import DataError, GateError
from damo_yolo.registry.promote import (
    Gate,
    GateConfig,
    check_gates,
    promote_version,
    roll_back,
)
from damo_yolo.registry.register import (
    Lineage,
    champion_lineage,
    choose_serving,
    download_served,
    register_version,
    version_at,
)


def make_artifact(
    folder: Path, *, precision: Precision = "fp16", drop: float | None = 0.001
) -> Artifact:
    path = folder / f"detector_{precision}.xml"
    path.write_text(f"<net precision='{precision}'/>")
    path.with_suffix(".bin").write_bytes(b"weights")
    metrics = {} if drop is None else {"ap_drop": drop, "latency_p50_ms": 5.0}
    return Artifact(
        kind="openvino",
        precision=precision,
        uri=str(path),
        sha256="0" * 64,
        model="damo-yolo-ns",
        image_size=128,
        label_space_sha256="1" * 64,
        metrics=metrics,
    )


def make_lineage(checkpoint: str, *, ap: float = 0.4) -> Lineage:
    return Lineage(
        manifest_sha256="a" * 64,
        manifest_uri="/data/shards/train/manifest.json",
        label_space_sha256="1" * 64,
        code_version="c0de",
        checkpoint_sha256=checkpoint * 64,
        evaluation_sha256="e" * 64,
        ap=ap,
        ap50=ap + 0.2,
    )


def test_a_gate_that_was_not_measured_does_not_pass(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path, drop=None)

    gates = check_gates([artifact], ap=0.4, ap50=0.6, champion_ap=None, config=GateConfig())

    assert [gate.status for gate in gates] == ["passed", "not attested"]


@pytest.mark.parametrize(
    ("ap", "champion_ap", "status"), [(0.40, 0.41, "passed"), (0.40, 0.42, "failed")]
)
def test_a_version_may_lie_only_a_little_under_the_champion(
    ap: float, champion_ap: float, status: str
) -> None:
    config = GateConfig(max_ap_below_champion=0.0101)

    gates = check_gates([], ap=ap, ap50=0.6, champion_ap=champion_ap, config=config)

    assert {gate.name: gate.status for gate in gates}["ap against champion"] == status


@pytest.mark.parametrize(
    ("precision", "drop", "status"),
    [("fp16", 0.004, "passed"), ("fp16", 0.006, "failed"), ("int8", 0.02, "passed"),
     ("int8", 0.04, "failed")],
)  # fmt: skip
def test_parity_gates_follow_the_precision(
    tmp_path: Path, precision: Precision, drop: float, status: str
) -> None:
    artifact = make_artifact(tmp_path, precision=precision, drop=drop)

    gates = check_gates([artifact], ap=0.4, ap50=0.6, champion_ap=None, config=GateConfig())

    assert gates[-1].status == status


def test_an_int8_artifact_serves_only_when_nothing_better_is_attested(tmp_path: Path) -> None:
    int8, fp16 = make_artifact(tmp_path, precision="int8"), make_artifact(tmp_path)

    assert choose_serving([int8, fp16]) is fp16
    assert choose_serving([int8, fp16.model_copy(update={"attested": False})]) is int8
    with pytest.raises(DataError, match="no exported artifact can serve"):
        choose_serving([])


def test_versions_are_registered_once_promoted_through_gates_and_rolled_back(
    tmp_path: Path,
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    export = tmp_path / "export"
    export.mkdir()
    artifacts = [make_artifact(export)]
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    passed, failed = Gate(name="ap50 floor", status="passed"), Gate(name="x", status="failed")

    first = register_version("m", artifacts, make_lineage("1"), run_id="", tracking_uri=uri)
    again = register_version("m", artifacts, make_lineage("1"), run_id="", tracking_uri=uri)
    second = register_version("m", artifacts, make_lineage("2"), run_id="", tracking_uri=uri)

    assert (first.version, again.version, second.version) == (1, 1, 2)
    assert first.passport_sha256 != second.passport_sha256
    with pytest.raises(GateError, match="no previous champion"):
        roll_back("m", tracking_uri=uri)

    assert promote_version("m", 1, [passed], tracking_uri=uri).champion == 1
    refused = promote_version("m", 2, [passed, failed], tracking_uri=uri)
    assert (refused.promoted, refused.champion) == (False, 1)

    assert promote_version("m", 2, [passed], tracking_uri=uri).previous == 1
    champion = champion_lineage("m", tracking_uri=uri)
    assert champion is not None
    assert champion == (2, make_lineage("2"))

    assert roll_back("m", tracking_uri=uri).champion == 1
    assert version_at(client, "m", "previous") == 2
    served = download_served("m", 1, tracking_uri=uri, folder=tmp_path / "served")
    assert Path(served).read_text() == "<net precision='fp16'/>"
    assert Path(served).with_suffix(".bin").read_bytes() == b"weights"
