"""The best backbone within budgets, how far from the optimum it can be, and the whole front."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from damo_yolo.errors import ConfigError
from damo_yolo.models.config import Activation, BackboneConfig
from damo_yolo.search.budget import Budgets, check_budgets
from damo_yolo.search.evolve import EvolutionConfig, distinct, evolve
from damo_yolo.search.labels import MAX_LABELS, prove
from damo_yolo.search.network import Array
from damo_yolo.search.relax import Problem, best_prices, cheapest_genes
from damo_yolo.search.space import Genes
from damo_yolo.search.structures import backbone_config
from damo_yolo.search.tables import COSTS, QUANTITIES, Tables

SMALLEST_DIFFERENCE = 4
"""Genes in which alternatives differ from each other, at least."""


class Candidate(NamedTuple):
    """A backbone and what it costs."""

    genes: tuple[int, ...]
    score: float
    costs: Mapping[str, float]


class Solution(NamedTuple):
    """The outcome of a search under one set of budgets."""

    best: Candidate
    alternatives: tuple[Candidate, ...]
    """Good candidates that differ from the best and from each other, best first."""
    bound: float
    """No candidate of the space within the budgets scores higher."""
    budgets: Mapping[str, float]
    activation: Activation

    @property
    def gap(self) -> float:
        """How much higher the optimum can score, as a share of the best found; 0: it is found."""
        return max(0.0, self.bound / self.best.score - 1.0)


def solve(
    tables: Tables,
    budgets: Budgets,
    config: EvolutionConfig | None = None,
    *,
    num_alternatives: int = 0,
    max_labels: int = MAX_LABELS,
) -> Solution:
    """Find the candidate of highest score within the budgets, and prove it.

    Prices give a bound and first candidates, evolution good ones, and the exact search what can
    still be better: usually nothing, and then the gap is 0.

    Args:
        tables: of the space.
        budgets: limits, by the names of `COSTS`.
        config: of the evolution; the same seed gives the same solution.
        num_alternatives: how many good but different candidates to return beside the best.
        max_labels: memory of the exact search; too little leaves a gap, which is told.

    Raises:
        ConfigError: no candidate of the space is within the budgets.
    """
    problem = Problem(tables, check_budgets(budgets))
    relaxed, met = best_prices(problem)
    genes, worth = evolve(problem, config or EvolutionConfig(), start=met)
    if not len(genes):
        raise ConfigError(
            f"no network of the space is within all budgets: {_listed(budgets)}",
            fix="raise one of them; each alone can be met",
        )
    proven = prove(relaxed, float(worth[0, 0]), max_labels=max_labels)
    pool = np.concatenate([proven.genes, genes])
    pool = pool[distinct(pool)]
    worth = tables.worth(pool)
    order = np.argsort(-worth[:, 0], kind="stable")
    pool, worth = pool[order], worth[order]
    candidates = [_candidate(*pair) for pair in zip(pool, worth, strict=True)]
    return Solution(
        best=candidates[0],
        alternatives=_different(candidates, num_alternatives),
        bound=max(min(proven.bound, relaxed.bound), candidates[0].score),
        budgets=problem.budgets,
        activation=tables.activation,
    )


def pareto_front(
    tables: Tables,
    cost: str,
    budgets: Budgets | None = None,
    *,
    points: int = 16,
    config: EvolutionConfig | None = None,
) -> list[Solution]:
    """Return the best candidates from the cheapest to the dearest that is of use.

    Args:
        tables: of the space.
        cost: what is traded for score, one of `COSTS`.
        budgets: further limits, the same for all points; one on `cost` ends the front.
        points: limits on `cost`, evenly spaced in its logarithm.
        config: of the evolution.

    Returns:
        Solutions of rising cost and score, each with its bound.
    """
    fixed = {name: limit for name, limit in (budgets or {}).items() if name != cost}
    first, last = _ends(tables, cost)
    last = min(last, (budgets or {}).get(cost, last))
    front: list[Solution] = []
    for limit in np.geomspace(min(first, last), last, points):
        solution = solve(tables, fixed | {cost: float(limit)}, config)
        if not front or solution.best.score > front[-1].best.score:
            front.append(solution)
    return front


def structure_of(tables: Tables, candidate: Candidate) -> BackboneConfig:
    """Return a candidate as the detector's configuration."""
    return backbone_config(tables.space.networks(np.asarray([candidate.genes])))


def _ends(tables: Tables, cost: str) -> tuple[float, float]:
    """Return the least that a candidate costs, and more than any does."""
    if cost not in COSTS:
        raise ConfigError(f"no cost is called {cost!r}", fix=f"use one of: {', '.join(COSTS)}")
    place = QUANTITIES.index(cost)
    least, most = float(tables.stem[:, place].min()), float(tables.stem[:, place].max())
    for table in tables.rows:
        costs = table[..., place][np.isfinite(table[..., 0])]
        least, most = least + float(costs.min()), most + float(costs.max())
    neck = tables.neck[..., place]
    least, most = least + float(neck.min()), most + float(neck.max())
    if most <= 0:
        raise ConfigError(
            "the space has no latency", fix="give a latency model: damo-yolo profile writes one"
        )
    if cost != "layers":  # the cheapest parts need not fit together
        genes = cheapest_genes(Problem(tables, {cost: most}))
        least = float(tables.worth(genes)[0, place])
    return least, most


def _candidate(genes: Genes, worth: Array) -> Candidate:
    costs = dict(zip(COSTS, (float(value) for value in worth[1:]), strict=True))
    return Candidate(tuple(int(gene) for gene in genes), float(worth[0]), costs)


def _different(candidates: list[Candidate], count: int) -> tuple[Candidate, ...]:
    taken = candidates[:1]
    for candidate in candidates[1:]:
        if len(taken) > count:
            break
        genes = np.asarray(candidate.genes)
        distances = [int((genes != np.asarray(other.genes)).sum()) for other in taken]
        if min(distances) >= SMALLEST_DIFFERENCE:
            taken.append(candidate)
    return tuple(taken[1:])


def _listed(budgets: Budgets) -> str:
    return ", ".join(f"{name}={limit:.6g}" for name, limit in budgets.items())
