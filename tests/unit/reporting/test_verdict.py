"""The cards answer at a glance: is it good, for what not, is it better than its twin."""

from typing import Any

import pytest

from damo_yolo.artifacts import Artifact
from damo_yolo.evaluation.bootstrap import Comparison, Difference, Verdict
from damo_yolo.evaluation.sources import Source, SourceRanking
from damo_yolo.reporting.gather import RunFiles, RunLocations
from damo_yolo.reporting.page import Card
from damo_yolo.reporting.summarise import summarise
from damo_yolo.reporting.verdict import cards_of


def metrics(ap: float, ap50: float, **classes: float) -> dict[str, Any]:
    per_class = [{"name": name, "ap50": value, "class_id": 0} for name, value in classes.items()]
    return {
        "model": "damo-yolo-ns",
        "headline": "full",
        "num_images": 120,
        "ap": ap,
        "ap50": ap50,
        "datasets": {
            "full": {"ap": ap, "per_class": per_class},
            "coco": {"ap": 0.5, "per_class": []},
            "voc": {"ap": 0.2, "per_class": []},
        },
    }


def comparison(low: float, high: float, verdict: Verdict) -> Comparison:
    middle = (low + high) / 2
    found = Difference(
        a=0.5 + middle, b=0.5, difference=middle, low=low, high=high, verdict=verdict
    )
    return Comparison(
        ap=found, ap50=found, per_class=(), num_images=120, num_draws=1000, confidence=0.95
    )


def gates(*failed: str) -> dict[str, Any]:
    names = ("ap50 floor", "parity onnx fp32")
    rows = [
        {
            "name": name,
            "status": "failed" if name in failed else "passed",
            "value": 0.5,
            "limit": 0.3,
        }
        for name in names
    ]
    return {"promoted": not failed, "gates": rows}


def answers(**files: Any) -> dict[str, Card]:
    run = RunFiles(RunLocations(), **files)
    return {card.question: card for card in cards_of(summarise(run, report_uri=""), run)}


def test_an_empty_run_has_no_answers() -> None:
    assert answers() == {}


def test_a_failed_gate_is_not_good_enough_and_named() -> None:
    good = answers(evaluations={"student": metrics(0.5, 0.8, cat=0.8)}, promotion=gates())
    bad = answers(
        evaluations={"student": metrics(0.5, 0.8, cat=0.8), "teacher": metrics(0.625, 0.9)},
        promotion=gates("ap50 floor"),
    )

    assert good["Is the student good?"].status == "good"
    assert bad["Is the student good?"].status == "bad"
    assert "80% of its teacher's AP" in bad["Is the student good?"].detail
    assert "Failed: ap50 floor" in bad["Is the student good?"].detail


@pytest.mark.parametrize(
    ("low", "high", "verdict", "status"),
    [
        (0.02, 0.08, "better", "good"),
        (-0.08, -0.02, "worse", "bad"),
        (-0.02, 0.04, "no difference shown", "open"),
    ],
)
def test_the_twin_is_judged_by_the_interval(
    low: float, high: float, verdict: Verdict, status: str
) -> None:
    card = answers(against_twin=comparison(low, high, verdict))[
        "Is it better than its undistilled twin?"
    ]

    assert card.status == status
    assert f"95% interval {low:+.3f} to {high:+.3f}" in card.detail


def test_weak_classes_and_the_weak_source_are_named() -> None:
    found = answers(evaluations={"student": metrics(0.5, 0.8, cat=0.95, dog=0.9, bird=0.2)})

    assert found["For which classes not?"].answer == "Weak at bird 0.20"
    assert "Best: cat 0.95, dog 0.90" in found["For which classes not?"].detail
    assert found["For which sources not?"].answer == "Weakest on voc"


def test_even_classes_are_no_complaint() -> None:
    card = answers(evaluations={"student": metrics(0.5, 0.8, cat=0.75, dog=0.85)})[
        "For which classes not?"
    ]

    assert (card.answer, card.status) == ("No class falls behind", "good")


def test_a_model_that_learned_nothing_is_not_praised_for_being_even() -> None:
    student = metrics(0.0, 0.001, cat=0.001, dog=0.001)
    student["datasets"] |= {name: {"ap": 0.0, "per_class": []} for name in ("coco", "voc")}

    found = answers(evaluations={"student": student}, promotion=gates())

    assert found["For which classes is it good?"].answer == "For none yet"
    assert "For which sources not?" not in found


def test_a_source_that_stands_out_is_named() -> None:
    def source(name: str, score: float) -> Source:
        return Source(
            name=name,
            score=score,
            own_agreement=score,
            taught=score,
            offset_x=0,
            offset_y=0,
            draws_share=0.3,
            num_images=10,
            num_objects=20,
            val_ap=None,
        )

    def card(worst: float) -> Card:
        sources = (source("voc", worst), source("coco", 0.75), source("oid", 0.8))
        ranking = SourceRanking(headline="full", sources=sources, classes=())
        return answers(ranking=ranking)["Does a source teach badly?"]

    assert (card(0.4).answer, card(0.4).status) == ("Look at voc", "bad")
    assert card(0.7).status == "good"


def test_what_was_not_attested_is_no_pass() -> None:
    def artifact(kind: Any, **values: Any) -> Artifact:
        return Artifact(
            kind=kind,
            precision="fp16",
            uri="x",
            sha256="y",
            model="m",
            image_size=64,
            label_space_sha256="z",
            **values,
        )

    speed = {"ap": 0.5, "ap50": 0.7, "latency_p50_ms": 2.5}
    artifacts = (artifact("openvino", metrics=speed), artifact("tensorrt", attested=False))

    card = answers(artifacts=artifacts)["Can it be shipped?"]

    assert "Fastest: openvino fp16, 2.5 ms, AP 0.500" in card.detail
    assert "Not attested here, which is no pass: tensorrt fp16" in card.detail
