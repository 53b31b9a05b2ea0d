import copy
from pathlib import Path

import numpy as np
import onnx
import torch

from damo_yolo.export.onnx import OPSET, GraphConfig, export_onnx
from damo_yolo.inference.backends import open_backend
from tests.detector_builders import NAMES, textured_images
from tests.unit.export.conftest import Exported


def test_the_file_agrees_with_the_model_as_trained(exported: Exported) -> None:
    images = textured_images(3).numpy()
    scores, boxes = exported.reference(images)

    ours = open_backend(str(exported.onnx_path), threads=1)(images)

    assert scores.std() > 0.01  # constant outputs would agree whatever they are
    assert np.allclose(ours[0], scores, atol=1e-5)
    assert np.allclose(ours[1], boxes, atol=1e-2)


def test_a_weight_that_is_a_thousandth_off_shows(exported: Exported) -> None:
    wrong = copy.deepcopy(exported.detector)
    with torch.no_grad():
        wrong.get_parameter("head.gfl_reg.0.weight").mul_(1.001)
    images = textured_images(3)

    with torch.no_grad():
        boxes = wrong(images.float())[1].numpy()

    assert np.abs(boxes - exported.reference(images.numpy())[1]).max() > 1e-2


def test_one_file_says_all_that_its_use_needs(exported: Exported) -> None:
    backend = open_backend(str(exported.onnx_path))

    assert backend.info == exported.info
    assert backend.class_names == NAMES
    assert backend.info.label_space_sha256 == "ab" * 32
    assert backend.max_batch == 1


def test_ends_are_named_and_shaped_and_the_opset_is_current(exported: Exported) -> None:
    model = onnx.load(exported.onnx_path)

    ends = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert ends == {"images": [1, 3, 64, 64], "scores": [1, 84, 12], "boxes": [1, 84, 4]}
    assert [item.version for item in model.opset_import if not item.domain] == [OPSET]
    onnx.checker.check_model(model, full_check=True)


def test_batch_norms_and_branches_are_gone(exported: Exported) -> None:
    kinds = {node.op_type for node in onnx.load(exported.onnx_path).graph.node}

    assert "BatchNormalization" not in kinds
    assert {"Conv", "Sigmoid", "Softmax"} <= kinds


def test_the_same_weights_give_the_same_bytes_without_this_machines_folders(
    exported: Exported, tmp_path: Path
) -> None:
    again = tmp_path / "again.onnx"
    with torch.no_grad():
        exported.fused(torch.zeros(2, 3, 96, 128))  # another size before: nothing may be kept

    export_onnx(exported.fused, exported.info, again)

    data = again.read_bytes()
    assert data == exported.onnx_path.read_bytes()
    assert b".py" not in data
    assert str(Path(__file__).parents[3]).encode() not in data


def test_an_open_batch_takes_any_number_of_images(exported: Exported, tmp_path: Path) -> None:
    path = tmp_path / "open.onnx"
    export_onnx(exported.fused, exported.info, path, GraphConfig(dynamic_batch=True))
    images = textured_images(5).numpy()

    backend = open_backend(str(path), threads=1)

    assert backend.max_batch is None
    for count in (1, 5):
        assert np.allclose(
            backend(images[:count])[0], exported.reference(images[:count])[0], atol=1e-4
        )  # 1.4e-5 with AVX2 alone


def test_half_precision_keeps_float32_ends(exported: Exported, tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"

    info = export_onnx(copy.deepcopy(exported.fused).half(), exported.info, path)

    graph = onnx.load(path).graph
    assert info.precision == "fp16"
    ends = (*graph.input, *graph.output)
    assert {v.type.tensor_type.elem_type for v in ends} == {onnx.TensorProto.FLOAT}
    assert path.stat().st_size < 0.6 * exported.onnx_path.stat().st_size
    images = textured_images(2).numpy()
    scores, boxes = open_backend(str(path), threads=1)(images)
    assert np.abs(scores - exported.reference(images)[0]).max() < 0.02
    assert np.abs(boxes - exported.reference(images)[1]).mean() < 0.2
