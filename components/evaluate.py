"""Measure a detector on the validation shards."""

from kfp import dsl

from components.images import step


@step
def evaluate_model(
    model_uri: str,
    shards_uri: str,
    workspace: str,
    code_version: str,
    metrics: dsl.Output[dsl.Metrics],
    plan_uri: str = "",
    catalog_uri: str = "",
) -> str:
    """Compute AP on the headline set and every source; with a plan, rank the sources too."""
    from pathlib import Path

    from damo_yolo.artifacts import output_uri
    from damo_yolo.stages.evaluate import evaluate_model

    inputs = {"model": model_uri, "shards": shards_uri, "plan": plan_uri, "catalog": catalog_uri}
    out_uri = output_uri(workspace, "evaluation", code=code_version, **inputs)
    result = evaluate_model(
        model_uri=model_uri,
        shards_uri=shards_uri,
        plan_uri=plan_uri,
        catalog_uri=catalog_uri,
        out_uri=out_uri,
    )
    for name, value in result.to_metrics().items():
        metrics.log_metric(name, value)
    Path(metrics.path).write_text(result.to_yaml(), encoding="utf-8")  # the cache wants a file here
    return out_uri
