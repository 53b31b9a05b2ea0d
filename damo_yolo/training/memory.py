"""How many parts a step is computed in so that it fits into a GPU's memory."""

import torch
from torch import Tensor

from damo_yolo.models.detector import Detector
from damo_yolo.training import step as steps
from damo_yolo.training.config import TrainConfig
from damo_yolo.training.device import choose_accumulation
from damo_yolo.training.ranks import gather_objects, num_ranks

NUM_OBJECTS = 100
"""Of each image of a probe; more than almost any image has."""
OPTIMIZER_COPIES = 2
"""Of every parameter, at most, that an optimiser makes at its first step."""


def num_parts_of_step(
    model: steps.TrainedModel,
    config: TrainConfig,
    *,
    teacher: Detector | None,
    precision: torch.dtype,
) -> int:
    """Return the configured number of parts; `auto` measures on a GPU, and is 1 elsewhere."""
    if config.accumulation != "auto":
        return config.accumulation
    device = next(model.parameters()).device
    if device.type != "cuda":
        return 1
    images = config.global_batch // num_ranks()
    capacity = torch.cuda.get_device_properties(device).total_memory

    def probe(part: int) -> int:
        return probe_step(model, config, teacher=teacher, images=part, precision=precision)

    own = choose_accumulation(probe, images=images, capacity_bytes=capacity)
    everywhere: list[int] = gather_objects(own)
    return max(everywhere)  # the smallest GPU decides


def probe_step(
    model: steps.TrainedModel,
    config: TrainConfig,
    *,
    teacher: Detector | None,
    images: int,
    precision: torch.dtype,
) -> int:
    """Return the most bytes a GPU holds in a step of noise; nothing of it stays."""
    device = next(model.parameters()).device
    torch.cuda.reset_peak_memory_stats(device)
    part = noise(config, images, num_classes=model.detector.config.num_classes, device=device)
    pixels = part[0]
    assert pixels is not None
    weight = config.distill.weight if config.distill else 0.0
    try:
        with steps.frozen_statistics(model.detector):
            features = steps.look(teacher, part[0], precision)
            # Divisors of its own: ranks whose memory differs must not wait for each other here.
            losses = model(part, features, weight, precision, pixels.new_ones(2))
            torch.autograd.backward(losses.total)
    finally:
        model.zero_grad(set_to_none=True)
    copies = OPTIMIZER_COPIES * sum(p.numel() * p.element_size() for p in model.parameters())
    return torch.cuda.max_memory_allocated(device) + copies


def noise(
    config: TrainConfig, images: int, *, num_classes: int, device: torch.device
) -> tuple[Tensor | None, ...]:
    """Return a part of a batch as `TrainedModel` takes it: grey images with many equal objects."""
    side = config.image_size
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    pixels = torch.full((images, 3, side, side), 114.0, device=device)
    box = torch.tensor([0.25, 0.25, 0.75, 0.75], device=device) * side
    shape = (images, NUM_OBJECTS)
    labels = torch.arange(NUM_OBJECTS, device=device).remainder(num_classes).expand(shape)
    return (
        pixels.contiguous(memory_format=layout),
        box.expand(*shape, 4).contiguous(),
        labels.contiguous(),
        torch.ones(shape, dtype=torch.bool, device=device),
        torch.ones(images, num_classes, dtype=torch.bool, device=device),
    )
