"""Train the best backbones of a search against the shipped one, at equal measured latency."""

import hashlib
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from damo_yolo import storage
from damo_yolo.compute.tasks import map_tasks
from damo_yolo.config import Config
from damo_yolo.errors import ConfigError
from damo_yolo.evaluation.latency import Environment, describe_environment
from damo_yolo.labels.space import LabelSpace
from damo_yolo.models.config import DetectorConfig
from damo_yolo.models.cost import measure_cost
from damo_yolo.models.zoo import detector_config
from damo_yolo.search.fitted_latency import FittedLatency
from damo_yolo.stages.evaluate import EvaluateConfig, evaluate_model
from damo_yolo.stages.search import SearchConfig, search_backbone
from damo_yolo.stages.train import train_detector
from damo_yolo.training.config import TrainConfig

SHIPPED_FILE = "shipped.json"
SHORTLIST_FILE = "shortlist.json"
RESULT_FILE = "training.json"

logger = logging.getLogger(__name__)


class TrainBestConfig(Config):
    """How the best backbones are tried."""

    count: int = Field(default=3, ge=1)
    """Backbones to train: the best, and alternatives that differ from it and from each other."""
    seeds: int = Field(default=1, ge=1)
    """Trainings of each detector; one says little, short runs differ by some hundredths of AP."""
    rounds: int = Field(default=100, ge=5)
    """Runs of each network when they are measured, all in turn; a busy machine needs more."""
    attempts: int = Field(default=6, ge=1)
    """Searches until the best takes as long as the shipped one."""
    tolerance: float = Field(default=0.02, gt=0, lt=1)
    """Difference of their latencies that is none."""


class Entrant(Config):
    """A detector that is trained."""

    name: str
    uri: str
    score: float | None
    """None: of the shipped one, where it is of another family than the search."""
    ms: float
    """Measured on the target, all entrants in turn."""


class TrainedEntrant(Entrant):
    """What came of it."""

    gflops: float
    params_m: float
    ap: tuple[float, ...]
    """All validation images, one figure for each seed."""
    ap50: tuple[float, ...]
    train_s: tuple[float, ...]

    @property
    def mean_ap(self) -> float:
        """Over the seeds."""
        return sum(self.ap) / len(self.ap)


class TrainBestResult(Config):
    """Score, latency and AP side by side; `training.json` of the folder."""

    entrants: tuple[TrainedEntrant, ...]
    """The shipped one first."""
    target: str
    threads: int
    image_size: int
    steps: int
    """Of each training."""
    date: str
    environment: Environment
    """Where it was measured and put together; trainings may have run elsewhere."""


class _Shortlist(Config):
    """Who is trained; kept, as measuring again would choose others."""

    key: str
    """Hash of what it was chosen by."""
    entrants: tuple[Entrant, ...]


class _Trial(Config):
    """One training, as it is sent to a worker."""

    config: TrainConfig
    shards_uri: str
    plan_uri: str
    out_uri: str


class _Trained(Config):
    """What came of one training."""

    ap: float
    ap50: float
    train_s: float
    steps: int


def train_best(
    *,
    budgets: Mapping[str, float],
    latency_uri: str,
    shards_uri: str,
    plan_uri: str,
    out_uri: str,
    training: TrainConfig,
    search: SearchConfig | None = None,
    config: TrainBestConfig | None = None,
) -> TrainBestResult:
    """Search at the latency of the shipped detector, train the best, and tell score from AP.

    The trainings are spread over Ray, a processor each. A repeated call continues.

    Args:
        budgets: further limits of the search; its latency is that of the shipped detector.
        latency_uri: what `profile` wrote for the target, which must be this machine.
        shards_uri: folder that the stage `shard` wrote.
        plan_uri: folder that the stage `balance` wrote.
        out_uri: folder to write; on a cluster of several machines, one that all of them see.
        training: of every entrant, alone; its input size becomes that of the search.
        search: what to look for; `like` names the shipped detector.
        config: how many, and how often.

    Raises:
        ConfigError: a budget is given for the latency, the latency model does not fit, or the
            folder holds another comparison.
        TrainingError: the folder holds trainings with another configuration or other data.
    """
    if "latency_ms" in budgets:
        raise ConfigError(
            "the trained backbones take as long as the shipped one: latency_ms is not free",
            fix="leave latency_ms out; other budgets stay",
        )
    search, config = search or SearchConfig(), config or TrainBestConfig()
    shards_uri, plan_uri, out_uri = map(storage.absolute, (shards_uri, plan_uri, out_uri))
    latency = FittedLatency.load(latency_uri)
    shipped_uri, shipped = _write_shipped(search, shards_uri, out_uri)
    search = search.model_copy(
        update={"like": shipped_uri, "image_size": None, "alternatives": config.count - 1}
    )
    entrants = _shortlist(
        search, budgets, latency_uri=latency_uri, latency=latency, out_uri=out_uri, config=config
    )
    alone = training.model_copy(
        update={"distill": None, "image_size": shipped.image_size, "num_threads": 1}
    )
    trials = [
        _Trial(
            config=alone.model_copy(update={"model": entrant.uri, "seed": training.seed + number}),
            shards_uri=shards_uri,
            plan_uri=plan_uri,
            out_uri=storage.join(out_uri, "trained", f"{entrant.name}-{number}"),
        )
        for number in range(config.seeds)
        for entrant in entrants
    ]
    found = map_tasks(_train, trials)
    result = TrainBestResult(
        entrants=tuple(
            _judge(entrant, found[place :: len(entrants)]) for place, entrant in enumerate(entrants)
        ),
        target=latency.target,
        threads=_threads(latency),
        image_size=shipped.image_size,
        steps=found[0].steps,
        date=datetime.now(UTC).date().isoformat(),
        environment=describe_environment(),
    )
    storage.write_text(storage.join(out_uri, RESULT_FILE), result.model_dump_json(indent=2))
    return result


def _write_shipped(
    search: SearchConfig, shards_uri: str, out_uri: str
) -> tuple[str, DetectorConfig]:
    """Write the shipped detector with the input size and the classes that it is trained with."""
    like = detector_config(search.like)
    space = LabelSpace.load(storage.join(shards_uri, "label_space.csv"))
    changes = {"image_size": search.image_size or like.image_size, "num_classes": len(space)}
    shipped = DetectorConfig.from_mapping(like.model_dump() | changes, source="the input size")
    uri = storage.join(out_uri, SHIPPED_FILE)
    storage.write_text(uri, shipped.model_dump_json(indent=2, exclude_none=True))
    return uri, shipped


def _shortlist(
    search: SearchConfig,
    budgets: Mapping[str, float],
    *,
    latency_uri: str,
    latency: FittedLatency,
    out_uri: str,
    config: TrainBestConfig,
) -> tuple[Entrant, ...]:
    """Search, measure, and correct the budget by what was measured, until both take as long."""
    chosen_by = [search.model_dump(), dict(budgets), latency.model_dump(), config.count]
    chosen_by.append(storage.read_text(search.like))
    key = hashlib.sha256(json.dumps(chosen_by, sort_keys=True).encode()).hexdigest()
    uri = storage.join(out_uri, SHORTLIST_FILE)
    if storage.exists(uri):
        kept = _Shortlist.from_yaml(storage.read_text(uri), source=uri)  # JSON is YAML
        if kept.key != key:
            raise ConfigError(
                f"{out_uri} holds a comparison with other budgets, settings or latencies",
                fix="give this one a folder of its own, or remove the old one",
            )
        return kept.entrants
    budget = _measure([search.like], latency, config)[0]
    best: tuple[Entrant, ...] = ()
    closest = float("inf")
    for attempt in range(config.attempts):
        found = search_backbone(
            budgets={**budgets, "latency_ms": budget},
            out_uri=storage.join(out_uri, f"search-{attempt}"),
            config=search,
            latency_uri=latency_uri,
        )
        candidates = (found.best, *found.alternatives)
        times = _measure([search.like, *(item.uri for item in candidates)], latency, config)
        ratio = times[1] / times[0]
        logger.info(
            "budget %.4f ms: the best takes %.3f of the shipped one's %.4f ms",
            *(budget, ratio, times[0]),
        )
        if abs(ratio - 1) < closest:
            closest = abs(ratio - 1)
            names = ["best", *(f"alternative-{n}" for n in range(1, len(candidates)))]
            best = (
                Entrant(name="shipped", uri=search.like, score=found.like_score, ms=times[0]),
                *(
                    Entrant(name=name, uri=item.uri, score=item.score, ms=ms)
                    for name, item, ms in zip(names, candidates, times[1:], strict=True)
                ),
            )
        if closest <= config.tolerance:
            break
        budget /= ratio
    if closest > config.tolerance:
        logger.warning("the latencies differ by %.1f%%: the comparison is not even", 100 * closest)
    storage.write_text(uri, _Shortlist(key=key, entrants=best).model_dump_json(indent=2))
    return best


def _measure(uris: list[str], latency: FittedLatency, config: TrainBestConfig) -> list[float]:
    from damo_yolo.stages.profile_targets import place, time_in_turn

    threads = _threads(latency)
    placed = [place(latency.target, detector_config(uri), threads=threads) for uri in uris]
    return time_in_turn([network.run for network in placed], rounds=config.rounds)


def _threads(latency: FittedLatency) -> int:
    return int(latency.environment.get("threads", "1"))


def _train(trial: _Trial) -> _Trained:
    """Train and evaluate one entrant in this process."""
    trained = train_detector(
        shards_uri=trial.shards_uri,
        plan_uri=trial.plan_uri,
        out_uri=trial.out_uri,
        config=trial.config,
        num_workers=0,
    )
    found = evaluate_model(
        model_uri=trial.out_uri,
        shards_uri=trial.shards_uri,
        out_uri=storage.join(trial.out_uri, "evaluation"),
        config=EvaluateConfig(threads=1),
    )
    overall = found.overall
    return _Trained(ap=overall.ap, ap50=overall.ap50, train_s=trained.seconds, steps=trained.steps)


def _judge(entrant: Entrant, found: list[_Trained]) -> TrainedEntrant:
    cost = measure_cost(detector_config(entrant.uri))
    values: dict[str, Any] = entrant.model_dump() | {
        "gflops": cost.gflops,
        "params_m": cost.params_m,
        "ap": tuple(run.ap for run in found),
        "ap50": tuple(run.ap50 for run in found),
        "train_s": tuple(run.train_s for run in found),
    }
    return TrainedEntrant(**values)
