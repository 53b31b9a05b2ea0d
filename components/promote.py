"""Hold a version against the gates and, if it passes, make it champion."""

from kfp import dsl

from components.images import step


@step
def promote_model(
    version_uri: str,
    export_uri: str,
    shards_uri: str,
    min_ap50: float,
    workspace: str,
    gates: dsl.Output[dsl.Markdown],
) -> str:
    """Promote the challenger through the gates."""
    from pathlib import Path

    from damo_yolo.artifacts import output_uri
    from damo_yolo.registry.promote import GateConfig
    from damo_yolo.stages.promote import promote_model

    out_uri = output_uri(workspace, "promotion", version=version_uri, min_ap50=min_ap50)
    result = promote_model(
        version_uri=version_uri,
        export_uri=export_uri,
        shards_uri=shards_uri,
        out_uri=out_uri,
        config=GateConfig(min_ap50=min_ap50),
    )
    Path(gates.path).write_text(result.to_markdown(), encoding="utf-8")
    return out_uri
