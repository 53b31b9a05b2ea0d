"""Evolution of whole populations at once, for budgets of any kind.

Truncation selection on the score among candidates within the budgets; children by one-point
crossover and mutation. Every gene that has more than one value mutates.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from damo_yolo.config import Config
from damo_yolo.search.network import Array
from damo_yolo.search.relax import Problem
from damo_yolo.search.space import GENES, STEP, STRIDES, Genes, SearchSpace


class EvolutionConfig(Config):
    """How long and how widely to look."""

    evaluations: int = Field(default=200_000, ge=1)
    """Candidates in all; the loop ends after the generation that reaches them."""
    population: int = Field(default=512, ge=2)
    """Survivors of a generation: few search greedily, many keep variety."""
    children: int = Field(default=4096, ge=1)
    crossover: float = Field(default=0.3, ge=0, le=1)
    """Share of children with two parents."""
    leap: float = Field(default=0.15, ge=0, le=1)
    """Share of mutations to any value; the others go one or two values up or down."""
    seed: int = 0


def evolve(
    problem: Problem, config: EvolutionConfig, *, start: Genes | None = None
) -> tuple[Genes, Array]:
    """Return survivors within the budgets, best first, and their quantities (N, T).

    Args:
        problem: the space and its budgets.
        config: how long, and the seed.
        start: candidates to begin with, beside random ones.
    """
    rng = np.random.default_rng(config.seed)
    space = problem.tables.space
    pool = random_genes(space, 4 * config.population, rng)
    if start is not None:
        pool = np.concatenate([start, pool])
    genes, worth = _survivors(problem, pool, config.population)
    done = len(pool)
    while done < config.evaluations:
        parents = genes if len(genes) else pool
        picks = rng.integers(len(parents), size=config.children)
        children = _cross(parents, parents[picks], config.crossover, rng)
        children = repair(space, mutate(space, children, rng, leap=config.leap))
        pool = np.concatenate([genes, children])
        genes, worth = _survivors(problem, pool, config.population)
        done += len(children)
    return genes, worth


def random_genes(space: SearchSpace, count: int, rng: np.random.Generator) -> Genes:
    """Return random candidates (N, G), from all small to all large."""
    power = np.exp(rng.uniform(-1.0, 2.0, size=(count, 1)))
    shares = rng.random((count, len(space.lengths))) ** power
    return repair(space, np.floor(shares * space.lengths).astype(np.int64))


def mutate(space: SearchSpace, genes: Genes, rng: np.random.Generator, *, leap: float) -> Genes:
    """Return candidates with one to three genes changed each."""
    genes = genes.copy()
    mutable = np.flatnonzero(space.lengths > 1)
    rows = np.arange(len(genes))
    times = rng.integers(1, 4, size=len(genes))
    for turn in range(int(times.max(initial=0))):
        active = rows[times > turn]
        places = mutable[rng.integers(len(mutable), size=len(active))]
        lengths = space.lengths[places]
        near = genes[active, places] + rng.choice([-2, -1, 1, 2], size=len(active))
        far = rng.integers(0, lengths)
        moved = np.where(rng.random(len(active)) < leap, far, near)
        genes[active, places] = np.clip(moved, 0, lengths - 1)
    return genes


def repair(space: SearchSpace, genes: Genes) -> Genes:
    """Return candidates whose widths never shrink and whose bottlenecks fit, if ranges allow."""
    genes = genes.copy()
    outs = [1 + row * len(GENES) for row in range(len(STRIDES))]
    if space.family == "csp":  # the row of stride 1 keeps the width of the one before it
        genes[:, outs[2]] = _nearest(space, outs[2], space.ladders[outs[3]][genes[:, outs[3]]])
    width = space.ladders[0][genes[:, 0]]
    for place in outs:
        width = np.maximum(width, space.ladders[place][genes[:, place]])
        genes[:, place] = _nearest(space, place, width)
        width = space.ladders[place][genes[:, place]]
        if not space.ratios:
            bottleneck = space.ladders[place + 1][genes[:, place + 1]]
            fitting = np.clip(bottleneck, np.ceil(0.1 * width / STEP) * STEP, width)
            genes[:, place + 1] = _nearest(space, place + 1, fitting)
    return genes


def distinct(genes: Genes) -> NDArray[np.int64]:
    """Return the places of the first of each equal candidates, in order."""
    keys = np.random.default_rng(0).integers(1, 2**62, size=genes.shape[1], dtype=np.int64)
    _, places = np.unique(genes @ keys, return_index=True)
    return np.sort(places)


def _survivors(problem: Problem, pool: Genes, count: int) -> tuple[Genes, Array]:
    pool = pool[distinct(pool)]
    worth = problem.tables.worth(pool)
    fits = problem.fits(worth)
    pool, worth = pool[fits], worth[fits]
    order = np.argsort(-worth[:, 0], kind="stable")[:count]
    return pool[order], worth[order]


def _cross(parents: Genes, children: Genes, share: float, rng: np.random.Generator) -> Genes:
    """Give some children the last rows of another parent."""
    others = parents[rng.integers(len(parents), size=len(children))]
    cut = 1 + len(GENES) * rng.integers(1, len(STRIDES), size=len(children))
    crossed = rng.random(len(children)) < share
    takes = (np.arange(children.shape[1]) >= cut[:, None]) & crossed[:, None]
    return np.asarray(np.where(takes, others, children))


def _nearest(space: SearchSpace, place: int, values: Array) -> NDArray[np.int64]:
    """Return the places in a ladder of steps of 8, as near as its ends allow."""
    first = space.ladders[place][0]
    nearest = np.rint((values - first) / STEP).astype(np.int64)
    return np.asarray(np.clip(nearest, 0, space.lengths[place] - 1))
