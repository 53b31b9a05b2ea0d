"""Limits on what a network may cost."""

import math
from collections.abc import Mapping, Sequence

from damo_yolo.config import parse_override
from damo_yolo.errors import ConfigError
from damo_yolo.search.tables import COSTS

Budgets = Mapping[str, float]
"""Cost to its limit; the names are those of `COSTS`."""


def parse_budgets(texts: Sequence[str]) -> dict[str, float]:
    """Read `name=limit`, e.g. `latency_ms=5`, `params=2.5e6`.

    Raises:
        ConfigError: a name is unknown or repeated, or a limit is no positive number.
    """
    budgets: dict[str, float] = {}
    for text in texts:
        name, value = parse_override(text)
        if name in budgets:
            raise ConfigError(f"the budget {name} is given twice", fix="give each budget once")
        budgets[name] = _number(text, value)
    return check_budgets(budgets)


def check_budgets(budgets: Budgets) -> dict[str, float]:
    """Return the budgets.

    Raises:
        ConfigError: none is given, a name is unknown, or a limit is no positive number.
    """
    if not budgets:
        raise ConfigError(
            "the search has no budget: the best network would be the largest",
            fix="give at least one, e.g. --budget flops=5e9",
        )
    for name, limit in budgets.items():
        if name not in COSTS:
            raise ConfigError(f"no cost is called {name!r}", fix=f"use some of: {', '.join(COSTS)}")
        if not (math.isfinite(limit) and limit > 0):
            raise ConfigError(f"the budget {name}={limit} is no positive number", fix="correct it")
    return dict(budgets)


def _number(text: str, value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError):
        raise ConfigError(
            f"the budget {text!r} has no number behind '='", fix="write e.g. latency_ms=5"
        ) from None
