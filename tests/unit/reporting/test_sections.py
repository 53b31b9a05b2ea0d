"""A section says what its stage left; without it there is none."""

from typing import Any

from damo_yolo.artifacts import Artifact
from damo_yolo.reporting.gather import RunFiles, RunLocations
from damo_yolo.reporting.sections import sections_of
from damo_yolo.reporting.sections.delivery import delivery_section
from damo_yolo.reporting.sections.training import training_section


def files(**values: Any) -> RunFiles:
    return RunFiles(RunLocations(), **values)


def test_nothing_makes_no_section() -> None:
    assert sections_of(files()) == []


def test_artifacts_say_what_they_lose_and_what_was_not_attested() -> None:
    shared: dict[str, Any] = {
        "uri": "x",
        "sha256": "y",
        "model": "m",
        "image_size": 64,
        "label_space_sha256": "z",
    }
    metrics = {"ap": 0.5, "ap50": 0.75, "ap_drop": 0.0125, "latency_p50_ms": 3.14159}
    artifacts = (
        Artifact(kind="openvino", precision="int8", metrics=metrics, **shared),
        Artifact(kind="tensorrt", precision="fp16", attested=False, note="no GPU", **shared),
    )
    gate = {"name": "parity openvino int8", "status": "passed", "value": 0.0125, "limit": 0.03}

    section = delivery_section(files(artifacts=artifacts, promotion={"gates": [gate]}))

    assert section is not None
    built, missing = section.tables[0].rows
    assert built[:4] == ("openvino int8", "0.500", "0.750", "0.0125")
    assert built[6] == "3.1"
    assert missing[-1] == "not attested: no GPU"
    assert section.tables[1].rows == [("parity openvino int8", "passed", "0.0125", "0.0300")]


def test_training_shows_the_detection_loss_without_distillation() -> None:
    losses = {"qfl": 0.25, "giou": 0.5, "dfl": 0.25, "distill": 8.0}
    result = {
        "model": "damo-yolo-ns",
        "steps": 100,
        "seconds": 90.0,
        "images_per_s": 40.0,
        "losses": losses,
    }

    section = training_section(files(trained={"student": result}))

    assert section is not None
    assert section.tables[0].rows == [("student", "damo-yolo-ns", "100", "1.5", "40.0", "1.000")]
