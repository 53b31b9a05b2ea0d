"""Sizes counted from arrays equal those of the detector that is built."""

from collections.abc import Iterator

import pytest

from damo_yolo.models.config import BackboneConfig, DetectorConfig
from damo_yolo.models.cost import measure_cost
from damo_yolo.models.zoo import MODEL_NAMES, detector_config
from damo_yolo.search.detector_network import LEVEL_SCALES, detector_convs, head_convs, neck_convs
from damo_yolo.search.network import ONE, StagedConv, count_flops, count_params
from damo_yolo.search.structures import network_of


def _convs(config: DetectorConfig) -> Iterator[StagedConv]:
    network = network_of(config.backbone, image_size=config.image_size)
    yield from detector_convs(network)
    in8, in16, in32 = (width * ONE for width in config.backbone.out_channels)
    for conv in neck_convs((in8, in16, in32), config, image_size=config.image_size):
        yield 0, conv
    for conv in head_convs(config, image_size=config.image_size):
        yield 0, conv


def _check(config: DetectorConfig) -> None:
    cost = measure_cost(config)
    assert count_params(_convs(config))[0] + LEVEL_SCALES == round(cost.params_m * 1e6)
    assert count_flops(_convs(config))[0] == round(cost.gflops * 1e9)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_published_size_is_counted_exactly(name: str) -> None:
    _check(detector_config(name))


def test_other_shapes_are_counted_exactly_too() -> None:
    rows = [
        {"out_channels": 24, "bottleneck": 40, "num_blocks": 2, "stride": 2, "kernel_size": 3},
        {"out_channels": 24, "bottleneck": 72, "num_blocks": 1, "stride": 2},
        {"out_channels": 56, "bottleneck": 104, "num_blocks": 3, "stride": 2, "kernel_size": 7},
        {"out_channels": 72, "bottleneck": 104, "num_blocks": 3, "stride": 1},
        {"out_channels": 136, "bottleneck": 208, "num_blocks": 2, "stride": 2},
    ]
    mob = {"family": "mob", "stem": "focus", "stem_channels": 8, "kernel_size": 5, "rows": rows}
    nano = detector_config("damo-yolo-ns").model_dump()
    _check(DetectorConfig.from_mapping(nano | {"backbone": mob, "image_size": 352}))
    plain = [{**row, "kernel_size": None} for row in rows]
    res = {"family": "res", "stem": "focus", "stem_channels": 16, "rows": plain}
    small = detector_config("damo-yolo-s").model_dump()
    _check(DetectorConfig.from_mapping(small | {"backbone": BackboneConfig.from_mapping(res)}))
