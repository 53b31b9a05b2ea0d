"""The smoothing power that gives a dataset a wished share of all draws.

The share of dataset d at power g is n_d^g / sum of n^g. Its inverse is a sum of exponentials in g,
hence convex: over 0..1 the share rises, falls, or rises to one peak and falls again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from damo_yolo.errors import ConfigError
from damo_yolo.mixing.balance import BalanceConfig, smooth_sizes

TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Wish:
    """A dataset's share of all draws that somebody wants."""

    dataset: str
    share: float
    """0..1."""

    @classmethod
    def parse(cls, text: str) -> "Wish":
        """Read `coco=0.3`.

        Raises:
            ConfigError: it is not a name and a number between 0 and 1.
        """
        name, _, number = text.partition("=")
        try:
            share = float(number)
        except ValueError:
            share = np.nan
        if not name or not 0 < share < 1:
            raise ConfigError(
                f"the wish {text!r} is not a dataset and a share between 0 and 1",
                fix="write it as dataset=share, e.g. coco=0.3",
            )
        return cls(name.strip(), share)


def solve_power(sizes: Mapping[str, int], wish: Wish) -> float:
    """Return the power in 0..1 that fulfils a wish; of two, the one nearer to the raw sizes.

    Args:
        sizes: images of each dataset.
        wish: what share one of them is to have.

    Raises:
        ConfigError: there is no such dataset, or no power gives it that share.
    """
    if wish.dataset not in sizes:
        raise ConfigError(
            f"the wish names the dataset '{wish.dataset}', which has no training images",
            fix=f"use one of: {', '.join(sizes)}",
        )

    def excess(power: float) -> float:
        return smooth_sizes(sizes, BalanceConfig(size_power=power))[wish.dataset] - wish.share

    peak = _highest(excess)
    for begin, end in ((peak, 1.0), (0.0, peak)):
        at_begin, at_end = excess(begin), excess(end)
        if abs(at_end) <= TOLERANCE:
            return end
        if at_begin * at_end < 0:
            return float(brentq(excess, begin, end, xtol=1e-12))
    if abs(excess(0.0)) <= TOLERANCE:
        return 0.0
    ends = sorted((excess(0.0), excess(1.0), excess(peak)))
    low, high = ends[0] + wish.share, ends[-1] + wish.share
    raise ConfigError(
        f"no smoothing power gives '{wish.dataset}' {wish.share:.2%} of the draws:"
        f" powers from 0 to 1 give it {low:.2%} to {high:.2%}",
        fix="wish for a share in that range, or join or leave out datasets in the catalog",
    )


def _highest(excess: Callable[[float], float]) -> float:
    """Return the power in 0..1 with the highest value of a function with one peak."""
    found = minimize_scalar(
        lambda power: -excess(float(power)),
        bounds=(0, 1),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return max((0.0, float(found.x), 1.0), key=excess)
