"""No GPU is needed: outputs of the same network in ONNX Runtime are recorded and played.

What a real engine gives is shown on a GPU machine by `damo-yolo attest` alone.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from damo_yolo.artifacts import Artifact
from damo_yolo.errors import ConfigError, DamoYoloError, DataError
from damo_yolo.evaluation.latency import LatencyConfig
from damo_yolo.export.attest import AttestConfig
from damo_yolo.export.onnx import export_onnx
from damo_yolo.inference.backends import OnnxBackend
from damo_yolo.inference.model_folder import load_model
from damo_yolo.models.reparam import fuse
from damo_yolo.stages import attest as stage
from damo_yolo.stages.attest import attest_engine
from tests.detector_builders import calibrated_detector, write_model_folder, write_painted_shards

CONFIG = AttestConfig(threads=1, latency=LatencyConfig(warmup=1, repeats=5, limit_s=5))


class PlayedEngine(OnnxBackend):
    """The network of the engine in ONNX Runtime, under the name of a GPU."""

    device = "A Recorded GPU"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("attest")
    shards, _ = write_painted_shards(folder)
    model_uri = write_model_folder(calibrated_detector(), folder / "model")
    model = load_model(model_uri)
    export_onnx(fuse(model.detector), model.info, folder / "twin.onnx")
    return {"model_uri": model_uri, "shards_uri": shards, "twin": str(folder / "twin.onnx")}


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """An engine that was built and not run, and the list beside it."""
    path = tmp_path / "m_trt_fp16.engine"
    path.write_bytes(b"engine")
    artifact = Artifact(
        kind="tensorrt-rtx",
        precision="fp16",
        uri=f"/elsewhere/{path.name}",
        sha256="ab",
        model="damo-yolo-ns",
        image_size=64,
        label_space_sha256="",
        metrics={"num_bytes": 6.0},
        attested=False,
        note="tensorrt-rtx 1.7, built for SM86; not run: it needs its GPU",
    )
    listed = json.dumps([artifact.model_dump(mode="json")])
    (tmp_path / "artifacts.json").write_text(listed, encoding="utf-8")
    return path


@pytest.fixture
def on_gpu(places: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    twin = Path(places["twin"])
    monkeypatch.setattr(stage, "open_engine", lambda _: PlayedEngine(twin, threads=1))


def run(engine: Path, places: dict[str, str], **settings: Any) -> stage.AttestResult:
    return attest_engine(
        engine_uri=str(engine),
        model_uri=places["model_uri"],
        shards_uri=places["shards_uri"],
        config=CONFIG,
        **settings,
    )


def stored(engine: Path) -> Artifact:
    (values,) = json.loads((engine.parent / "artifacts.json").read_text(encoding="utf-8"))
    return Artifact.from_mapping(values)


@pytest.mark.usefixtures("on_gpu")
def test_a_run_adds_the_missing_record_to_the_same_artifact(
    engine: Path, places: dict[str, str]
) -> None:
    result = run(engine, places)

    artifact = stored(engine)
    assert artifact == result.artifact
    assert artifact.attested
    assert artifact.note == "tensorrt-rtx 1.7, built for SM86; run on A Recorded GPU"
    assert artifact.metrics["ap_drop"] == pytest.approx(0.0, abs=1e-3)
    assert 0 < artifact.metrics["max_score_diff"] < 1e-3
    assert artifact.metrics["latency_p50_ms"] > 0
    assert artifact.metrics["num_bytes"] == 6.0
    assert Path(f"{engine}.attestation.json").is_file()


@pytest.mark.usefixtures("on_gpu")
def test_a_recording_plays_the_same_figures_and_attests_nothing(
    engine: Path, places: dict[str, str], tmp_path: Path
) -> None:
    recording = str(tmp_path / "gpu.npz")
    live = run(engine, places, record_uri=recording)
    (engine.parent / "artifacts.json").write_text(
        json.dumps([live.artifact.model_copy(update={"attested": False}).model_dump(mode="json")]),
        encoding="utf-8",
    )

    played = run(engine, places, recording_uri=recording)

    assert (played.played, played.device) == (True, "A Recorded GPU")
    assert played.attestation.ap == live.attestation.ap
    assert played.attestation.parity == live.attestation.parity
    assert not stored(engine).attested


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_artifact_stays_unattested(engine: Path, places: dict[str, str]) -> None:
    info = load_model(places["model_uri"]).info
    Path(f"{engine}.json").write_text(info.model_dump_json(), encoding="utf-8")

    with pytest.raises(DamoYoloError, match=r"sees no GPU here|no tensorrt"):
        run(engine, places)

    assert not stored(engine).attested


def test_what_does_not_fit_is_named(engine: Path, places: dict[str, str], tmp_path: Path) -> None:
    other = tmp_path / "other.engine"
    (tmp_path / "no.npz").write_bytes(b"nothing")

    with pytest.raises(ConfigError, match="a recording cannot be made of a recording"):
        run(engine, places, record_uri="a", recording_uri="b")
    with pytest.raises(DataError, match=r"lists no other\.engine"):
        run(other, places)
    with pytest.raises(DataError, match=r"no\.npz is no recording"):
        run(engine, places, recording_uri=str(tmp_path / "no.npz"))
