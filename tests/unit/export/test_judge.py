"""INT8 that loses too much gets layers back in floating point, and the table says which matter.

Takes a minute: python -m pytest -m slow tests/unit/export/test_judge.py
"""

from pathlib import Path

import pytest
import torch
from torch import nn

from damo_yolo.evaluation.latency import LatencyConfig
from damo_yolo.export.accuracy import AccuracyConfig
from damo_yolo.export.attest import AttestConfig
from damo_yolo.export.forms import FormConfig
from damo_yolo.export.judge import ExportConfig
from damo_yolo.export.openvino import QuantizeConfig
from damo_yolo.inference.openvino_runtime import import_openvino
from damo_yolo.models.detector import Detector
from damo_yolo.stages.export import ExportResult, export_detector
from tests.detector_builders import trained_detector, write_model_folder, write_painted_shards

pytestmark = pytest.mark.slow

LAYERS_BACK = 4
BUDGET = 0.01


LOUD = "backbone.block_list.2.block_list.0.conv"


def with_a_loud_channel(detector: Detector) -> Detector:
    """Make one channel huge and unread: floats do not mind, one step of eight bits becomes huge."""
    norm, reader = detector.get_submodule(f"{LOUD}.4"), detector.get_submodule(f"{LOUD}.7")
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(reader, nn.Conv2d)
    with torch.no_grad():
        norm.weight[0], norm.bias[0] = 0.0, 2000.0
        reader.weight[:, 0] = 0.0
    return detector


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    folder = tmp_path_factory.mktemp("judge")
    shards, plan = write_painted_shards(folder)
    model = write_model_folder(with_a_loud_channel(trained_detector(shards)), folder / "model")
    config = ExportConfig(
        form=FormConfig(quantize=QuantizeConfig(num_images=8, activation_range="extreme")),
        attest=AttestConfig(threads=1, latency=LatencyConfig(warmup=0, repeats=1)),
        accuracy=AccuracyConfig(max_ap_drop=BUDGET, max_layers=LAYERS_BACK, num_images=4),
    )
    return export_detector(
        model_uri=model,
        shards_uri=shards,
        plan_uri=plan,
        out_uri=str(folder / "export"),
        formats=("openvino-fp16", "openvino-int8"),
        config=config,
    )


def test_plain_int8_that_loses_too_much_is_built_again_and_both_records_stay(
    result: ExportResult,
) -> None:
    artifact = result.artifacts[2]

    assert result.plain_int8 is not None
    assert result.plain_int8.ap_drop > BUDGET
    assert result.attestations["openvino-int8"].ap_drop < result.plain_int8.ap_drop
    assert "accuracy-aware" in artifact.note
    assert f"plain INT8 lost {result.plain_int8.ap_drop:.4f} AP" in artifact.note
    model = import_openvino().Core().read_model(Path(artifact.uri))
    assert sum(op.get_type_name() == "FakeQuantize" for op in model.get_ops()) > 20


def test_the_table_lists_every_layer_the_worst_first(result: ExportResult) -> None:
    changes = [row.score_change for row in result.sensitivity]

    assert len(changes) > 80
    assert changes == sorted(changes, reverse=True)
    assert result.sensitivity[0].layer == f"{LOUD}.7"  # what reads the loud channel
    assert result.sensitivity[0].layer in result.artifacts[2].note
