"""Speed and quality of the backbone search: `python benchmarks/search.py`.

Throughput is CPU time of one thread. The published budget of T needs the published latency table:
`--grid nas_latency_v100_fp16_grid.npz`; without it T's own FLOPs, parameters and layers are taken.
Writes benchmarks/results/search.json.
"""

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from damo_yolo.evaluation.latency import describe_environment
from damo_yolo.models.config import Family
from damo_yolo.models.zoo import detector_config
from damo_yolo.search.evolve import EvolutionConfig, evolve, random_genes
from damo_yolo.search.fitted_latency import FEATURES, FittedLatency, LatencyError
from damo_yolo.search.latency import GridLatency, LatencyModel
from damo_yolo.search.relax import Problem
from damo_yolo.search.solve import solve
from damo_yolo.search.space import search_space
from damo_yolo.search.structures import network_of
from damo_yolo.search.tables import Tables, build_tables, worth_of

RESULT = Path(__file__).parent / "results" / "search.json"
LIKE: dict[Family, str] = {"res": "damo-yolo-t", "csp": "damo-yolo-m", "mob": "damo-yolo-ns"}
POPULATION, REPEATS, SEEDS = 2000, 5, 5
T_WIDTHS = ((8, 96), (64, 96), (64, 192), (128, 192), (256, 384))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grid", type=Path, help="published latency table, .npz")
    options = parser.parse_args()
    rows = {
        "throughput": [_throughput(family, network) for family in LIKE for network in _NETWORKS],
        "budget_of_t": _budget_of_t(options.grid),
    }
    print("| family | network | candidates/s: tables | formula | formula and latency |")
    print("|---|---|---|---|---|")
    for row in rows["throughput"]:
        speeds = f"{row['tables']:,} | {row['formula']:,} | {row['formula_and_latency']:,}"
        print(f"| {row['family']} | {row['network']} | {speeds} |")
    print("\n| budgets | seed | published | beaten after | found | gap | proven after |")
    print("|---|---|---|---|---|---|---|")
    for row in rows["budget_of_t"]:
        speed = f"{row['beaten_s']:.2f} s | {row['found']:.4f}"
        proof = f"{row['gap']:.4%} | {row['proven_s']:.2f} s"
        print(f"| {row['budgets']} | {row['seed']} | {row['published']:.3f} | {speed} | {proof} |")
    facts = describe_environment().model_dump()
    RESULT.parent.mkdir(exist_ok=True)
    when = datetime.now(UTC).date().isoformat()
    RESULT.write_text(json.dumps({"date": when, "environment": facts, **rows}, indent=2) + "\n")


_NETWORKS = ("search", "detector")


def _throughput(family: Family, network: str) -> dict[str, Any]:
    space = search_space(family, detector_config(LIKE[family]), network=network)
    activation = space.activations[0]
    genes = random_genes(space, 200 * POPULATION, np.random.default_rng(0))
    tables = build_tables(space, activation)
    fast = _per_second(tables.worth, genes)
    few = genes[: 10 * POPULATION]
    model = _some_latency(space.detector.image_size)
    speeds = {
        "tables": fast,
        "formula": _per_second(lambda part: worth_of(space.networks(part), space, activation), few),
        "formula_and_latency": _per_second(
            lambda part: worth_of(space.networks(part), space, activation, model), few
        ),
    }
    return {"family": family, "network": network, **speeds}


def _per_second(compute: Any, genes: Any) -> int:
    """Return candidates per CPU second, the best of some repeats."""
    best = np.inf
    for _ in range(REPEATS):
        start = time.process_time()
        for part in np.array_split(genes, len(genes) // POPULATION):
            compute(part)
        best = min(best, time.process_time() - start)
    return round(len(genes) / best / 1000) * 1000


def _some_latency(image_size: int) -> LatencyModel:
    """Return a latency model with a share for every feature: only its speed matters."""
    return FittedLatency(
        target="none",
        base=1.0,
        shares=dict.fromkeys(FEATURES, 1e-3),
        error=LatencyError(num_networks=0, rank_correlation=0, median=0, worst=0),
        image_size=image_size,
        neck_channels=(1, 1, 1),
        activations=("relu", "silu", "hard_swish"),
    )


def _budget_of_t(grid: Path | None) -> list[dict[str, Any]]:
    config = detector_config("damo-yolo-t")
    depths = (2, 2, 2, 2, 2)
    space = search_space("res", config, network="search", widths=T_WIDTHS, max_blocks=depths)
    latency = GridLatency.load(grid) if grid else None
    tables = build_tables(space, "relu", latency)
    shipped = worth_of(network_of(config.backbone, image_size=640), space, "relu", latency)
    own = {"flops": shipped.flops[0], "params": shipped.params[0], "layers": 20}
    cases = {"FLOPs, params, layers of T": own}
    if latency is not None:
        cases["published 0.08 ms, layers"] = {"latency_ms": 0.08, "layers": 20}
        cases["latency of T, layers"] = {"latency_ms": shipped.latency_ms[0], "layers": 20}
        cases["all of T"] = own | {"latency_ms": shipped.latency_ms[0]}
    published = float(shipped.score[0])
    return [
        {"budgets": name, **_race(tables, budgets, published, seed)}
        for name, budgets in cases.items()
        for seed in range(SEEDS)
    ]


def _race(tables: Tables, budgets: dict[str, float], published: float, seed: int) -> dict[str, Any]:
    """Measure when evolution alone beats the published backbone, and when the optimum is proven."""
    start = time.perf_counter()
    evaluations = 0
    best = -np.inf
    while best < published and evaluations < 1_000_000:
        evaluations += 20_000
        config = EvolutionConfig(evaluations=evaluations, seed=seed)
        best = evolve(Problem(tables, budgets), config)[1][0, 0]
    beaten = time.perf_counter() - start
    start = time.perf_counter()
    solution = solve(tables, budgets, EvolutionConfig(seed=seed))
    proven = time.perf_counter() - start
    return {
        "seed": seed,
        "published": published,
        "beaten_s": round(beaten, 3),
        "found": round(solution.best.score, 6),
        "gap": solution.gap,
        "proven_s": round(proven, 3),
    }


if __name__ == "__main__":
    main()
