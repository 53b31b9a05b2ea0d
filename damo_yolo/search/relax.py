"""The search problem with its budgets priced in: solved exactly, row by row, in milliseconds.

With a price on every cost the best candidate follows from a dynamic programme over the rows. For
any prices, its value plus the worth of the budgets is an upper bound on what any candidate within
the budgets can score (Lagrangian duality); the best prices give the lowest such bound. The number
of layers is no price but part of the state.

Indices: m width at stride 8 (0 where the neck is not counted), i input and o output width, b
bottleneck, l depth, k kernel, u blocks that may still be added; R priced costs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from damo_yolo.errors import ConfigError
from damo_yolo.search.budget import Budgets
from damo_yolo.search.network import Array
from damo_yolo.search.space import GENES, Genes
from damo_yolo.search.tables import QUANTITIES, Tables

LAYERS = QUANTITIES.index("layers")
LAST = 4
HIGHEST_PRICE = 1e7
TOLERANCE = 1e-9

Value = Callable[[int, int], Array]
"""Best net value (m, i) with a depth, and blocks left behind it."""


class Problem:
    """A space under budgets; each priced cost is a share of its budget."""

    def __init__(self, tables: Tables, budgets: Budgets) -> None:
        self.tables = tables
        self.budgets = dict(budgets)
        self.names = tuple(name for name in budgets if name != "layers")
        places = [QUANTITIES.index(name) for name in self.names]
        limits = np.asarray([budgets[name] for name in self.names])
        self.stem_score = tables.stem[:, 0]
        self.stem_cost = tables.stem[:, places] / limits
        self.row_score = [table[..., 0] for table in tables.rows]
        self.row_cost = [table[..., places] / limits for table in tables.rows]
        self.neck_cost = tables.neck[..., places] / limits
        self.num_widths = tables.neck.shape[0]
        self.spare_blocks = self._spare_blocks(budgets.get("layers"))

    @property
    def tracks_depth(self) -> bool:
        """Tell whether blocks are counted."""
        return "layers" in self.budgets

    def fits(self, worth: Array) -> NDArray[np.bool_]:
        """Tell which candidates, by their quantities (N, T), are within all budgets."""
        inside = np.isfinite(worth[:, 0])
        for name, limit in self.budgets.items():
            inside &= worth[:, QUANTITIES.index(name)] <= limit * (1 + 1e-12)
        return inside

    def keeps_width(self, row: int) -> bool:
        """Tell whether the width at stride 8 is the input of a row, so that rows behind need it."""
        return row == 2 and self.num_widths > 1  # noqa: PLR2004 - row 1 ends the first level

    def _spare_blocks(self, limit: float | None) -> int:
        if limit is None:
            return 0
        rows = self.tables.rows
        fewest = self.tables.stem[0, LAYERS]
        fewest += sum(_least(table[..., 0, :, :]) for table in rows)
        per_block = max(_layers_per_block(table) for table in rows)
        if fewest > limit:
            raise ConfigError(
                f"the smallest network has {fewest:.0f} layers; the budget is {limit:.0f}",
                fix="raise the budget of layers",
            )
        deepest = sum(table.shape[3] - 1 for table in rows)
        return int(min(deepest, (limit - fewest) // per_block)) if per_block else deepest


def _least(table: Array) -> float:
    allowed = np.isfinite(table[..., 0])
    return float(table[..., LAYERS][allowed].min())


def _layers_per_block(table: Array) -> float:
    if table.shape[3] == 1:
        return 0.0
    allowed = np.isfinite(table[..., 0, 0, 0])
    more = table[..., 1, 0, LAYERS] - table[..., 0, 0, LAYERS]
    return float(more[allowed].max())


@dataclass(frozen=True)
class Relaxed:
    """A problem under given prices (R,), and what the rows from each on can still add."""

    problem: Problem
    prices: Array
    score_counts: float = 1.0
    """0 leaves only the prices: the cheapest completion."""

    @cached_property
    def stem(self) -> Array:
        """(i,) net value of each stem."""
        problem = self.problem
        return np.asarray(self.score_counts * problem.stem_score - problem.stem_cost @ self.prices)

    @cached_property
    def rows(self) -> tuple[Array, ...]:
        """Net value of every row: (i, o, b, l, k)."""
        nets = []
        for score, cost in zip(self.problem.row_score, self.problem.row_cost, strict=True):
            counted = score if self.score_counts else np.where(np.isfinite(score), 0.0, score)
            nets.append(counted - cost @ self.prices)
        return tuple(nets)

    @cached_property
    def neck(self) -> Array:
        """(m, width at 16, width at 32) what the neck takes away."""
        return np.asarray(-(self.problem.neck_cost @ self.prices))

    @cached_property
    def rests(self) -> tuple[Array, ...]:
        """Best net value of the rows from each on, (m, i, u)."""
        best = [np.asarray(row.max(axis=(2, 4))) for row in self.rows]  # (i, o, l)
        rests = [self._last(best[LAST])]
        for row in range(LAST - 1, -1, -1):
            rests.append(self._before(row, best[row], rests[-1]))
        return tuple(reversed(rests))

    @cached_property
    def bound(self) -> float:
        """What no candidate within the budgets can exceed in score."""
        units = self.problem.spare_blocks
        return float((self.stem + self.rests[0][0, :, units]).max() + self.prices.sum())

    def tail(self, row: int, m: int, i: int, u: int) -> Array:
        """Return what follows a row for each of its outputs and depths: (o, l)."""
        depths = self.problem.row_score[row].shape[3]
        outs = self.problem.row_score[row].shape[1]
        if row == LAST:
            middle = min(i, self.neck.shape[1] - 1)
            tail = np.repeat(np.broadcast_to(self.neck[m, middle], (outs,))[:, None], depths, 1)
            if self.problem.tracks_depth:
                tail[:, u + 1 :] = -np.inf
            return tail
        rest = self.rests[row + 1]
        m = min(m, rest.shape[0] - 1)
        if not self.problem.tracks_depth:
            return np.repeat(rest[m, :, :1], depths, axis=1)
        tail = np.full((outs, depths), -np.inf)
        for depth in range(min(depths, u + 1)):
            tail[:, depth] = rest[m, :, u - depth]
        return tail

    def options(self, row: int, m: int, i: int, u: int) -> Array:
        """Return the net value of each choice of a row with the best behind it: (o, b, l, k)."""
        return np.asarray(self.rows[row][i] + self.tail(row, m, i, u)[:, None, :, None])

    def best_genes(self) -> Genes:
        """Return the best candidate under these prices (1, G)."""
        u, m = self.problem.spare_blocks, 0
        i = int(np.argmax(self.stem + self.rests[0][0, :, u]))
        genes = [i]
        for row in range(LAST + 1):
            m = i if self.problem.keeps_width(row) else m
            options = self.options(row, m, i, u)
            o, b, depth, k = np.unravel_index(int(np.argmax(options)), options.shape)
            genes += [int(o), int(b), int(depth), int(k)]
            i = int(o)
            u -= int(depth) if self.problem.tracks_depth else 0
        return np.asarray([genes], dtype=np.int64)

    def _last(self, best: Array) -> Array:
        per_depth = (best[None] + self.neck[..., None]).max(axis=2)  # (m, i, l)
        return self._over_depth(lambda depth, _: per_depth[..., depth], best.shape[2])

    def _before(self, row: int, best: Array, rest: Array) -> Array:
        """Return (m, i, u) from what one row can add and what the rows behind it can."""
        if self.problem.keeps_width(row):  # here m is the input i, and forgotten before it

            def value(depth: int, u: int) -> Array:
                return np.asarray((best[None, :, :, depth] + rest[None, :, :, u]).max(axis=2))
        else:

            def value(depth: int, u: int) -> Array:
                return np.asarray((best[None, :, :, depth] + rest[:, None, :, u]).max(axis=2))

        return self._over_depth(value, best.shape[2])

    def _over_depth(self, value: Value, depths: int) -> Array:
        units = self.problem.spare_blocks
        by_units = []
        for u in range(units + 1):
            tracked = self.problem.tracks_depth
            allowed = range(min(depths, u + 1) if tracked else depths)
            choices = [value(depth, u - depth if tracked else 0) for depth in allowed]
            by_units.append(np.maximum.reduce(choices))
        return np.stack(by_units, axis=-1)


def best_prices(problem: Problem, *, rounds: int = 60) -> tuple[Relaxed, Genes]:
    """Find the prices of the lowest bound by cutting planes.

    Args:
        problem: the space and its budgets.
        rounds: most solutions of the priced problem.

    Returns:
        The problem under these prices, and the candidates met on the way (N, G).

    Raises:
        ConfigError: one budget alone is below what the smallest network costs.
    """
    cheapest = cheapest_genes(problem)
    if not problem.names:
        free = Relaxed(problem, np.zeros(0))
        return free, np.concatenate([cheapest, free.best_genes()])
    met = [*cheapest[:, None]]
    cuts = [_cut(problem, genes) for genes in met]
    best: Relaxed | None = None
    for _ in range(rounds):
        prices, lowest = _master(cuts)
        relaxed = Relaxed(problem, prices)
        if best is None or relaxed.bound < best.bound:
            best = relaxed
        met.append(relaxed.best_genes())
        cuts.append(_cut(problem, met[-1]))
        if best.bound - lowest < TOLERANCE * abs(best.bound):
            break
    assert best is not None
    return best, np.concatenate(met)


def cheapest_genes(problem: Problem) -> Genes:
    """Return the candidates of least cost, one per priced cost; raises if one is too much."""
    found = []
    for place, name in enumerate(problem.names):
        prices = np.zeros(len(problem.names))
        prices[place] = 1.0
        genes = Relaxed(problem, prices, score_counts=0.0).best_genes()
        least = float(problem.tables.worth(genes)[0, QUANTITIES.index(name)])
        if least > problem.budgets[name]:
            raise ConfigError(
                f"the smallest network of the space costs {name}={least:.4g}; the budget is "
                f"{problem.budgets[name]:.4g}",
                fix="raise the budget, take a smaller input or a narrower neck, or widen the space",
            )
        found.append(genes)
    return np.concatenate(found) if found else np.zeros((0, 1 + 5 * len(GENES)), dtype=np.int64)


def _cut(problem: Problem, genes: Genes) -> tuple[float, Array]:
    worth = problem.tables.worth(genes.reshape(1, -1))[0]
    costs = [worth[QUANTITIES.index(name)] / problem.budgets[name] for name in problem.names]
    return float(worth[0]), np.asarray(costs)


def _master(cuts: list[tuple[float, Array]]) -> tuple[Array, float]:
    """Return the prices that minimise the largest value of all cuts, and that minimum."""
    num = len(cuts[0][1])
    rows = np.asarray([np.append(1.0 - cost, -1.0) for _, cost in cuts])
    sides = np.asarray([-score for score, _ in cuts])
    objective = np.append(np.zeros(num), 1.0)
    limits = [(0.0, HIGHEST_PRICE)] * num + [(None, None)]
    solved = linprog(objective, A_ub=rows, b_ub=sides, bounds=limits, method="highs")
    assert solved.x is not None, solved.message
    assert solved.fun is not None
    return np.asarray(solved.x[:num]), float(solved.fun)
