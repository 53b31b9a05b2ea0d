"""The maximum-entropy score in closed form: what random weights would make of random input.

Every convolution of the path multiplies the standard deviation by the root of its fan-in. With H_s
the sum of these logarithms up to the end of stage s, plus the logarithm of its width, the score is
the weighted sum of all H_s (report, section 2.1; facts: mae_nas.md, section 2.1).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from damo_yolo.errors import ConfigError
from damo_yolo.search.detector_network import detector_convs
from damo_yolo.search.network import Array, Network, StagedConv, search_convs
from damo_yolo.search.structures import backbone_config, network_of, parse_structure

Which = Literal["search", "detector"]
"""`search`: the network that the published search scores; `detector`: what is deployed."""

WEIGHTS = (0, 0, 1, 1, 16)
"""Of the five stages, in every DAMO-YOLO search."""


def score_structure(
    structure: Sequence[Mapping[str, Any]] | Mapping[str, Any] | str | Path,
    *,
    weights: Sequence[float] = WEIGHTS,
    network: Which = "search",
) -> float:
    """Return the score of one backbone.

    Args:
        structure: block mappings as the published search writes them (class, in, out, k, s, L,
            btn), the fields of a `BackboneConfig` or of a detector with one, or the location of a
            file with any of these.
        weights: of the stages, first to last.
        network: which network is scored: `search` or `detector`.

    Raises:
        ConfigError: the structure cannot be read, or there is not one weight per stage.
        StorageError: nothing is at the location.
    """
    parsed = parse_structure(structure)
    if network == "detector":  # in the words of the detector, or an error if it has none
        parsed = network_of(backbone_config(parsed), image_size=640)
    return float(score(parsed, weights=weights, network=network)[0])


def score(
    networks: Network, *, weights: Sequence[float] = WEIGHTS, network: Which = "search"
) -> Array:
    """Return the scores (N,) of a population; see `score_structure`."""
    if network not in ("search", "detector"):
        raise ConfigError(f"no network is called {network!r}", fix="use search or detector")
    convs = search_convs(networks) if network == "search" else detector_convs(networks)
    _check_weights(weights, networks)
    return score_convs(convs, weights) + score_widths(networks.stage_widths, weights)


def score_convs(convs: Iterable[StagedConv], weights: Sequence[float]) -> Array:
    """Return the share of the convolutions (N,). One counts in its stage and all later ones."""
    later = np.cumsum(np.asarray(weights, dtype=np.float64)[::-1])[::-1]
    total: Array = np.zeros(1)
    for stage, conv in convs:
        if conv.on_path:
            total = total + (0.5 * later[stage]) * conv.times * np.log(conv.fan_in)
    return total


def score_widths(widths: Sequence[Array], weights: Sequence[float]) -> Array:
    """Return the share of the output widths of the stages (N,)."""
    total: Array = np.zeros(1)
    for width, weight in zip(widths, weights, strict=True):
        if weight:
            total = total + weight * np.log(width)
    return total


def _check_weights(weights: Sequence[float], network: Network) -> None:
    if len(weights) != network.num_stages:
        raise ConfigError(
            f"the structure has {network.num_stages} stages, and {len(weights)} weights are given",
            fix="give one weight per stage; a stage begins before every layer of stride 2",
        )
