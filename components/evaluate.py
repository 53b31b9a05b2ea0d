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
) -> str:
    """Compute AP on the headline set and on every source dataset."""
    from pathlib import Path

    from damo_yolo.artifacts import output_uri
    from damo_yolo.stages.evaluate import evaluate_model

    out_uri = output_uri(
        workspace, "evaluation", model=model_uri, shards=shards_uri, code=code_version
    )
    result = evaluate_model(model_uri=model_uri, shards_uri=shards_uri, out_uri=out_uri)
    metrics.log_metric("ap", result.ap)
    metrics.log_metric("ap50", result.ap50)
    Path(metrics.path).write_text(result.to_yaml(), encoding="utf-8")  # the cache wants a file here
    return out_uri
