import pytest
import torch
from torch import nn

from damo_yolo.errors import ConfigError
from damo_yolo.training.build import build_state
from damo_yolo.training.config import TrainConfig

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("activation", "kind"),
    [(None, nn.SiLU), ("hard_swish", nn.Hardswish), ("relu", nn.ReLU)],
)
def test_a_nano_detector_trains_with_the_activation_asked_for(
    activation: str | None, kind: type[nn.Module]
) -> None:
    config = TrainConfig.from_mapping(
        {"model": "damo-yolo-ns", "image_size": 64, "activation": activation}
    )

    detector = build_state(config, num_classes=3, device=CPU).model.detector

    kinds: list[type[nn.Module]] = [
        type(module)
        for module in detector.modules()
        if isinstance(module, nn.SiLU | nn.Hardswish | nn.ReLU)
    ]
    others = [other for other in kinds if other is not kind]
    assert kinds.count(kind) > 40
    assert others in ([], [nn.SiLU, nn.SiLU])  # the pyramid pooling keeps its own


def test_an_unknown_activation_is_named() -> None:

    with pytest.raises(ConfigError, match="activation"):
        TrainConfig.from_mapping({"model": "damo-yolo-ns", "activation": "gelu"})
