"""Exact search: partial candidates, row after row, dropped once they cannot win.

A partial candidate is dropped when its relaxed completion (`relax`) does not beat the best complete
candidate known, when its cheapest completion breaks a budget, or when another one in the same state
has no higher cost and no lower score. None of these can drop the optimum; where too many remain,
the least promising go too, and the bound remembers the best of them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from damo_yolo.search.network import Array
from damo_yolo.search.relax import LAST, Problem, Relaxed
from damo_yolo.search.space import GENES, Genes

MAX_LABELS = 1_000_000
NEIGHBOURS = 24
"""Better-scored labels of the same state that each is compared with."""
MARGIN = 1e-9


class Labels(NamedTuple):
    """P partial candidates."""

    genes: Genes
    """(P, G), zeros where not chosen yet."""
    score: Array
    cost: Array
    """(P, R) shares of the budgets."""
    m: NDArray[np.int64]
    i: NDArray[np.int64]
    """Output width so far."""
    u: NDArray[np.int64]
    """Blocks that may still be added."""

    def pick(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "Labels":
        """Return some of them."""
        return Labels(
            genes=self.genes[index],
            score=self.score[index],
            cost=self.cost[index],
            m=self.m[index],
            i=self.i[index],
            u=self.u[index],
        )


class Proven(NamedTuple):
    """The outcome of an exact search."""

    genes: Genes
    """(N, G) complete candidates within the budgets that beat the incumbent; may be none."""
    bound: float
    """No candidate within the budgets scores higher."""


def prove(relaxed: Relaxed, incumbent: float, *, max_labels: int = MAX_LABELS) -> Proven:
    """Search all candidates that could beat an incumbent.

    Args:
        relaxed: the problem under good prices; poor ones cost time, not correctness.
        incumbent: score of a candidate within the budgets.
        max_labels: partial candidates kept after a row; fewer may leave a gap.
    """
    problem = relaxed.problem
    threshold = incumbent + MARGIN
    labels = _stems(problem)
    lost = -np.inf
    cheapest = _cheapest_rests(problem)
    for row in range(LAST + 1):
        if not len(labels.u):
            return Proven(labels.genes, max(incumbent, lost))
        if problem.keeps_width(row):
            labels = labels._replace(m=labels.i)
        labels, bounds = _extend(relaxed, labels, row, threshold)
        rest = cheapest[row + 1] if row < LAST else None
        fits = _can_fit(labels, rest)
        labels, bounds = labels.pick(fits), bounds[fits]
        if row < LAST:
            kept = _undominated(labels)
            labels, bounds = labels.pick(kept), bounds[kept]
        if len(bounds) > max_labels:
            order = np.argsort(-bounds, kind="stable")
            lost = max(lost, float(bounds[order[max_labels]]))
            labels = labels.pick(order[:max_labels])
    wins = labels.score > threshold
    winners = labels.pick(wins)
    best = float(winners.score.max()) if wins.any() else incumbent
    return Proven(winners.genes, max(best, lost))


def _stems(problem: Problem) -> Labels:
    stems = np.arange(len(problem.stem_score))
    genes = np.zeros((len(stems), 1 + (LAST + 1) * len(GENES)), dtype=np.int64)
    genes[:, 0] = stems
    units = np.full(len(stems), problem.spare_blocks)
    return Labels(genes, problem.stem_score, problem.stem_cost, np.zeros_like(stems), stems, units)


def _extend(relaxed: Relaxed, labels: Labels, row: int, threshold: float) -> tuple[Labels, Array]:
    """Return every extension by one row whose bound beats the threshold, and these bounds."""
    prices = relaxed.prices
    spent = labels.score - labels.cost @ prices + prices.sum()
    states = np.stack([labels.m, labels.i, labels.u], axis=1)
    unique, group = np.unique(states, axis=0, return_inverse=True)
    order = np.argsort(group, kind="stable")
    ends = np.searchsorted(group[order], np.arange(len(unique)), side="right")
    parents, choices, bounds = [], [], []
    for start, end, (m, i, u) in zip([0, *ends[:-1]], ends, unique, strict=True):
        members = order[start:end]
        options = relaxed.options(row, int(m), int(i), int(u)).ravel()
        needed = threshold - spent[members]
        places = np.flatnonzero(options >= needed.min())
        places = places[np.argsort(-options[places], kind="stable")]
        counts = np.searchsorted(-options[places], -needed, side="right")
        parents.append(np.repeat(members, counts))
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        choices.append(places[offsets])
        bounds.append(spent[parents[-1]] + options[choices[-1]])
    parent, choice = np.concatenate(parents), np.concatenate(choices)
    return _extended(relaxed.problem, labels.pick(parent), row, choice), np.concatenate(bounds)


def _extended(problem: Problem, labels: Labels, row: int, choice: NDArray[np.int64]) -> Labels:
    shape = problem.row_score[row].shape[1:]
    o, b, depth, k = np.unravel_index(choice, shape)
    place = (labels.i, o, b, depth, k)
    genes = labels.genes.copy()
    start = 1 + row * len(GENES)
    for offset, gene in enumerate((o, b, depth, k)):
        genes[:, start + offset] = gene
    cost = labels.cost + problem.row_cost[row][place]
    if row == LAST:
        cost = cost + problem.neck_cost[problem.tables.neck_place(genes)]
    return Labels(
        genes=genes,
        score=labels.score + problem.row_score[row][place],
        cost=cost,
        m=labels.m,
        i=o.astype(np.int64),
        u=labels.u - (depth if problem.tracks_depth else 0),
    )


def _cheapest_rests(problem: Problem) -> list[Array]:
    """Return for the rows from each on the least of every cost: (m, i, u, R)."""
    if not problem.names:
        return [np.zeros((1, 1, 1, 0))] * (LAST + 1)
    per_cost = []
    for place in range(len(problem.names)):
        prices = np.zeros(len(problem.names))
        prices[place] = 1.0
        per_cost.append(Relaxed(problem, prices, score_counts=0.0).rests)
    return [-np.stack(rests, axis=-1) for rests in zip(*per_cost, strict=True)]


def _can_fit(labels: Labels, rest: Array | None) -> NDArray[np.bool_]:
    """Tell which labels some completion keeps within all budgets."""
    cost = labels.cost
    if rest is not None and cost.shape[1]:
        m = np.minimum(labels.m, rest.shape[0] - 1)
        cost = cost + rest[m, labels.i, labels.u]
    return np.asarray((cost <= 1.0 + 1e-12).all(axis=1))


def _undominated(labels: Labels) -> NDArray[np.int64]:
    """Return the labels that no better-scored neighbour of their state undercuts in every cost."""
    order = np.lexsort((labels.cost.sum(axis=1), -labels.score, labels.u, labels.i, labels.m))
    state = np.stack([labels.m, labels.i, labels.u], axis=1)[order]
    cost = labels.cost[order]
    dominated = np.zeros(len(order), dtype=bool)
    for shift in range(1, min(NEIGHBOURS, len(order) - 1) + 1):
        same = (state[shift:] == state[:-shift]).all(axis=1)
        dominated[shift:] |= same & (cost[:-shift] <= cost[shift:]).all(axis=1)
    return np.asarray(order[~dominated])
