"""What the device at hand decides: precision, parts of a step, memory in use."""

import resource
from collections.abc import Callable

import torch

from damo_yolo.errors import TrainingError
from damo_yolo.training.config import TrainConfig

BF16_CAPABILITY = (8, 0)
"""First CUDA generation that multiplies bf16 matrices in hardware."""
MEMORY_SHARE = 0.9
"""Of a GPU's memory that a step may take; the rest is for fragments and the allocator."""

Probe = Callable[[int], int]
"""From the images of one part to the bytes that a step needs at most; raises
`torch.OutOfMemoryError` where there are too few."""


def choose_precision(config: TrainConfig, device: torch.device) -> torch.dtype:
    """Return the type of convolutions on a device."""
    if config.precision == "auto":
        gains = device.type == "cuda" and torch.cuda.get_device_capability() >= BF16_CAPABILITY
        return torch.bfloat16 if gains else torch.float32
    return torch.bfloat16 if config.precision == "bf16" else torch.float32


def choose_accumulation(probe: Probe, *, images: int, capacity_bytes: int) -> int:
    """Return the fewest equal parts of a step that fit into memory.

    Tries from the whole on downwards: what is found fits, and nothing larger did.

    Args:
        probe: measures a part.
        images: of this rank in one step.
        capacity_bytes: of the device.

    Raises:
        TrainingError: not even one image fits.
    """
    budget = MEMORY_SHARE * capacity_bytes
    for parts in (n for n in range(1, images + 1) if images % n == 0):
        try:
            if probe(images // parts) <= budget:
                return parts
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
    raise TrainingError(
        f"a step of one image does not fit into {capacity_bytes / 2**30:.1f} GiB of memory",
        fix="lower image_size, or choose a smaller model or a larger GPU",
    )


def memory_mib(device: torch.device) -> float:
    """Return the most memory this process has held so far: of its GPU, or resident on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**10  # Linux counts KiB
