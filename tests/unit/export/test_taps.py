"""Faults that exporters make are planted, found at the tap where they sit, and named."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from damo_yolo.export.causes import explain
from damo_yolo.export.onnx import export_onnx
from damo_yolo.export.openvino import export_openvino
from damo_yolo.export.taps import (
    BOXES_TAP,
    SUMMARY,
    Departure,
    Taps,
    compare,
    file_taps,
    find_departure,
    torch_taps,
)
from damo_yolo.models.detector import Detector
from damo_yolo.models.reparam import fuse
from tests.detector_builders import textured_images
from tests.unit.export.conftest import Exported

IMAGES = textured_images(1).float().numpy()
LIMIT = 1e-3


@pytest.fixture(scope="module")
def reference(exported: Exported) -> Taps:
    return torch_taps(exported.fused, IMAGES)


def test_onnx_and_openvino_show_every_tap_and_agree_at_each(
    exported: Exported, reference: Taps, tmp_path: Path
) -> None:
    ir = tmp_path / "m.xml"
    export_openvino(exported.onnx_path, exported.info, ir, "fp32")

    for path in (exported.onnx_path, ir):
        gaps = compare(reference, file_taps(path, IMAGES))
        assert set(SUMMARY) <= set(gaps)
        assert len(gaps) == len(reference) > 90
        assert max(gaps.values()) < 1e-4
        assert find_departure(reference, file_taps(path, IMAGES), tolerance=LIMIT) is None


def test_swapped_channels_are_named(exported: Exported, reference: Taps) -> None:
    swapped = np.ascontiguousarray(IMAGES[:, ::-1])

    found = find_departure(reference, file_taps(exported.onnx_path, swapped), tolerance=LIMIT)

    assert found is not None
    assert found.tap == "tap.input"
    assert found.cause.startswith("swapped channels")


def test_missing_scaling_is_named(exported: Exported, reference: Taps) -> None:
    found = find_departure(reference, file_taps(exported.onnx_path, IMAGES / 255), tolerance=LIMIT)

    assert found is not None
    assert found.tap == "tap.input"
    assert found.cause == "missing scaling: values are 1/255 of what is expected"


def test_a_stale_batch_norm_is_named_with_its_layer(
    exported: Exported, reference: Taps, tmp_path: Path
) -> None:
    layer = "backbone.block_list.2.block_list.0.conv.4"
    stale = copy.deepcopy(exported.detector)
    norm = stale.get_submodule(layer)
    assert isinstance(norm, torch.nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0)  # as before the first batch

    found = departure_of_export(fuse(stale), exported, reference, tmp_path)

    assert found.tap == "tap.backbone.block_list.2.block_list.0.conv.3"  # the convolution it is in
    assert found.cause.startswith("stale batch norm")


def test_an_off_by_one_class_is_named(exported: Exported, reference: Taps, tmp_path: Path) -> None:
    shifted = copy.deepcopy(exported.fused)
    for conv in shifted.head.gfl_cls:
        assert isinstance(conv, torch.nn.Conv2d)
        assert conv.bias is not None
        conv.weight.data = conv.weight.data.roll(1, dims=0)
        conv.bias.data = conv.bias.data.roll(1, dims=0)

    found = departure_of_export(shifted, exported, reference, tmp_path)

    assert found.tap == "tap.head.gfl_cls.0"
    assert found.cause == "off-by-one class: class c stands in place c + 1"


def test_a_wrong_box_coding_is_named(exported: Exported, reference: Taps, tmp_path: Path) -> None:
    model = onnx.load(exported.onnx_path)
    corners = next(node for node in model.graph.node if "boxes" in node.output)
    corners.output[0] = "corners"
    to_centre = np.array([[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]])
    matrix = numpy_helper.from_array(to_centre.astype(np.float32), "to_centre")
    model.graph.initializer.append(matrix)
    model.graph.node.append(onnx.helper.make_node("MatMul", ["corners", "to_centre"], ["boxes"]))
    path = tmp_path / "coded.onnx"
    onnx.save(model, path)

    found = find_departure(reference, file_taps(path, IMAGES), tolerance=LIMIT)

    assert found is not None
    assert found.tap == BOXES_TAP
    assert found.cause == "wrong box coding: centre and size where corners are expected"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: np.concatenate((b[..., :2], b[..., 2:] - b[..., :2]), -1), "corner and size"),
        (lambda b: b[..., [1, 0, 3, 2]], "y before x"),
        (lambda b: b[::-1, ::-1] + 7, "other weights or another operator"),
    ],
)
def test_other_box_codings_are_told_apart(
    change: Callable[[np.ndarray], np.ndarray], words: str
) -> None:
    boxes = np.array([[[10, 20, 60, 50], [5, 70, 90, 99], [33, 1, 44, 88]]], np.float32)

    assert words in explain(BOXES_TAP, boxes, change(boxes))


def test_a_scale_that_the_next_layer_takes_back_is_no_departure(reference: Taps) -> None:
    inside = "tap.backbone.block_list.2.block_list.0.conv.0"
    scaled = {**reference, inside: reference[inside] * 3}
    assert compare(reference, scaled)[inside] > LIMIT
    assert find_departure(reference, scaled, tolerance=LIMIT) is None

    names = list(reference)
    its_end = next(name for name in names[names.index(inside) :] if name in SUMMARY)
    for end in SUMMARY:
        departing = {**scaled, end: reference[end] * 1.5}
        found = find_departure(reference, departing, tolerance=LIMIT)
        assert found is not None
        assert found.tap == (inside if end == its_end else end)


def test_other_weights_are_not_called_a_batch_norm(
    exported: Exported, reference: Taps, tmp_path: Path
) -> None:
    other = copy.deepcopy(exported.fused)
    conv = other.get_submodule("backbone.block_list.2.block_list.0.conv.0")
    assert isinstance(conv, torch.nn.Conv2d)
    conv.weight.data = conv.weight.data.flip(1)

    found = departure_of_export(other, exported, reference, tmp_path)

    assert found.tap == "tap.backbone.block_list.2.block_list.0.conv.0"
    assert found.cause == "other weights or another operator"


def departure_of_export(
    fused: Detector, exported: Exported, reference: Taps, folder: Path
) -> Departure:
    path = folder / "faulty.onnx"
    export_onnx(fused, exported.info, path)
    found = find_departure(reference, file_taps(path, IMAGES), tolerance=LIMIT)
    assert found is not None
    return found
