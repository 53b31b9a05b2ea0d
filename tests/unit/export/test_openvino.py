import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from damo_yolo.export.openvino import QuantizeConfig, export_openvino, export_openvino_int8
from damo_yolo.export.parity import ParityMeter, ParityRecord
from damo_yolo.inference.backends import OpenVinoBackend, open_backend
from damo_yolo.inference.openvino_runtime import import_openvino
from tests.detector_builders import NAMES, textured_images
from tests.unit.export.conftest import Exported


@pytest.fixture(scope="module")
def pictures() -> Sequence[NDArray[np.uint8]]:
    return list(textured_images(24).numpy())


@pytest.fixture(scope="module")
def int8_path(
    exported: Exported,
    pictures: Sequence[NDArray[np.uint8]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    path = tmp_path_factory.mktemp("int8") / "model.xml"
    export_openvino_int8(exported.onnx_path, exported.info, path, pictures)
    return path


@pytest.fixture
def fp16_path(exported: Exported, tmp_path: Path) -> Path:
    path = tmp_path / "model.xml"
    export_openvino(exported.onnx_path, exported.info, path)
    return path


def parity(exported: Exported, path: Path) -> ParityRecord:
    images = textured_images(8).numpy()
    meter = ParityMeter()
    meter.update(exported.reference(images), OpenVinoBackend(path, threads=1)(images))
    return meter.record()


def test_fp16_agrees_closely(exported: Exported, fp16_path: Path) -> None:
    record = parity(exported, fp16_path)
    assert record.max_score_diff is not None
    assert record.mean_box_diff_px is not None

    assert record.proves_something
    assert 0 < record.max_score_diff < 0.05
    assert record.mean_box_diff_px < 0.2


def test_int8_agrees_roughly(exported: Exported, int8_path: Path) -> None:
    record = parity(exported, int8_path)
    assert record.max_score_diff is not None
    assert record.mean_score_diff is not None
    assert record.mean_box_diff_px is not None

    assert record.max_score_diff > 1e-3  # it is another arithmetic
    assert record.mean_score_diff < 0.05
    assert record.mean_box_diff_px < 8.0  # unrelated boxes: 30


@pytest.mark.parametrize(("fixture", "precision"), [("fp16_path", "fp16"), ("int8_path", "int8")])
def test_the_ir_says_what_it_is(
    request: pytest.FixtureRequest, exported: Exported, fixture: str, precision: str
) -> None:
    backend = open_backend(str(request.getfixturevalue(fixture)))

    assert backend.info == exported.info.with_precision(precision)
    assert backend.class_names == NAMES


def test_fp16_halves_the_weights(exported: Exported, fp16_path: Path) -> None:
    weights = fp16_path.with_suffix(".bin").stat().st_size

    assert weights < 0.6 * exported.onnx_path.stat().st_size


def test_int8_quantises_backbone_neck_and_head_but_not_the_decoding(int8_path: Path) -> None:
    model = import_openvino().Core().read_model(int8_path)
    kinds = [node.get_type_name() for node in model.get_ops()]
    convolutions = [n for n in model.get_ops() if n.get_type_name().endswith("Convolution")]

    def is_quantised(node: object) -> bool:
        weights = node.input_value(1).get_node()  # type: ignore[attr-defined] # untyped vendor
        return bool(weights.get_type_name() != "Constant")

    floating = [n for n in convolutions if not is_quantised(n)]
    assert kinds.count("FakeQuantize") > 50
    assert len(convolutions) == 92
    assert len(floating) == 2  # the first, and the expectation of the decoding
    assert int8_path.with_suffix(".bin").stat().st_size < 2_000_000


def test_the_head_stays_in_floating_point_when_asked_and_nothing_is_printed(
    exported: Exported,
    pictures: Sequence[NDArray[np.uint8]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "kept.xml"
    config = QuantizeConfig(keep="head", keep_first=False)

    export_openvino_int8(exported.onnx_path, exported.info, path, pictures[:4], config)

    text = path.read_text(encoding="utf-8")
    assert text.count('"detector.head.gfl_cls.') >= 3
    assert capsys.readouterr().out == ""


def test_openvino_cannot_report_to_a_server() -> None:
    import_openvino()

    assert sys.modules["openvino_telemetry"] is None


def test_the_same_file_gives_the_same_bytes_and_names_no_folder(
    exported: Exported, fp16_path: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again.xml"
    export_openvino(exported.onnx_path, exported.info, again)

    assert again.read_bytes() == fp16_path.read_bytes()
    assert again.with_suffix(".bin").read_bytes() == fp16_path.with_suffix(".bin").read_bytes()
    assert str(exported.onnx_path.parent).encode() not in again.read_bytes()
