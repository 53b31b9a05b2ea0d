"""KubeRay's own schemas, strict, when the optional folder beside the checkout holds them."""

import json
from pathlib import Path
from typing import Any

import pytest

SCHEMAS_DIR = Path(__file__).resolve().parents[4] / "shared" / "schemas"


def errors_of(manifest: dict[str, Any]) -> list[str]:
    """Return what a RayJob or RayCluster has that KubeRay's definition has not."""
    path = SCHEMAS_DIR / f"{manifest['kind'].lower()}.v1.schema.json"
    if not path.is_file():
        pytest.skip(f"needs the file shared/schemas/{path.name} beside the checkout")
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(path.read_text(encoding="utf-8"))
    found = jsonschema.Draft202012Validator(schema).iter_errors(manifest)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found]
