from pathlib import Path

import numpy as np
import torch
from torch import nn

from damo_yolo.training.ema import WeightAverage
from damo_yolo.training.schedule import average_decay


def test_the_average_follows_the_published_chain(golden_dir: Path) -> None:
    golden = np.load(golden_dir / "schedule.npz")
    keys = [str(key) for key in golden["ema.keys"]]
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))

    def read(name: str) -> dict[str, torch.Tensor]:
        return {key: torch.as_tensor(golden[f"ema.{name}.{key}"]) for key in keys}

    model.load_state_dict(read("init"))
    average = WeightAverage(model)
    chain = sorted(
        int(name.removeprefix("ema.student").split(".")[0])
        for name in golden.files
        if name.startswith("ema.student") and name.endswith("num_batches_tracked")
    )
    assert len(chain) == len(golden["ema.iters"])
    for number, step in zip(chain, golden["ema.iters"], strict=True):
        model.load_state_dict(read(f"student{number}"))
        average.update(model, keep=average_decay(int(step), decay=0.9998, tau=2000))
        for key, expected in read(f"after{number}").items():
            torch.testing.assert_close(average.state_dict()[key], expected, rtol=1e-5, atol=1e-6)


def test_the_first_update_copies_and_counters_stay() -> None:
    model = nn.BatchNorm2d(2)
    average = WeightAverage(model)
    with torch.no_grad():
        model.weight.fill_(5.0)
    model.load_state_dict(model.state_dict() | {"num_batches_tracked": torch.tensor(7)})

    average.update(model, keep=0.0)

    assert average.state_dict()["weight"].tolist() == [5.0, 5.0]
    assert average.state_dict()["num_batches_tracked"] == 0


def test_a_quarter_moves_a_quarter_of_the_way() -> None:
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    average = WeightAverage(model)
    with torch.no_grad():
        model.weight.fill_(8.0)

    average.update(model, keep=0.75)

    assert average.state_dict()["weight"].item() == 2.0
    assert model.weight.item() == 8.0
