import json
from pathlib import Path

import pytest

from damo_yolo.evaluation.bootstrap import Difference, Verdict
from damo_yolo.tuning.result import TrialRecord, importance, read_trials, verdict_of
from damo_yolo.tuning.search import Outcome
from damo_yolo.tuning.space import Space
from damo_yolo.tuning.trial import NO_WORD
from damo_yolo.tuning.verdict import SeedComparison

SPACE = Space.from_mapping(
    {"parameters": {"loss.qfl": {"uniform": [0, 1]}, "loss.dfl": {"uniform": [0, 1]}}}
)


def trial(number: int, ap: float | None = None, **values: float) -> TrialRecord:
    return TrialRecord(
        number=number,
        trial_id=f"t{number}",
        values={name.replace("__", "."): value for name, value in values.items()},
        figures={} if ap is None else {"ap": ap},
        state="finished",
        is_default=number == 0,
        attempts=1,
        problems=(),
        seconds=1.0,
        model_uri="",
    )


def comparison(low: float, high: float, verdict: Verdict) -> SeedComparison:
    gap = Difference(a=0.31, b=0.29, difference=0.02, low=low, high=high, verdict=verdict)
    return SeedComparison(
        figure="AP",
        seeds=(1000, 1001, 1002),
        default=(0.28, 0.29, 0.3),
        best=(0.3, 0.31, 0.32),
        difference=gap,
        num_images=100,
        confidence=0.95,
    )


@pytest.mark.parametrize(
    ("low", "high", "verdict", "start"),
    [
        (0.01, 0.03, "better", "The default is beaten by trial 7, the best of 11 others: over 3"),
        (-0.01, 0.03, "no difference shown", "Nothing is shown to beat the default: trial 7"),
        (-0.05, -0.01, "worse", "Nothing beats the default: trial 7"),
    ],
)
def test_the_verdict_says_whether_anything_beats_the_default(
    low: float, high: float, verdict: Verdict, start: str
) -> None:
    found = comparison(low, high, verdict)

    said = verdict_of(trial(7, 0.4), trial(0, 0.3), found, num_trials=12, objective="ap")

    assert said.startswith(start)
    assert f"AP 0.310 against 0.290, difference +0.020 (95% interval {low:+.3f}" in said


def test_one_run_each_proves_nothing() -> None:
    said = verdict_of(trial(7, 0.4), trial(0), None, num_trials=12, objective="ap")

    assert said.startswith("Nothing is proven: trial 7 reached AP 0.4 and the default was not")
    moved = verdict_of(trial(7, 0.4), None, None, num_trials=12, objective="ap")
    assert "and the default was not measured" in moved
    assert verdict_of(None, trial(0), None, num_trials=1, objective="ap").startswith(
        "Nothing can be said"
    )


def test_the_setting_that_decides_is_the_important_one() -> None:
    grid = [(a / 5, b / 5) for a in range(5) for b in range(5)]
    trials = [trial(i, a, loss__qfl=a, loss__dfl=b) for i, (a, b) in enumerate(grid)]

    shares = importance(trials, SPACE, "ap")

    assert sum(shares.values()) == pytest.approx(1)
    assert shares["loss.qfl"] > 0.9


def test_few_trials_say_nothing_about_importance() -> None:
    assert (
        importance([trial(i, 0.1, loss__qfl=0, loss__dfl=0) for i in range(7)], SPACE, "ap") == {}
    )


def test_trials_are_read_from_ray_tune_and_from_their_folders(tmp_path: Path) -> None:
    def folder(name: str, attempts: list[str]) -> Path:
        path = tmp_path / "trials" / name
        path.mkdir(parents=True)
        (path / "attempts.json").write_text(json.dumps(attempts))
        return path

    (folder("a", ["out of memory", ""]) / "model.pt").touch()
    folder("b", ["it was stopped"])
    folder("c", ["not finite", "not finite"])
    outcomes = [
        Outcome("a", {"loss.qfl": 1.0}, {"ap": 0.3, "pid": 7.0}, ""),
        Outcome("b", {"loss.qfl": 2.0}, {"ap": 0.1}, ""),
        Outcome("c", {"loss.qfl": 3.0}, {}, "RayTaskError"),
        Outcome("d", {"loss.qfl": 4.0}, {}, "the actor died"),
    ]

    found = read_trials(outcomes, str(tmp_path), default={"loss.qfl": 1.0})

    assert [t.state for t in found] == ["finished", "stopped early", "failed", "failed"]
    assert [t.is_default for t in found] == [True, False, False, False]
    assert [t.attempts for t in found] == [2, 1, 2, 1]
    assert found[0].figures == {"ap": 0.3}
    assert found[0].problems == ("out of memory",)
    assert found[1].problems == ()
    assert found[2].problems == ("not finite", "not finite")
    assert found[3].problems == ("the actor died",)
    assert "failed: loss.qfl 3: nothing; not finite" in found[2].to_line()


def test_a_trial_that_waited_for_its_turn_did_not_fail(tmp_path: Path) -> None:
    folder = tmp_path / "trials" / "a"
    folder.mkdir(parents=True)
    (folder / "attempts.json").write_text(json.dumps([NO_WORD, "no memory left", NO_WORD, ""]))
    (folder / "model.pt").touch()
    outcomes = [Outcome("a", {"loss.qfl": 1.0}, {"ap": 0.3}, "")]

    alone = read_trials(outcomes, str(tmp_path), default={})[0]
    in_turns = read_trials(outcomes, str(tmp_path), default={}, takes_turns=True)[0]

    assert (alone.attempts, alone.problems) == (4, (NO_WORD, "no memory left", NO_WORD))
    assert (in_turns.attempts, in_turns.problems) == (2, ("no memory left",))


def test_a_problem_that_names_every_image_is_cut_in_a_table() -> None:
    images = ", ".join(f"objects365/objects365_v2_{i:08d}" for i in range(8))
    failed = trial(3, loss__qfl=1.0).model_copy(
        update={"state": "failed", "problems": (f"the loss is not finite, with {images}",)}
    )

    line = failed.to_line()

    assert "nothing; the loss is not finite, with objects365/" in line
    assert line.endswith(" ...")
    assert len(line) < 150
