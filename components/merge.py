"""Merge the datasets into one table of records in unified class ids."""

from kfp import dsl

from components.images import step


@step
def merge_datasets(
    catalog_uri: str,
    catalog_digest: str,
    check_uri: str,
    workspace: str,
    code_version: str,
    records: dsl.Output[dsl.Dataset],
) -> str:
    """Merge the checked datasets."""
    from damo_yolo.artifacts import output_uri
    from damo_yolo.stages.merge import merge_datasets

    records.uri = output_uri(
        workspace, "records", digest=catalog_digest, code=code_version, checked=check_uri
    )
    result = merge_datasets(catalog_uri, records.uri)
    records.metadata["num_images"] = result.num_images
    records.metadata["num_classes"] = result.num_classes_with_boxes
    return str(records.uri)
