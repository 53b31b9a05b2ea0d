"""OpenVINO without its messages home."""

import sys
from typing import Any


def import_openvino() -> Any:
    """Return the module `openvino`, with its telemetry off.

    Importing OpenVINO (and NNCF) reports to a server unless the package `openvino_telemetry` cannot
    be imported; both then fall back on stubs of their own. Nothing is sent from a detector's host.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # None: not importable
    import openvino

    return openvino
