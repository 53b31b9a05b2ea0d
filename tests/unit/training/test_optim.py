from pathlib import Path

import numpy as np
import torch
from torch import nn

from damo_yolo.models.zoo import build_detector
from damo_yolo.training.config import OptimizerConfig
from damo_yolo.training.optim import build_optimizer, set_learning_rate, split_decay


def test_the_same_parameters_stay_without_decay_as_in_the_published_optimiser(
    golden_dir: Path,
) -> None:
    for size in ("ns", "t"):
        golden = np.load(golden_dir / f"train_step_{size.title()}.npz")

        decayed, free = split_decay(build_detector(f"damo-yolo-{size}"))

        assert set(free) == {str(key) for key in golden["opt.no_decay_keys"]}
        assert len(decayed) + len(free) == golden["opt.n_groups"]


def test_a_bias_keeps_its_size_where_a_weight_decays() -> None:
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(1.0)
        model.bias.fill_(1.0)
    optimizer = build_optimizer(
        model, OptimizerConfig(kind="sgd", weight_decay=0.5, momentum=0.0001)
    )
    set_learning_rate(optimizer, 0.1)
    model.weight.grad = torch.zeros(1, 1)
    model.bias.grad = torch.zeros(1)

    optimizer.step()

    assert model.weight.item() < 1.0
    assert model.bias.item() == 1.0


def test_the_class_branch_has_a_rate_of_its_own() -> None:
    detector = build_detector("damo-yolo-ns")
    optimizer = build_optimizer(detector, OptimizerConfig(kind="adamw", class_rate_factor=4.0))

    set_learning_rate(optimizer, 0.5)

    rates = {
        id(parameter): group["lr"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for name, parameter in detector.named_parameters():
        assert rates[id(parameter)] == (2.0 if "gfl_cls" in name else 0.5), name


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Linear(2, 2).requires_grad_(requires_grad=False)

    assert split_decay(model) == ({}, {})
