"""What is said of an artifact beside its figures."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from damo_yolo.export.attest import Attestation
from damo_yolo.export.causes import UNEXPLAINED
from damo_yolo.export.describe import remarks
from damo_yolo.export.taps import Departure

FAULT = "stale batch norm"


def measured(*, ap_drop: float, cause: str | None) -> Attestation:
    departure = cause and Departure(tap="tap.backbone.32", difference=0.1, cause=cause)
    parity = SimpleNamespace(proves_something=True)
    facts: dict[str, Any] = {"ap_drop": ap_drop, "parity": parity, "departure": departure or None}
    return cast("Attestation", SimpleNamespace(**facts))


@pytest.mark.parametrize(
    ("precision", "ap_drop", "cause", "is_said"),
    [
        ("fp32", 0.0, FAULT, True),
        ("fp16", 0.0, FAULT, True),
        ("int8", 0.0, FAULT, False),  # rounding looks like a fault, and costs nothing
        ("int8", 0.02, FAULT, True),
        ("int8", 0.02, UNEXPLAINED, True),
        ("fp32", 0.0, UNEXPLAINED, False),
        ("int8", 0.02, None, False),
    ],
)
def test_a_departure_is_told_where_it_is_a_fault_or_costs_accuracy(
    *, precision: str, ap_drop: float, cause: str | None, is_said: bool
) -> None:
    said = remarks(measured(ap_drop=ap_drop, cause=cause), precision)

    assert said == ([f"departs from the model at tap.backbone.32: {cause}"] if is_said else [])


def test_nothing_is_said_of_what_did_not_run() -> None:
    assert remarks(None, "int8") == []
