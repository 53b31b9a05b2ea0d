"""Open a catalog: the embedded sample, or the user's own datasets."""

from typing import NamedTuple

from components.images import step


@step
def open_catalog(catalog: str, workspace: str, seed: int, tracking_uri: str) -> NamedTuple(  # type: ignore[valid-type]  # KFP reads the live type from the signature
    "Opened",
    [("catalog_uri", str), ("catalog_digest", str), ("code_version", str), ("tracking_uri", str)],
):
    """Resolve the catalog; 'sample' renders the embedded datasets first."""
    from damo_yolo.stages.catalog import open_catalog

    opened = open_catalog(catalog, workspace_uri=workspace, seed=seed, tracking_uri=tracking_uri)
    return opened.catalog_uri, opened.catalog_digest, opened.code_version, opened.tracking_uri
