"""The search finds optima, proves them, and keeps every budget."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from damo_yolo.errors import ConfigError
from damo_yolo.models.cost import measure_cost
from damo_yolo.models.zoo import detector_config
from damo_yolo.search.budget import parse_budgets
from damo_yolo.search.evolve import EvolutionConfig, evolve, mutate, random_genes, repair
from damo_yolo.search.labels import prove
from damo_yolo.search.latency import GridLatency
from damo_yolo.search.relax import Problem, best_prices
from damo_yolo.search.solve import pareto_front, solve, structure_of
from damo_yolo.search.space import SearchSpace, search_space
from damo_yolo.search.tables import QUANTITIES, Tables, build_tables, worth_of

SHORT = EvolutionConfig(evaluations=20_000)


def small_space(family: str = "res", network: str = "detector") -> SearchSpace:
    """Return a space of a few thousand candidates."""
    changes = {
        "res": {"widths": ((16, 24), (24, 32), (32, 32), (40, 48), (48, 56)), "kernels": (3,)},
        "csp": {"widths": ((16, 24), (24, 32), (40, 48), (40, 48), (56, 64)), "kernels": (3,)},
        "mob": {"widths": ((16, 24), (24, 32), (32, 32), (40, 48), (48, 48)), "ratios": (2.0, 3.0)},
    }[family]
    size = "damo-yolo-ns" if family == "mob" else "damo-yolo-t"
    depths = (1, 2, 1, 2, 1) if family != "mob" else (1, 2, 1, 1, 1)
    config = detector_config(size)
    return search_space(
        family,  # type: ignore[arg-type]  # a literal of the table above
        config,
        network=network,
        stem_channels=(16,),
        max_blocks=depths,
        **changes,
    )


def all_genes(space: SearchSpace) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    ranges = [range(int(length)) for length in space.lengths]
    return np.asarray(list(itertools.product(*ranges)), dtype=np.int64)


def shrunk(space: SearchSpace) -> SearchSpace:
    """Return the space with few bottlenecks, small enough to list."""
    return space.model_copy(update={"ratios": space.ratios or (0.5, 1.0)})


@pytest.mark.parametrize(
    ("family", "network", "budgets"),
    [
        ("res", "search", {"flops": 0.5}),
        ("res", "detector", {"flops": 0.6, "layers": 0.7}),
        ("csp", "detector", {"params": 0.4, "flops": 0.5}),
        ("mob", "detector", {"params": 0.5, "flops": 0.4, "layers": 0.5}),
        ("mob", "search", {"layers": 0.5}),
    ],
)
def test_the_proven_optimum_is_that_of_listing_every_candidate(
    family: str, network: str, budgets: dict[str, float]
) -> None:
    tables = build_tables(shrunk(small_space(family, network)), "relu")
    worth = tables.worth(all_genes(tables.space))
    worth = worth[np.isfinite(worth[:, 0])]
    limits = {}
    for name, share in budgets.items():
        costs = worth[:, QUANTITIES.index(name)]
        limits[name] = float(costs.min() + share * (costs.max() - costs.min()))
    problem = Problem(tables, limits)
    best = worth[problem.fits(worth), 0].max()

    relaxed, _ = best_prices(problem)
    proven = prove(relaxed, -1e9)
    solution = solve(tables, limits, EvolutionConfig(evaluations=1))

    assert relaxed.bound >= best - 1e-9
    assert proven.bound == pytest.approx(best, abs=1e-9)
    assert solution.best.score == pytest.approx(best, abs=1e-9)
    assert solution.gap < 1e-12


def test_a_search_that_may_keep_few_labels_tells_its_gap() -> None:
    tables = build_tables(shrunk(small_space()), "relu")
    worth = tables.worth(all_genes(tables.space))
    typical = np.median(worth[np.isfinite(worth[:, 0])], axis=0)
    problem = Problem(tables, {"flops": typical[2], "params": typical[1]})
    relaxed, _ = best_prices(problem)
    best = worth[problem.fits(worth), 0].max()

    assert prove(relaxed, best - 30.0, max_labels=3).bound >= best - 1e-9


@pytest.mark.parametrize("family", ["res", "csp", "mob"])
def test_tables_and_convolutions_agree_with_the_detector_that_is_built(family: str) -> None:
    space = small_space(family)
    tables = build_tables(space, "silu")
    rng = np.random.default_rng(3)
    genes = random_genes(space, 40, rng)
    worth = tables.worth(genes)
    genes = genes[np.isfinite(worth[:, 0])][:3]
    direct = worth_of(space.networks(genes), space, "silu")
    assert tables.worth(genes) == pytest.approx(np.stack(direct, axis=1))
    for index, candidate in enumerate(genes):
        solution = solve(tables, {"params": 1e9}, EvolutionConfig(evaluations=1)).best
        chosen = solution._replace(genes=tuple(int(gene) for gene in candidate))
        config = space.detector.model_copy(update={"backbone": structure_of(tables, chosen)})
        cost = measure_cost(config)
        assert direct.params[index] == round(cost.params_m * 1e6)
        assert direct.flops[index] == round(cost.gflops * 1e9)


@pytest.mark.parametrize("family", ["res", "csp", "mob"])
def test_every_gene_mutates_the_last_row_too(family: str) -> None:
    space = small_space(family)
    rng = np.random.default_rng(0)
    start = random_genes(space, 4000, rng)

    changed = (repair(space, mutate(space, start, rng, leap=0.15)) != start).any(axis=0)

    free = space.lengths > 1
    if family == "csp":
        free[9] = changed[9]  # follows the row behind it, which shares its stage
    assert (changed == free)[free].all()
    assert changed[-4:][space.lengths[-4:] > 1].all()


def test_equal_seeds_give_equal_answers() -> None:
    tables = build_tables(small_space("mob"), "relu")
    problem = Problem(tables, {"flops": 1.5e9, "params": 2.0e6})

    first, again, other = (
        evolve(problem, EvolutionConfig(evaluations=12_000, seed=seed))[0] for seed in (1, 1, 2)
    )

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_front_rises_and_every_point_keeps_its_budget() -> None:
    tables = build_tables(small_space(), "relu")

    front = pareto_front(tables, "flops", {"layers": 20}, points=5, config=SHORT)

    scores = [point.best.score for point in front]
    assert len(front) >= 3
    assert scores == sorted(scores)
    for point in front:
        assert point.gap < 1e-9
        for name, limit in point.budgets.items():
            assert point.best.costs[name] <= limit * (1 + 1e-12)


def test_alternatives_differ_from_the_best_and_keep_the_budget() -> None:
    tables = build_tables(small_space(), "relu")

    solution = solve(tables, {"flops": 6e9}, SHORT, num_alternatives=3)

    assert len(solution.alternatives) == 3
    for other in solution.alternatives:
        assert other.costs["flops"] <= 6e9
        assert sum(a != b for a, b in zip(other.genes, solution.best.genes, strict=True)) >= 4


@pytest.mark.parametrize(
    ("budgets", "problem"),
    [
        ({"flops": 1.0}, "the smallest network"),
        ({"layers": 3}, "the smallest network has"),
        ({"speed": 3}, "no cost is called 'speed'"),
        ({"flops": float("inf")}, "no positive number"),
        ({}, "no budget"),
    ],
)
def test_a_budget_that_cannot_be_met_is_refused(budgets: dict[str, float], problem: str) -> None:
    tables = build_tables(small_space(), "relu")
    with pytest.raises(ConfigError, match=problem):
        solve(tables, budgets, SHORT)


def test_budgets_are_read_from_text() -> None:
    assert parse_budgets(["latency_ms=5", "params=2.5e6"]) == {"latency_ms": 5.0, "params": 2.5e6}
    for text, problem in (
        ("latency_ms=fast", "no number"),
        ("a=1", "no cost"),
        ("flops=-1", "no pos"),
    ):
        with pytest.raises(ConfigError, match=problem):
            parse_budgets([text])


def test_the_published_budget_of_t_is_solved_to_its_published_bound(golden_dir: Path) -> None:
    golden = json.loads((golden_dir / "nas_scores.json").read_text())
    tables = _published_tables(golden_dir)
    for case in golden["constrained_optimum"]:
        limits = {"latency_ms": case["latency_budget_s"] * 1e3, "layers": case["layer_budget"]}
        solution = solve(tables, limits, SHORT)

        assert case["best_score"] <= solution.best.score <= case["upper_bound"] * (1 + 1e-9)
        assert solution.best.score > case["released_score"]
        assert solution.gap < 5e-4


def test_a_latency_table_adds_up_to_the_published_prediction(golden_dir: Path) -> None:
    golden = json.loads((golden_dir / "nas_scores.json").read_text())["constrained_optimum"][0]
    tables = _published_tables(golden_dir)
    released = {"latency_ms": golden["latency"] * 1e3 * (1 + 1e-9), "layers": 20}

    solution = solve(tables, released, SHORT)

    assert solution.best.score == pytest.approx(golden["best_score"], rel=4e-4)
    assert solution.best.score >= golden["best_score"] - 1e-9


def _published_tables(golden_dir: Path) -> Tables:
    space = search_space(
        "res",
        detector_config("damo-yolo-t"),
        network="search",
        widths=((8, 96), (64, 96), (64, 192), (128, 192), (256, 384)),
        max_blocks=(2, 2, 2, 2, 2),
    )
    table = GridLatency.load(golden_dir / "nas_latency_v100_fp16_grid.npz")
    return build_tables(space, "relu", table)
