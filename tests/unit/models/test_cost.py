import pytest
import torch

from damo_yolo.models.config import BackboneConfig, DetectorConfig
from damo_yolo.models.cost import count_flops, measure_cost
from damo_yolo.models.zoo import build_detector, detector_config

# Counted on the published code: parameters in training form, branches fused, all folded (millions);
# GFLOPs in training form and fused.
COUNTED = {
    "damo-yolo-t": (8.876, 8.480, 8.474, 18.982, 18.008),
    "damo-yolo-s": (16.936, 16.252, 16.243, 39.654, 37.616),
    "damo-yolo-m": (29.242, 28.178, 28.164, 63.876, 61.622),
    "damo-yolo-l": (43.862, 42.058, 42.040, 101.284, 97.116),
    "damo-yolo-ns": (1.406, 1.406, 1.392, 1.498, 1.498),
    "damo-yolo-nm": (2.707, 2.707, 2.688, 3.582, 3.582),
    "damo-yolo-nl": (5.689, 5.689, 5.659, 5.909, 5.909),
}


@pytest.mark.parametrize("name", COUNTED)
def test_cost_equals_that_of_the_published_code(name: str) -> None:
    cost = measure_cost(detector_config(name))

    found = (
        cost.params_train_m,
        cost.params_m,
        cost.params_folded_m,
        cost.gflops_train,
        cost.gflops,
    )
    assert found == pytest.approx(COUNTED[name], abs=6e-4)


def test_the_first_nano_release_can_still_be_described() -> None:
    rows = [(40, 2, 2), (80, 2, 2), (112, 2, 2), (112, 2, 1), (160, 1, 2)]
    backbone = BackboneConfig.from_mapping(
        {
            "family": "mob",
            "stem": "focus",
            "stem_channels": 16,
            "kernel_size": 5,
            "rows": [
                {"out_channels": width, "num_blocks": count, "stride": stride}
                for width, count, stride in rows
            ],
        }
    )
    config = DetectorConfig(
        backbone=backbone,
        neck_channels=(64, 128, 256),
        neck_num_blocks=2,
        neck_depthwise=True,
        reg_max=7,
        image_size=416,
    )

    cost = measure_cost(config)

    assert cost.params_m == pytest.approx(2.347, abs=6e-4)
    assert cost.gflops == pytest.approx(4.041, abs=6e-4)


def test_work_grows_with_the_area_of_the_image() -> None:
    config = detector_config("damo-yolo-ns")

    small, large = (measure_cost(config, image_size=side).gflops for side in (64, 128))

    assert large == pytest.approx(4 * small)


def test_counting_changes_nothing_in_the_detector() -> None:
    detector = build_detector("damo-yolo-ns", 2)
    before = {key: value.clone() for key, value in detector.state_dict().items()}

    count_flops(detector, image_size=64)

    after = detector.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert detector.training
    assert not any(module._forward_hooks for module in detector.modules())


def test_one_more_class_costs_two_operations_per_cell_and_input() -> None:
    three, two = (count_flops(build_detector("damo-yolo-ns", n), image_size=32) for n in (3, 2))

    assert three - two == 2 * (16 * 40 + 4 * 80 + 1 * 160)  # cells x inputs of each level
