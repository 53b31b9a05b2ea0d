"""Hold a registered version against the gates; the champion is measured on the same images."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from damo_yolo import storage
from damo_yolo.registry.promote import GateConfig, Promotion, check_gates, promote_version
from damo_yolo.registry.register import (
    RegisteredVersion,
    champion_lineage,
    download_served,
    lineage_of,
)
from damo_yolo.stages.evaluate import evaluate_model
from damo_yolo.stages.register import read_artifacts


def promote_model(
    *,
    version_uri: str,
    export_uri: str,
    shards_uri: str,
    out_uri: str,
    config: GateConfig,
) -> Promotion:
    """Promote a version if no gate fails.

    Args:
        version_uri: folder with the `version.json` that registering wrote.
        export_uri: folder that export wrote for this version.
        shards_uri: shards whose validation images the champion is measured on, when it was
            registered with others.
        out_uri: where `promotion.json` goes.
        config: the limits.
    """
    record = storage.read_text(storage.join(version_uri, "version.json"))
    version = RegisteredVersion.from_yaml(record, source=version_uri)
    lineage = lineage_of(version.name, version.version, tracking_uri=version.tracking_uri)
    gates = check_gates(
        read_artifacts(export_uri),
        ap=lineage.ap,
        ap50=lineage.ap50,
        champion_ap=_champion_ap(version, shards_uri),
        config=config,
    )
    promotion = promote_version(
        version.name, version.version, gates, tracking_uri=version.tracking_uri
    )
    storage.write_text(storage.join(out_uri, "promotion.json"), promotion.model_dump_json(indent=2))
    return promotion


def _champion_ap(version: RegisteredVersion, shards_uri: str) -> float | None:
    """Return the reigning champion's AP on these validation images; None when nobody reigns."""
    champion = champion_lineage(version.name, tracking_uri=version.tracking_uri)
    if champion is None or champion[0] == version.version:
        return None
    number, lineage = champion
    manifest = json.loads(storage.read_text(storage.join(shards_uri, "val", "manifest.json")))
    if lineage.evaluation_sha256 == manifest["sha256"]:
        return lineage.ap
    with TemporaryDirectory() as folder:
        served = download_served(
            version.name, number, tracking_uri=version.tracking_uri, folder=Path(folder)
        )
        measured = evaluate_model(
            model_uri=served, shards_uri=shards_uri, out_uri=str(Path(folder) / "evaluation")
        )
    return float(measured.ap)
