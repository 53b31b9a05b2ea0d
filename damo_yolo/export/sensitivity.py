"""What each layer alone loses in INT8: where to look when the whole loses too much.

One convolution at a time computes with weights and input rounded to eight bits, all others in
float32. Symmetric ranges, per output channel for weights and per tensor for the input, the extremes
of the images given: a simulation in torch, close to what runtimes do, the same for all of them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from damo_yolo.config import Config
from damo_yolo.models.detector import Detector

LEVELS = 127


class LayerSensitivity(Config):
    """What changes when one convolution computes in INT8."""

    layer: str
    score_change: float
    """Mean change of the 100 best scores of an image."""
    box_change_px: float
    """Mean change of their boxes."""


def layer_sensitivity(
    fused: Detector, images: Sequence[NDArray[np.uint8]], *, best: int = 100
) -> tuple[LayerSensitivity, ...]:
    """Return one row per convolution, the most sensitive first.

    Args:
        fused: from `fuse`; left as it is.
        images: (3, S, S) RGB 0..255; a dozen are enough.
        best: so many anchor points of an image count, by the model's own scores.
    """
    batch = torch.from_numpy(np.stack(images)).float()
    layers = [(name, m) for name, m in fused.named_modules() if isinstance(m, nn.Conv2d)]
    rows = []
    with torch.inference_mode():
        scores, boxes = fused(batch)
        top = scores.amax(dim=-1)
        places = top.topk(min(best, top.shape[1]), dim=1).indices  # (B, best)
        for name, layer in layers:
            other_scores, other_boxes = _with_int8(fused, layer, batch)
            rows.append(
                LayerSensitivity(
                    layer=name,
                    score_change=_mean_change(scores.amax(-1), other_scores.amax(-1), places),
                    box_change_px=_mean_change(boxes.mean(-1), other_boxes.mean(-1), places),
                )
            )
    return tuple(sorted(rows, key=lambda row: -row.score_change))


def _with_int8(fused: Detector, layer: nn.Conv2d, batch: Tensor) -> tuple[Tensor, Tensor]:
    weight = layer.weight.data

    def round_input(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor]:
        del module
        return (_rounded(inputs[0], inputs[0].abs().amax()),)

    handle = layer.register_forward_pre_hook(round_input)
    layer.weight.data = _rounded(weight, weight.abs().amax(dim=(1, 2, 3), keepdim=True))
    try:
        scores, boxes = fused(batch)
    finally:
        layer.weight.data = weight
        handle.remove()
    return scores, boxes


def _rounded(values: Tensor, extreme: Tensor) -> Tensor:
    step = extreme.clamp(min=1e-12) / LEVELS
    return (values / step).round().clamp(-LEVELS, LEVELS) * step


def _mean_change(before: Tensor, after: Tensor, places: Tensor) -> float:
    return float((after - before).abs().gather(1, places).mean())
