"""What only a device can show: memory that decides how a step is cut, and precision."""

import pytest
import torch

from damo_yolo.training.build import build_state
from damo_yolo.training.config import TrainConfig
from damo_yolo.training.device import choose_precision, memory_mib
from damo_yolo.training.memory import num_parts_of_step, probe_step

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here"),
]


def test_more_images_take_more_memory_and_a_probe_changes_nothing() -> None:
    device = torch.device("cuda")
    config = TrainConfig(model="damo-yolo-ns", image_size=320, global_batch=8)
    state = build_state(config, num_classes=3, device=device)
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    state.model.train()

    one, eight = (
        probe_step(state.model, config, teacher=None, images=images, precision=torch.float32)
        for images in (1, 8)
    )

    assert one < eight
    for name, value in state.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_small_step_is_not_cut_on_a_whole_gpu() -> None:
    device = torch.device("cuda")
    config = TrainConfig(
        model="damo-yolo-ns", image_size=64, global_batch=2, accumulation="auto", precision="auto"
    )
    model = build_state(config, num_classes=3, device=device).model.train()
    precision = choose_precision(config, device)

    assert num_parts_of_step(model, config, teacher=None, precision=precision) == 1
    assert memory_mib(device) > 0
