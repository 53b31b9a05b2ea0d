"""Write images and annotations as shards, each image once."""

from kfp import dsl

from components.images import step


@step
def write_shards(
    records_uri: str,
    plan_uri: str,
    workspace: str,
    code_version: str,
    shards: dsl.Output[dsl.Dataset],
) -> str:
    """Write webdataset shards and their manifest."""
    from damo_yolo.artifacts import output_uri
    from damo_yolo.stages.shard import shard

    shards.uri = output_uri(
        workspace, "shards", plan=plan_uri, records=records_uri, code=code_version
    )
    result = shard(records_uri, plan_uri, shards.uri)
    shards.metadata["manifest_sha256"] = result.train.sha256
    return str(shards.uri)
