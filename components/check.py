"""Check the catalogued datasets before anything is built on them."""

from kfp import dsl

from components.images import step


@step
def check_catalog(
    catalog_uri: str,
    catalog_digest: str,
    workspace: str,
    code_version: str,
    report: dsl.Output[dsl.Artifact],
) -> str:
    """Fail with one clear sentence on missing images, broken annotations or unmapped classes."""
    from damo_yolo.artifacts import output_uri
    from damo_yolo.stages.check import check_catalog

    report.uri = output_uri(workspace, "check", digest=catalog_digest, code=code_version)
    result = check_catalog(catalog_uri, report.uri)
    result.raise_on_errors()
    report.metadata["num_images"] = result.num_images
    return str(report.uri)
