"""Register the exported artifacts as one model version."""

from kfp import dsl

from components.images import step


@step
def register_model(
    name: str,
    model_uri: str,
    evaluation_uri: str,
    export_uri: str,
    shards_uri: str,
    tracking_uri: str,
    workspace: str,
    code_version: str,
    version: dsl.Output[dsl.Artifact],
) -> str:
    """Register a challenger with its lineage."""
    from damo_yolo.artifacts import output_uri
    from damo_yolo.stages.register import register_model

    version.uri = output_uri(
        workspace,
        "version",
        name=name,
        export=export_uri,
        evaluation=evaluation_uri,
        registry=tracking_uri,
        code=code_version,
    )
    result = register_model(
        name=name,
        model_uri=model_uri,
        evaluation_uri=evaluation_uri,
        export_uri=export_uri,
        shards_uri=shards_uri,
        tracking_uri=tracking_uri,
        out_uri=version.uri,
        code_version=code_version,
    )
    version.metadata["version"] = result.version
    return str(version.uri)
