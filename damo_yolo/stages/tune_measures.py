"""What a finished trial is worth beyond AP: AP of rare classes, or the artifact that would ship.

They run in the trial's process. A search for latency runs one trial at a time unless told
otherwise.
"""

from functools import partial

from damo_yolo import storage
from damo_yolo.errors import ConfigError, TrainingError
from damo_yolo.stages.evaluate import evaluate_model
from damo_yolo.stages.export import export_detector
from damo_yolo.tuning.objective import rare_classes
from damo_yolo.tuning.trial import Measure

INT8 = "openvino-int8"


def measure_of(objective: str, *, shards_uri: str, plan_uri: str, rare_max: int) -> Measure | None:
    """Return what measures a finished trial for an objective; None where AP on the way is enough.

    Args:
        objective: name of it.
        shards_uri: validation and calibration images.
        plan_uri: weighs the calibration images.
        rare_max: classes in at most as many training images are rare.

    Raises:
        ConfigError: no class is rare.
    """
    if objective == "rare-ap":
        rare_classes(shards_uri, rare_max)  # says so now where there is none
        return partial(_measure_rare, shards_uri, rare_max)
    if objective == "pareto":
        return partial(_measure_int8, shards_uri, plan_uri)
    return None


def _measure_rare(shards_uri: str, rare_max: int, model_uri: str) -> dict[str, float]:
    result = evaluate_model(
        model_uri=model_uri, shards_uri=shards_uri, out_uri=storage.join(model_uri, "evaluation")
    )
    rare = rare_classes(shards_uri, rare_max)
    found = [c.ap for c in result.datasets[result.headline].per_class if c.class_id in rare]
    if not found:
        raise ConfigError(
            f"no validation image of {result.headline!r} holds a rare class",
            fix="raise rare_max, or validate on images with rare classes",
        )
    return {"rare_ap": sum(found) / len(found)}


def _measure_int8(shards_uri: str, plan_uri: str, model_uri: str) -> dict[str, float]:
    """Export as it would ship, and measure that."""
    result = export_detector(
        model_uri=model_uri,
        shards_uri=shards_uri,
        plan_uri=plan_uri,
        out_uri=storage.join(model_uri, "export"),
        formats=(INT8,),
    )
    artifact = next(a for a in result.artifacts if (a.kind, a.precision) == ("openvino", "int8"))
    if not artifact.attested:
        raise TrainingError(
            f"the INT8 artifact cannot be measured: {artifact.note}",
            fix="run damo-yolo export on this model to see why",
        )
    return {
        "int8_ap": artifact.metrics["ap"],
        "int8_latency_ms": artifact.metrics["latency_p50_ms"],
        "int8_size_mb": artifact.metrics["num_bytes"] / 1e6,
    }
