import json
from pathlib import Path

import numpy as np
import pytest
import torch

from damo_yolo.errors import (
    ConfigError,
    DamoYoloError,
    DataError,
    MissingExtraError,
    StorageError,
)
from damo_yolo.inference.backends import open_backend
from damo_yolo.inference.info import DetectorInfo, check_same_classes
from damo_yolo.inference.predictor import Predictor
from damo_yolo.inference.tensorrt_runtime import EngineError
from tests.detector_builders import NAMES, calibrated_detector, textured_images, write_model_folder
from tests.unit.inference.fixed import INFO, FixedBackend


@pytest.fixture(scope="module")
def model_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model_folder(calibrated_detector(), tmp_path_factory.mktemp("model"))


def test_a_model_folder_runs_as_the_detector_it_holds(model_uri: str) -> None:
    images = textured_images(3)
    with torch.no_grad():
        expected = calibrated_detector()(images.float())

    backend = open_backend(model_uri, threads=1)
    scores, boxes = backend(images.numpy())

    assert (backend.image_size, backend.class_names) == (64, NAMES)
    assert backend.info.score_threshold == 0.03
    assert np.allclose(scores, expected[0], atol=1e-6)
    assert np.allclose(boxes, expected[1], atol=1e-3)


def test_the_model_file_itself_can_be_named(model_uri: str) -> None:
    assert open_backend(f"{model_uri}/model.pt").info == open_backend(model_uri).info


def test_threads_of_the_process_are_as_before(model_uri: str) -> None:
    before = torch.get_num_threads()

    open_backend(model_uri, threads=before + 1)(textured_images(1).numpy())

    assert torch.get_num_threads() == before


def test_a_predictor_opens_a_model_folder(model_uri: str) -> None:
    predictor = Predictor.open(model_uri, score_threshold=0.01)

    found = predictor(textured_images(1)[0].permute(1, 2, 0).numpy())

    assert {item.name for item in found} <= set(NAMES)
    assert found


@pytest.mark.parametrize("shape", [(1, 3, 32, 64), (3, 64, 64), (1, 64, 64, 3), (0, 3, 64, 64)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"takes \(B, 3, 64, 64\)"):
        FixedBackend([[0.5, 0, 0]], [[0, 0, 1, 1]])(np.zeros(shape, np.uint8))


def test_a_detector_of_one_image_is_called_image_by_image() -> None:
    backend = FixedBackend([[0.5, 0, 0]], [[0, 0, 1, 1]], max_batch=1)
    images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1) + np.zeros((1, 3, 64, 64), np.uint8)

    scores, boxes = backend(images)

    assert (scores.shape, boxes.shape) == ((3, 1, 3), (3, 1, 4))
    assert [float(seen.max()) for seen in backend.seen] == [0.0, 1.0, 2.0]


def test_the_json_of_an_artifact_leads_to_its_file(model_uri: str, tmp_path: Path) -> None:
    artifact = {
        "kind": "torch",
        "precision": "fp32",
        "uri": f"{model_uri}/model.pt",
        "sha256": "",
        "model": "damo-yolo-ns",
        "image_size": 64,
        "label_space_sha256": "",
    }
    path = tmp_path / "artifact.json"
    path.write_text(json.dumps(artifact), encoding="utf-8")

    assert open_backend(str(path)).class_names == NAMES

    path.write_text(json.dumps(artifact | {"uri": "", "note": "no GPU"}), encoding="utf-8")
    with pytest.raises(DataError, match="not built: no GPU"):
        open_backend(str(path))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_an_engine_says_what_it_needs(tmp_path: Path) -> None:
    engine = tmp_path / "model.engine"
    (tmp_path / "model.engine.json").write_text(INFO.model_dump_json(), encoding="utf-8")

    with pytest.raises((EngineError, MissingExtraError), match=r"sees no GPU|no tensorrt"):
        open_backend(str(engine))


def test_other_files_and_missing_ones_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no detector"):
        open_backend("weights.h5")
    for name in ("absent", "absent.pt", "absent.onnx", "absent.xml", "absent.json"):
        with pytest.raises(StorageError, match="nothing is at"):
            open_backend(str(tmp_path / name))


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt"])
def test_broken_files_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(b"\x01\x02 no model")

    with pytest.raises(DamoYoloError, match="broken"):
        open_backend(str(path))


def test_a_file_without_class_names_is_refused() -> None:
    with pytest.raises(DataError, match=r"x\.onnx does not say what its classes are"):
        DetectorInfo.of_file(None, source="x.onnx")


def test_info_survives_the_file_and_changes_its_precision_only() -> None:
    read = DetectorInfo.of_file(INFO.model_dump_json(), source="x")

    assert read == INFO
    assert read.with_precision("int8") == INFO.model_copy(update={"precision": "int8"})


def test_the_first_class_that_differs_is_named() -> None:
    check_same_classes(("a", "b"), ["a", "b"], what="both")
    with pytest.raises(DataError, match="class 1 is 'b' and 'c'"):
        check_same_classes(("a", "b"), ("a", "c"), what="both")
    with pytest.raises(DataError, match="2 and 3 classes"):
        check_same_classes(("a", "b"), ("a", "b", "c"), what="both")
