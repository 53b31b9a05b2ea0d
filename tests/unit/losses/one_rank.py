"""One process of the test of many: `python one_rank.py RANK FOLDER`.

Reads rank<n>.pt (the tensors of an output and of its objects), writes result<n>.pt: how many
collectives the loss made, the total, and the gradients by logits, boxes and side logits.
"""

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from damo_yolo.losses.detection import DetectionLoss
from damo_yolo.models.detector import DetectorOutput

_COLLECTIVES = ("all_reduce", "all_gather", "all_gather_into_tensor", "broadcast", "reduce")


def main(rank: int, folder: Path) -> None:
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    calls: list[str] = []
    for name in _COLLECTIVES:
        setattr(dist, name, _counted(name, calls))
    values = torch.load(folder / f"rank{rank}.pt")
    leaves = [value.requires_grad_() for value in values["leaves"]]
    logits, sides, boxes = leaves
    points, strides = values["grid"]
    none = torch.zeros(0)
    output = DetectorOutput(logits, sides, boxes, points, strides, (none, none, none))
    parts = DetectionLoss()(output, *values["objects"])
    gradients = torch.autograd.grad(parts.total, leaves)
    result = {"calls": calls, "total": parts.total.detach(), "gradients": gradients}
    torch.save(result, folder / f"result{rank}.pt")
    dist.destroy_process_group()


def _counted(name: str, calls: list[str]) -> Any:
    collective = getattr(dist, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return collective(*args, **kwargs)

    return call


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
