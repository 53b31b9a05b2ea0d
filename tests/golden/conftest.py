"""Weights for the golden outputs: refilled from key names, so none are stored.

The recipe is stated in the README beside the golden data; this is it again, in numpy.
"""

import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

FillModel = Callable[..., None]


@pytest.fixture(scope="session")
def fill_model(golden_dir: Path) -> FillModel:
    """Return `fill(module, size=None, seed=0)`; `size` names the table of batch-norm scales."""

    def fill(module: nn.Module, size: str | None = None, seed: int = 0) -> None:
        scales = {}
        if size is not None:
            scales = json.loads((golden_dir / f"bn_scale_{size}.json").read_text())
        state = {
            key: _refill(key, tuple(value.shape), seed=seed, scales=scales)
            for key, value in module.state_dict().items()
        }
        module.load_state_dict(state)

    return fill


def _refill(key: str, shape: tuple[int, ...], *, seed: int, scales: Mapping[str, float]) -> Tensor:
    owner, _, leaf = key.rpartition(".")
    if leaf == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    if leaf == "project":
        return torch.arange(float(shape[0]))
    draws = np.random.default_rng([seed, zlib.crc32(key.encode())])
    scale = scales.get(owner, 1.0)
    is_head = "gfl_" in key
    if leaf == "running_var":
        values = scale * draws.uniform(0.5, 1.5, shape)
    elif leaf == "running_mean":
        values = np.sqrt(scale) * 0.2 * draws.standard_normal(shape)
    elif leaf == "scale":
        values = 1.0 + 0.1 * draws.standard_normal(shape)
    elif len(shape) > 1:
        gain = 2.0 if is_head else 1.0
        values = draws.standard_normal(shape) * gain / np.sqrt(np.prod(shape[1:]))
    elif leaf == "weight":
        values = draws.uniform(0.7, 1.3, shape)
    else:
        values = 0.2 * draws.standard_normal(shape) - (2.5 if "gfl_cls" in key else 0.0)
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
