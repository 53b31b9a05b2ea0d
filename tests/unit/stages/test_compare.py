from pathlib import Path

import pytest

from damo_yolo.errors import DamoYoloError
from damo_yolo.evaluation.bootstrap import BootstrapConfig
from damo_yolo.stages.compare import CompareResult, compare_models
from damo_yolo.stages.evaluate import evaluate_model
from tests.detector_builders import (
    calibrated_detector,
    trained_detector,
    write_model_folder,
    write_painted_shards,
)

FEW = BootstrapConfig(num_draws=200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    shards, _ = write_painted_shards(folder, train=4, val=12)
    detectors = {"trained": trained_detector(shards), "untrained": calibrated_detector()}
    for name, detector in detectors.items():
        model = write_model_folder(detector, folder / name)
        out = str(folder / f"{name}-evaluation")
        evaluate_model(model_uri=model, shards_uri=shards, out_uri=out)
    return folder


def test_a_trained_model_beats_an_untrained_one(folder: Path, tmp_path: Path) -> None:
    result = compare_models(
        str(folder / "trained-evaluation"),
        str(folder / "untrained-evaluation"),
        shards_uri=str(folder / "shards"),
        out_uri=str(tmp_path),
        config=FEW,
    )

    assert (result.headline_name, set(result.datasets)) == ("full", {"half"})
    assert result.headline.ap50.verdict == "better"
    assert result.headline.ap50.low > 0
    stored = CompareResult.model_validate_json((tmp_path / "comparison.json").read_text("utf-8"))
    assert stored == result
    assert set(result.class_names) == {item.class_id for item in result.headline.per_class}


def test_the_figures_are_those_of_the_evaluation(folder: Path) -> None:
    shards = str(folder / "shards")
    out = folder / "trained-evaluation"
    measured = evaluate_model(
        model_uri=str(folder / "trained"), shards_uri=shards, out_uri=str(out)
    )

    result = compare_models(str(out), str(out), shards_uri=shards, config=FEW)

    assert result.headline.ap.a == pytest.approx(measured.ap, abs=1e-12)
    assert result.headline.ap50.a == pytest.approx(measured.ap50, abs=1e-12)
    assert result.headline.ap.verdict == "no difference shown"


def test_a_folder_without_detections_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DamoYoloError, match=r"detections\.parquet"):
        compare_models(
            str(tmp_path), str(folder / "trained-evaluation"), shards_uri=str(folder / "shards")
        )
