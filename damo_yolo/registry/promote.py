"""The gates a version passes before an alias moves, and the way back."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from damo_yolo.artifacts import Artifact
from damo_yolo.config import Config
from damo_yolo.errors import GateError
from damo_yolo.registry.register import CHAMPION, PREVIOUS, version_at


class GateConfig(Config):
    """How good is good enough. A gate that was not measured does not pass."""

    min_ap50: float = Field(default=0.30, ge=0, le=1)
    """Floor of AP50 on the headline validation set: 0 lets any first model through."""
    max_ap_below_champion: float = Field(default=0.01, ge=0)
    """How far AP may lie under the champion's on the same images: 0 asks for at least its equal."""
    max_fp16_ap_drop: float = Field(default=0.005, ge=0)
    """AP that an FP16 or FP32 artifact may lose against torch."""
    max_int8_ap_drop: float = Field(default=0.03, ge=0)
    """AP that an INT8 artifact may lose against torch."""
    max_latency_ms: float = Field(default=0.0, ge=0)
    """Median latency of the artifact that serves; 0 sets no limit."""


class Gate(Config):
    """One condition, what was measured, and whether it held."""

    name: str
    status: Literal["passed", "failed", "not attested"]
    value: float | None = None
    limit: float | None = None
    note: str = ""


class Promotion(Config):
    """What became of a version that asked to be champion."""

    name: str
    version: int
    promoted: bool
    champion: int | None
    previous: int | None
    gates: tuple[Gate, ...]

    def to_markdown(self) -> str:
        """Return the verdict and the gates as a table."""
        verdict = "is champion" if self.promoted else "stays challenger"
        rows = [
            f"| {g.name} | {g.status} | {_figure(g.value)} | {_figure(g.limit)} |"
            for g in self.gates
        ]
        head = ["| gate | status | value | limit |", "|---|---|---|---|"]
        return "\n".join([f"**{self.name}** version {self.version} {verdict}", "", *head, *rows])


def check_gates(
    artifacts: Sequence[Artifact],
    *,
    ap: float,
    ap50: float,
    champion_ap: float | None,
    config: GateConfig,
) -> tuple[Gate, ...]:
    """Hold a version against every gate.

    Args:
        artifacts: what was exported, each with its parity and latency metrics.
        ap: of the version on the headline validation set.
        ap50: likewise.
        champion_ap: of the reigning champion on the same images; None when there is no champion.
        config: the limits.
    """
    gates = [_at_least("ap50 floor", ap50, config.min_ap50)]
    if champion_ap is not None:
        limit = champion_ap - config.max_ap_below_champion
        gates.append(_at_least("ap against champion", ap, limit))
    for artifact in artifacts:
        if artifact.kind == "torch":  # what the others are compared with
            continue
        gates.append(_parity(artifact, config))
        if config.max_latency_ms > 0 and artifact.attested:
            gates.append(_latency(artifact, config))
    return tuple(gates)


def promote_version(
    name: str, version: int, gates: Sequence[Gate], *, tracking_uri: str
) -> Promotion:
    """Make a version champion if no gate failed; the champion before it becomes `previous`.

    A gate that is not attested is recorded and neither passes nor stops an artifact that does not
    serve. The alias switch is not atomic in MLflow: call it from one place at a time.
    """
    client = _client(tracking_uri)
    failed = [gate for gate in gates if gate.status == "failed"]
    reigning = version_at(client, name, CHAMPION)
    for gate in gates:
        value = gate.status if gate.value is None else f"{gate.status} ({gate.value:.4f})"
        client.set_model_version_tag(name, str(version), f"gate.{gate.name}", value)
    if failed:
        return Promotion(
            name=name,
            version=version,
            promoted=False,
            champion=reigning,
            previous=version_at(client, name, PREVIOUS),
            gates=tuple(gates),
        )
    if reigning is not None and reigning != version:
        client.set_registered_model_alias(name, PREVIOUS, str(reigning))
    client.set_registered_model_alias(name, CHAMPION, str(version))
    return Promotion(
        name=name,
        version=version,
        promoted=True,
        champion=version,
        previous=version_at(client, name, PREVIOUS),
        gates=tuple(gates),
    )


def roll_back(name: str, *, tracking_uri: str) -> Promotion:
    """Give the title back to the previous champion; the two swap, so a second call undoes it.

    Raises:
        GateError: the model has no previous champion.
    """
    client = _client(tracking_uri)
    champion = version_at(client, name, CHAMPION)
    previous = version_at(client, name, PREVIOUS)
    if previous is None:
        raise GateError(
            f"the model {name!r} has no previous champion", fix="promote a version by name instead"
        )
    client.set_registered_model_alias(name, CHAMPION, str(previous))
    if champion is not None:
        client.set_registered_model_alias(name, PREVIOUS, str(champion))
    return Promotion(
        name=name, version=previous, promoted=True, champion=previous, previous=champion, gates=()
    )


def _client(tracking_uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _at_least(name: str, value: float, limit: float) -> Gate:
    status: Literal["passed", "failed"] = "passed" if value >= limit else "failed"
    return Gate(name=name, status=status, value=value, limit=limit)


def _parity(artifact: Artifact, config: GateConfig) -> Gate:
    name = f"parity {artifact.kind} {artifact.precision}"
    drop = artifact.metrics.get("ap_drop")
    if not artifact.attested or drop is None:
        return Gate(name=name, status="not attested", note=artifact.note)
    limit = config.max_int8_ap_drop if artifact.precision == "int8" else config.max_fp16_ap_drop
    status: Literal["passed", "failed"] = "passed" if drop <= limit else "failed"
    return Gate(name=name, status=status, value=drop, limit=limit)


def _latency(artifact: Artifact, config: GateConfig) -> Gate:
    name = f"latency {artifact.kind} {artifact.precision}"
    value = artifact.metrics.get("latency_p50_ms")
    if value is None:
        return Gate(name=name, status="not attested", note="no latency record")
    status: Literal["passed", "failed"] = "passed" if value <= config.max_latency_ms else "failed"
    return Gate(name=name, status=status, value=value, limit=config.max_latency_ms)
