import json
from pathlib import Path

import pytest

from damo_yolo.errors import DataError
from damo_yolo.evaluation.sources import SourceRanking
from damo_yolo.stages.evaluate import EvaluateConfig, EvaluateResult, evaluate_model
from tests.detector_builders import (
    NAMES,
    calibrated_detector,
    write_model_folder,
    write_painted_shards,
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_painted_shards(tmp_path_factory.mktemp("data"), train=4, val=8)[0]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model_folder(calibrated_detector(), tmp_path_factory.mktemp("model"))


def test_metrics_say_the_headline_and_every_dataset(
    shards: str, model: str, tmp_path: Path
) -> None:
    result = evaluate_model(model_uri=model, shards_uri=shards, out_uri=str(tmp_path))

    assert set(result.datasets) == {"full", "half"}
    assert result.headline == "full"
    headline = result.datasets["full"]
    assert (result.ap, result.ap50, result.num_images) == (headline.ap, headline.ap50, 4)
    assert result.overall.num_images == 8
    assert {item.name for item in headline.per_class} <= set(NAMES)
    assert (result.score_threshold, result.iou_threshold) == (0.03, 0.65)
    stored = EvaluateResult.model_validate_json((tmp_path / "metrics.json").read_text("utf-8"))
    assert stored == result


def test_the_same_inputs_give_the_same_bytes(shards: str, model: str, tmp_path: Path) -> None:
    for name in ("first", "second"):
        evaluate_model(model_uri=model, shards_uri=shards, out_uri=str(tmp_path / name))

    for name in ("metrics.json", "detections.json", "detections.parquet", "errors.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_detections_are_coco_results_keyed_by_image(
    shards: str, model: str, tmp_path: Path
) -> None:
    config = EvaluateConfig(score_threshold=0.2)
    evaluate_model(model_uri=model, shards_uri=shards, out_uri=str(tmp_path), config=config)

    entries = json.loads((tmp_path / "detections.json").read_text("utf-8"))
    assert entries
    assert set(entries[0]) == {"image_id", "category_id", "bbox", "score"}
    assert {entry["image_id"].partition("/")[0] for entry in entries} == {"full", "half"}
    assert min(entry["score"] for entry in entries) > 0.2
    assert all(entry["bbox"][2] >= 0 for entry in entries)


def test_batches_change_nothing(shards: str, model: str, tmp_path: Path) -> None:
    results = [
        evaluate_model(
            model_uri=model,
            shards_uri=shards,
            out_uri=str(tmp_path / str(size)),
            config=EvaluateConfig(batch_size=size, threads=1),
        )
        for size in (1, 5)
    ]

    assert results[0].overall.ap == pytest.approx(results[1].overall.ap, abs=1e-6)


def test_pycocotools_agrees_when_asked(shards: str, model: str, tmp_path: Path) -> None:
    checked, unchecked = (
        evaluate_model(
            model_uri=model,
            shards_uri=shards,
            out_uri=str(tmp_path),
            config=EvaluateConfig(cross_check=cross_check),
        )
        for cross_check in (True, False)
    )

    assert checked.cross_check is not None
    assert checked.cross_check < 1e-9
    assert unchecked.cross_check is None


def test_with_a_plan_the_sources_are_ranked(shards: str, model: str, tmp_path: Path) -> None:
    plan = str(Path(shards).parent / "plan")

    evaluate_model(model_uri=model, shards_uri=shards, plan_uri=plan, out_uri=str(tmp_path))

    ranking = SourceRanking.model_validate_json((tmp_path / "sources.json").read_text("utf-8"))
    (source,) = ranking.sources
    assert (source.name, source.num_images, ranking.headline) == ("half", 4, "full")
    assert source.draws_share == pytest.approx(1.0)
    assert source.val_ap is not None


def test_a_model_of_other_classes_is_refused(shards: str, tmp_path: Path) -> None:
    names = ("something else", *NAMES[1:])
    other = write_model_folder(calibrated_detector(), tmp_path / "other", names=names)

    with pytest.raises(DataError, match="class 0 is 'something else' and 'colour 0'"):
        evaluate_model(model_uri=other, shards_uri=shards, out_uri=str(tmp_path))


def test_missing_shards_are_named(model: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no shards are at"):
        evaluate_model(model_uri=model, shards_uri=str(tmp_path / "absent"), out_uri=str(tmp_path))
