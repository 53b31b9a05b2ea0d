"""Find a backbone for budgets and write it as a detector that trains like the named sizes."""

from collections.abc import Mapping

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.errors import ConfigError
from damo_yolo.models.config import Activation, DetectorConfig, Family
from damo_yolo.models.zoo import detector_config
from damo_yolo.search.budget import check_budgets
from damo_yolo.search.evolve import EvolutionConfig
from damo_yolo.search.fitted_latency import FittedLatency
from damo_yolo.search.score import WEIGHTS
from damo_yolo.search.solve import Candidate, Solution, pareto_front, solve, structure_of
from damo_yolo.search.space import search_space
from damo_yolo.search.structures import network_of
from damo_yolo.search.tables import COSTS, Tables, build_tables, worth_of

RESULT_FILE = "result.json"


class SearchConfig(Config):
    """What a search looks for."""

    family: Family = "mob"
    like: str = "damo-yolo-ns"
    """Detector whose neck, head and input size stand around the backbones, and the comparison: a
    named size or a detector file."""
    image_size: int | None = None
    """Side of the square input, pixels; None keeps that of `like`."""
    activations: tuple[Activation, ...] = ()
    """Of backbone and neck, to choose from; none keeps that of `like`."""
    weights: tuple[float, float, float, float, float] = WEIGHTS
    """Of the five stages in the score. The published ones favour the deepest stage; (0, 0, 1, 1, 1)
    counts the three levels that the neck reads alike."""
    alternatives: int = 0
    """Good structures that differ from the best, to be written too."""
    front: str = ""
    """A cost: also write the best structures along it. Empty: no front."""
    evolution: EvolutionConfig = EvolutionConfig()


class Found(Config):
    """A detector that a search wrote."""

    uri: str
    score: float
    bound: float
    """No backbone of the space within the same budgets scores higher."""
    gap: float
    """How much higher the optimum can be, as a share of the score."""
    activation: Activation
    costs: dict[str, float]
    """Of the whole detector, branches fused; no `latency_ms` without a latency model."""


class SearchResult(Config):
    """What a search found; `result.json` of its folder."""

    best: Found
    alternatives: tuple[Found, ...]
    front: tuple[Found, ...]
    by_activation: dict[str, float]
    """Best score with each activation tried."""
    budgets: dict[str, float]
    like: str
    like_score: float | None
    """Of the backbone of `like`; None where it is of another family."""
    like_costs: dict[str, float]


def search_backbone(
    *,
    budgets: Mapping[str, float],
    out_uri: str,
    config: SearchConfig | None = None,
    latency_uri: str = "",
) -> SearchResult:
    """Search a family for the backbone of highest score within budgets of the whole detector.

    Args:
        budgets: limits by cost: `params`, `flops`, `layers` (of the backbone), `latency_ms`.
        out_uri: folder for `best.json`, alternatives, the front, and `result.json`.
        config: what to look for; the same seed writes the same files.
        latency_uri: what `profile` wrote for the target; needed by a budget of latency.

    Raises:
        ConfigError: a budget is unknown or cannot be met, or the latency model does not fit.
        StorageError: a location cannot be read or written.
    """
    config = config or SearchConfig()
    budgets = check_budgets(budgets)
    like = detector_config(config.like)
    if config.image_size:
        like = DetectorConfig.from_mapping(
            like.model_dump() | {"image_size": config.image_size}, source="the input size"
        )
    latency = _load_latency(latency_uri, like, budgets)
    activations = config.activations or (like.activation,)
    space = search_space(config.family, like, activations=activations, weights=config.weights)
    tables = [build_tables(space, activation, latency) for activation in activations]
    solutions = [
        solve(table, budgets, config.evolution, num_alternatives=config.alternatives)
        for table in tables
    ]
    best = max(range(len(solutions)), key=lambda index: solutions[index].best.score)
    table, solution = tables[best], solutions[best]
    front = []
    if config.front:
        points = pareto_front(table, config.front, budgets, config=config.evolution)
        front = [
            _write(table, point.best, point, storage.join(out_uri, f"front-{index:02d}.json"))
            for index, point in enumerate(points)
        ]
    alternatives = [
        _write(table, other, solution, storage.join(out_uri, f"alternative-{index}.json"))
        for index, other in enumerate(solution.alternatives, start=1)
    ]
    score, costs = _worth_of_like(like, table, latency, family=config.family)
    result = SearchResult(
        best=_write(table, solution.best, solution, storage.join(out_uri, "best.json")),
        alternatives=tuple(alternatives),
        front=tuple(front),
        by_activation={solution.activation: solution.best.score for solution in solutions},
        budgets=dict(budgets),
        like=config.like,
        like_score=score,
        like_costs=costs,
    )
    storage.write_text(storage.join(out_uri, RESULT_FILE), result.model_dump_json(indent=2))
    return result


def _load_latency(
    uri: str, like: DetectorConfig, budgets: Mapping[str, float]
) -> FittedLatency | None:
    if not uri:
        if "latency_ms" in budgets:
            raise ConfigError(
                "a budget of latency needs measurements of the target",
                fix="run damo-yolo profile, and give its file with --latency",
            )
        return None
    model = FittedLatency.load(uri)
    measured = (model.image_size, model.neck_channels)
    if measured != (like.image_size, like.neck_channels):
        raise ConfigError(
            f"{uri} was measured at {model.image_size} pixels with a neck of "
            f"{model.neck_channels}; the search is for {like.image_size} and {like.neck_channels}",
            fix="profile the target for this detector and input size",
        )
    return model


def _write(tables: Tables, candidate: Candidate, solution: Solution, uri: str) -> Found:
    detector = tables.space.detector.model_copy(
        update={
            "backbone": structure_of(tables, candidate),
            "activation": tables.activation,
        }
    )
    storage.write_text(uri, detector.model_dump_json(indent=2, exclude_none=True))
    return Found(
        uri=uri,
        score=candidate.score,
        bound=solution.bound,
        gap=max(0.0, solution.bound / candidate.score - 1.0),
        activation=tables.activation,
        costs=_known(candidate.costs),
    )


def _worth_of_like(
    like: DetectorConfig, tables: Tables, latency: FittedLatency | None, *, family: Family
) -> tuple[float | None, dict[str, float]]:
    if like.backbone.family != family:
        return None, {}
    network = network_of(like.backbone, image_size=like.image_size)
    if latency is not None and like.activation not in latency.activations:
        latency = None
    worth = worth_of(network, tables.space, like.activation, latency)
    costs = {name: float(getattr(worth, name)[0]) for name in COSTS}
    return float(worth.score[0]), _known(costs)


def _known(costs: Mapping[str, float]) -> dict[str, float]:
    return {name: cost for name, cost in costs.items() if name != "latency_ms" or cost > 0}
