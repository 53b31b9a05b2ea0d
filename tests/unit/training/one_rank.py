"""One process of the test of two: `python one_rank.py RANK FOLDER` writes `RANK.json`."""

import copy
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from damo_yolo.errors import TrainingError
from damo_yolo.losses.detection import DetectionLoss, LossParts
from damo_yolo.samples import Batch
from damo_yolo.training.build import build_state
from damo_yolo.training.config import TrainConfig
from damo_yolo.training.loop import train
from damo_yolo.training.ranks import mean_over_ranks
from damo_yolo.training.reporter import GO_ON
from damo_yolo.training.sync_norm import share_statistics

WORLD_SIZE, POISONED_RANK, POISONED_STEP = 2, 1, 2
SLEEPY_RANK, SLEEP_S, TIMEOUT_S = 1, 16.0, 7.0


class _Loader:
    """One image a rank and step, with an object on rank 0 only."""

    steps_per_epoch = 4

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def epoch(self, epoch: int, *, phase: str, start_step: int = 0) -> Iterator[Batch]:
        for step in range(start_step, self.steps_per_epoch):
            generator = torch.Generator().manual_seed(step * WORLD_SIZE + self.rank)
            yield Batch(
                images=torch.randint(
                    0, 256, (1, 3, 64, 64), dtype=torch.uint8, generator=generator
                ),
                gt_boxes=torch.tensor([[[8.0, 8.0, 48.0, 40.0]]]),
                gt_labels=torch.zeros(1, 1, dtype=torch.int64),
                gt_valid=torch.tensor([[self.rank == 0]]),
                class_mask=None,
                keys=(f"{phase}/{epoch}-{step}-rank{self.rank}",),
                original_sizes=((64, 64),),
            )


class _PoisonedLoss(DetectionLoss):
    """Is not finite on one rank at one step."""

    calls = 0

    def forward(self, *args: Any, **kwargs: Any) -> LossParts:
        parts: LossParts = super().forward(*args, **kwargs)
        is_poisoned = self.calls == POISONED_STEP and dist.get_rank() == POISONED_RANK
        self.calls += 1
        return parts._replace(total=parts.total * (math.nan if is_poisoned else 1.0))


class _Reporter:
    """Keeps nothing."""

    def wish(self) -> int:
        return GO_ON

    def log(self, record: dict[str, Any]) -> None: ...

    def checkpoint(self, state: Any) -> None: ...

    def end_epoch(self, record: dict[str, Any]) -> None: ...

    def save_failure(self, payload: dict[str, Any], *, step: int) -> str:
        return f"kept-{step}-{len(payload['keys'])}"


def _normalised(rank: int) -> dict[str, list[float]]:
    """Send three images through a batch norm: two on rank 0, one on rank 1."""
    torch.manual_seed(0)
    images, weights = torch.randn(2, 3, 4, 5, 6).mul_(3).add_(7)
    own = slice(0, 2) if rank == 0 else slice(2, 3)
    norm = nn.BatchNorm2d(4)
    nn.init.uniform_(norm.weight)
    model = nn.Sequential(norm)
    share_statistics(model, torch.device("cpu"))
    x = images[own].to(memory_format=torch.channels_last).requires_grad_()
    y = copy.deepcopy(model)(x)
    (y * weights[own]).sum().backward()
    assert x.grad is not None
    model(x)
    return {
        "values": y.flatten().tolist(),
        "gradient": x.grad.flatten().tolist(),
        "running_mean": norm.state_dict()["running_mean"].tolist(),
        "running_var": norm.state_dict()["running_var"].tolist(),
    }


def _hang(rank: int, config: TrainConfig) -> str:
    """Take part in a training in which one rank sleeps; return what the other says of it."""
    cpu = torch.device("cpu")
    state = build_state(config, num_classes=2, device=cpu, timeout_s=TIMEOUT_S)

    def sleep_in_the_second_step(*_: Any) -> None:
        if state.position.step == 1 and rank == SLEEPY_RANK:
            time.sleep(SLEEP_S)

    state.model.detector.register_forward_pre_hook(sleep_in_the_second_step)
    try:
        train(state, _Loader(rank), _Reporter(), timeout_s=TIMEOUT_S)
    except TrainingError as error:
        return error.problem
    return ""


def main(rank: int, folder: Path) -> None:
    """Take part in a normalisation, then in trainings in which one rank fails, or hangs."""
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=WORLD_SIZE)
    torch.set_num_threads(1)
    answer: dict[str, Any] = {
        "mean": mean_over_ranks(torch.tensor([float(rank)])).tolist(),
        "norm": _normalised(rank),
    }
    config = TrainConfig(model="damo-yolo-ns", image_size=64, global_batch=WORLD_SIZE, log_every=1)
    state = build_state(config, num_classes=2, device=torch.device("cpu"))
    state.model.loss = _PoisonedLoss(config.loss)
    try:
        train(state, _Loader(rank), _Reporter())
    except TrainingError as error:
        answer |= {"problem": error.problem, "fix": error.fix, "step": state.position.step}
    weights = [p.double().sum().item() for p in state.model.detector.parameters()]
    answer |= {"weights": weights, "hangs": _hang(rank, config)}
    (folder / f"{rank}.json").write_text(json.dumps(answer))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
