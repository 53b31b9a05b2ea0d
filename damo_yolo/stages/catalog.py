"""Open a catalog: the embedded sample, or the user's own; and say which code is running."""

import hashlib
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.datasets.catalog import load_catalog
from damo_yolo.datasets.digest import catalog_digest
from damo_yolo.errors import ConfigError
from damo_yolo.tracking import default_tracking_uri

SAMPLE = "sample"
CODE_SUFFIXES = (".py", ".csv", ".json")
CODE_VERSION_LENGTH = 16


class CatalogResult(Config):
    """A catalog, ready for the other stages."""

    catalog_uri: str
    catalog_digest: str
    """SHA-256 of the catalog and all the data that it names."""
    code_version: str
    """First 16 hex digits of the SHA-256 of this package's code and tables."""
    tracking_uri: str


def open_catalog(
    catalog: str, workspace_uri: str, *, seed: int = 0, tracking_uri: str = ""
) -> CatalogResult:
    """Find the catalog, and what identifies its data and this code.

    Args:
        catalog: location of a catalog file; or the word 'sample', which renders the embedded
            datasets into the workspace unless they are there.
        workspace_uri: folder or s3:// prefix of everything that a pipeline writes.
        seed: of the embedded datasets.
        tracking_uri: MLflow; empty: an SQLite file in the workspace.

    Raises:
        DataError: no catalog is at the location.
        ConfigError: the catalog does not fit; or the workspace is remote and tracking is empty.
    """
    if not tracking_uri and storage.is_remote(workspace_uri):
        raise ConfigError(
            f"MLflow cannot keep its SQLite file in {workspace_uri}",
            fix="give the location of an MLflow server as tracking_uri",
        )
    uri = _rendered(workspace_uri, seed) if catalog == SAMPLE else catalog
    if not storage.is_remote(uri):
        uri = str(Path(uri).absolute())  # later steps may run in another folder
    return CatalogResult(
        catalog_uri=uri,
        catalog_digest=catalog_digest(load_catalog(uri)),
        code_version=running_code_version(),
        tracking_uri=tracking_uri or default_tracking_uri(workspace_uri),
    )


def running_code_version() -> str:
    """Return the first 16 hex digits of the SHA-256 of this package's code and tables."""
    digest = hashlib.sha256()
    root = resources.files("damo_yolo")
    for name, file in sorted(_files(root, ""), key=lambda pair: pair[0]):
        digest.update(f"{name}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:CODE_VERSION_LENGTH]


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for item in folder.iterdir():
        name = f"{prefix}{item.name}"
        if item.is_dir():
            yield from _files(item, f"{name}/")
        elif item.name.endswith(CODE_SUFFIXES):
            yield name, item


def _rendered(workspace_uri: str, seed: int) -> str:
    folder = storage.join(workspace_uri, f"{SAMPLE}-{seed}")
    uri = storage.join(folder, "catalog.yaml")
    if storage.exists(uri):
        return uri
    from damo_yolo.stages.sample import render_sample

    render_sample(folder, seed=seed)
    return uri
