import json
from typing import Any

import pytest

from damo_yolo.evaluation.bootstrap import Difference
from damo_yolo.reporting.gather import RunFiles, RunLocations
from damo_yolo.reporting.page import Section
from damo_yolo.reporting.sections.tuning import tuning_section
from damo_yolo.reporting.sweep_figures import Scale
from damo_yolo.tuning.result import SweepResult, TrialRecord
from damo_yolo.tuning.search import SearchConfig
from damo_yolo.tuning.space import Space, load_space
from damo_yolo.tuning.verdict import SeedComparison

MIXED = Space.from_mapping(
    {"parameters": {"model": {"choice": ["ns", "nm"]}, "image_size": {"integer": [96, 160]}}}
)


def trial(number: int, values: dict[str, Any], **figures: float) -> TrialRecord:
    return TrialRecord(
        number=number,
        trial_id=f"t{number}",
        values=values,
        figures=figures,
        state="finished" if figures else "failed",
        is_default=number == 0,
        attempts=1 if figures else 2,
        problems=() if figures else ("the loss is not finite", "the loss is not finite"),
        seconds=1.0,
        model_uri="",
    )


def section_of(space: Space, trials: list[TrialRecord], **changes: Any) -> Section:
    result = SweepResult(
        **{
            "space_name": "mine",
            "space": space,
            "objective": "ap",
            "search": SearchConfig(),
            "model": "damo-yolo-ns",
            "total_steps": 300,
            "trials": tuple(trials),
            "best": 1,
            "front": (),
            "importance": {},
            "comparison": None,
            "chosen": trials[0].values,
            "recipe_uri": "",
            "best_uri": "",
            "verdict": "Nothing is proven.",
            "seconds": 1.0,
            **changes,
        }
    )
    sweep = json.loads(result.model_dump_json())  # what the report finds in the folder
    section = tuning_section(RunFiles(RunLocations(), sweep=sweep))
    assert section is not None
    return section


def weights(qfl: float, giou: float, dfl: float) -> dict[str, Any]:
    return {"loss.qfl": qfl, "loss.giou": giou, "loss.dfl": dfl}


def test_a_sweep_shows_its_trials_best_first_and_what_failed() -> None:
    trials = [
        trial(0, weights(1.0, 2.0, 0.25), ap=0.2),
        trial(1, weights(2.0, 2.0, 0.25), ap=0.3),
        trial(2, weights(4.0, 8.0, 1.0)),
    ]

    section = section_of(load_space("loss-weights"), trials, importance={"loss.qfl": 1.0})

    table = section.tables[0]
    assert section.lead == "Nothing is proven."
    assert list(table.head) == ["trial", "state", "AP", "loss.qfl", "loss.giou", "loss.dfl"]
    assert [row[0] for row in table.rows] == ["1", "0 (default)", "2"]
    assert table.rows[2][1] == "failed: the loss is not finite"
    assert [chart.svg.count("<svg") for chart in section.charts] == [1, 1]
    assert "default (0)" in section.charts[0].svg
    assert "best (1)" in section.charts[0].svg


def test_new_seeds_have_a_row_each_and_the_interval() -> None:
    gap = Difference(
        a=0.31, b=0.29, difference=0.02, low=-0.01, high=0.05, verdict="no difference shown"
    )
    comparison = SeedComparison(
        figure="AP",
        seeds=(1000, 1001),
        default=(0.28, 0.30),
        best=(0.33, 0.29),
        difference=gap,
        num_images=100,
        confidence=0.95,
    )
    trials = [trial(i, weights(1.0 + i, 2.0, 0.25), ap=0.2) for i in range(2)]

    section = section_of(load_space("loss-weights"), trials, comparison=comparison)

    table = section.tables[1]
    assert list(table.head) == ["seed", "trial 1", "default", "difference"]
    assert [row[3] for row in table.rows] == ["+0.050", "-0.010", "+0.020"]
    assert "-0.010 to +0.050, no difference shown" in table.caption


def test_several_goals_have_a_front_each() -> None:
    trials = [
        trial(
            i, {"model": "ns", "image_size": 96 + i}, int8_ap=ap, int8_latency_ms=ms, int8_size_mb=2
        )
        for i, (ap, ms) in enumerate([(0.2, 2.0), (0.3, 3.0), (0.1, 4.0)])
    ]

    section = section_of(MIXED, trials, objective="pareto", front=(0, 1))

    captions = [chart.caption for chart in section.charts]
    assert captions[1:] == [
        "AP of OpenVINO INT8 against latency of OpenVINO INT8, ms.",
        "AP of OpenVINO INT8 against size of OpenVINO INT8, MB.",
    ]


@pytest.mark.parametrize(
    ("scale", "value", "place"),
    [
        (Scale("a", 0, 4), 1, 0.25),
        (Scale("a", 0.25, 4, is_log=True), 1, 0.5),
        (Scale("a", 0, 1, labels=("ns", "nm")), 1, 1.0),
        (Scale("a", 3, 3), 3, 0.5),
    ],
)
def test_an_axis_places_its_values(scale: Scale, value: float, place: float) -> None:
    assert scale.place(value) == pytest.approx(place)


def test_without_a_sweep_there_is_no_section() -> None:
    assert tuning_section(RunFiles(RunLocations())) is None
