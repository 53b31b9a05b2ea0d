"""Export a detector and prove that each artifact agrees with it."""

from kfp import dsl

from components.images import step


@step
def export_detector(
    model_uri: str,
    shards_uri: str,
    plan_uri: str,
    workspace: str,
    code_version: str,
    exported: dsl.Output[dsl.Model],
) -> str:
    """Write ONNX, OpenVINO and, where it can be built, TensorRT artifacts."""
    from damo_yolo.artifacts import output_uri
    from damo_yolo.stages.export import export_detector

    exported.uri = output_uri(
        workspace, "export", model=model_uri, shards=shards_uri, plan=plan_uri, code=code_version
    )
    result = export_detector(
        model_uri=model_uri, shards_uri=shards_uri, plan_uri=plan_uri, out_uri=exported.uri
    )
    exported.metadata["artifacts"] = len(result.artifacts)
    return str(exported.uri)
