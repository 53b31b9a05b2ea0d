"""A searched backbone goes the way of the shipped sizes, and is compared with them over Ray."""

from pathlib import Path

import cv2
import mlflow
import numpy as np
import pytest

from damo_yolo.inference.model_folder import load_model
from damo_yolo.models.zoo import detector_config
from damo_yolo.recipes.smoke import TWIN
from damo_yolo.search.evolve import EvolutionConfig
from damo_yolo.stages.evaluate import evaluate_model
from damo_yolo.stages.export import export_detector
from damo_yolo.stages.register import register_model
from damo_yolo.stages.search import SearchConfig, search_backbone
from damo_yolo.stages.train import train_detector
from damo_yolo.stages.train_best import TrainBestConfig, train_best
from tests.detector_builders import flat_latency
from tests.square_builders import Squares, make_squares

SEARCH = SearchConfig(image_size=64, evolution=EvolutionConfig(evaluations=8_000))


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Squares:
    return make_squares(tmp_path_factory.mktemp("squares"), global_batch=8)


def test_a_searched_detector_trains_exports_registers_and_predicts(
    squares: Squares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking_uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.chdir(tmp_path)  # its location is relative to where the command runs
    budgets = {"flops": 4e7, "layers": 30.0}
    found = search_backbone(budgets=budgets, out_uri="found", config=SEARCH)
    searched = detector_config(found.best.uri)
    assert searched.backbone != detector_config("damo-yolo-ns").backbone

    train_detector(
        shards_uri=squares.shards_uri,
        plan_uri=squares.plan_uri,
        out_uri="model",
        config=TWIN.with_overrides([f"model={found.best.uri}", "schedule.max_steps=80"]),
        tracking_uri=tracking_uri,
        num_workers=0,
    )
    Path(found.best.uri).unlink()  # from here on the model folder stands alone
    evaluate_model(model_uri="model", shards_uri=squares.shards_uri, out_uri="evaluation")
    exported = export_detector(
        model_uri="model",
        shards_uri=squares.shards_uri,
        plan_uri=squares.plan_uri,
        out_uri="export",
        formats=("onnx", "openvino-fp16"),
    )
    version = register_model(
        name="searched",
        model_uri="model",
        evaluation_uri="evaluation",
        export_uri="export",
        shards_uri=squares.shards_uri,
        tracking_uri=tracking_uri,
        out_uri="version",
    )

    assert load_model("model").detector.config.backbone == searched.backbone
    assert {item.kind for item in exported.artifacts if item.attested} >= {"onnx", "openvino"}
    assert (version.version, version.alias) == (1, "challenger")
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_registry_uri(tracking_uri)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    image[16:48, 16:48] = 255
    cv2.imwrite("image.png", image)
    served = mlflow.pyfunc.load_model("models:/searched@challenger")
    detections = served.predict(str(tmp_path / "image.png"), params={"score_threshold": 0.05})
    assert max(detections, key=lambda item: item["score"])["name"] == "square"


def test_the_best_are_trained_against_the_shipped_one_over_ray(
    squares: Squares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    model = flat_latency("openvino-cpu", base=0.5, share=1e-2)
    (tmp_path / "latency.yaml").write_text(model.to_yaml())

    result = train_best(
        budgets={"layers": 32.0, "flops": 6e7},
        latency_uri=str(tmp_path / "latency.yaml"),
        shards_uri=squares.shards_uri,
        plan_uri=squares.plan_uri,
        out_uri=str(tmp_path / "out"),
        training=TWIN.with_overrides(["schedule.max_steps=2"]),
        search=SEARCH,
        config=TrainBestConfig(count=1, attempts=1, rounds=5),
    )

    assert [row.name for row in result.entrants] == ["shipped", "best"]
    assert all(row.ms > 0 and len(row.ap) == 1 for row in result.entrants)
    assert len(list((tmp_path / "out" / "trained").glob("*/model.pt"))) == 2
