import json
from pathlib import Path

import pytest

from damo_yolo.errors import ConfigError
from damo_yolo.tuning.objective import AP, Scored, best_of, goals_of, pareto_front, rare_classes


def scored(number: int, **figures: float) -> Scored:
    return Scored(number=number, figures=figures)


def shipped(number: int, ap: float, ms: float, mb: float) -> Scored:
    return scored(number, int8_ap=ap, int8_latency_ms=ms, int8_size_mb=mb)


def test_the_best_is_the_first_of_equals_and_has_the_figure() -> None:
    trials = [scored(0, ap=0.2), scored(1), scored(2, ap=0.3), scored(3, ap=0.3)]

    best = best_of(trials, AP)

    assert best is not None
    assert best.number == 2
    assert best_of([scored(1)], AP) is None


def test_the_front_holds_what_nothing_else_beats() -> None:
    goals = goals_of("pareto")
    small, large = shipped(0, 0.30, 2.0, 1.5), shipped(1, 0.40, 4.0, 3.0)
    beaten, twin = shipped(2, 0.29, 2.0, 1.5), shipped(3, 0.40, 4.0, 3.0)
    unmeasured = scored(4, ap=0.9)

    front = pareto_front([small, large, beaten, twin, unmeasured], goals)

    assert front == [0, 1, 3]


def test_rare_classes_are_counted_in_training_images_over_all_datasets(tmp_path: Path) -> None:
    def dataset(**images: int) -> dict[str, object]:
        return {"train": {"classes": {k: {"images": n, "boxes": n} for k, n in images.items()}}}

    facts = {"datasets": {"a": dataset(**{"0": 6, "1": 90}), "b": dataset(**{"0": 6, "2": 10})}}
    (tmp_path / "datasets.json").write_text(json.dumps(facts))

    assert rare_classes(str(tmp_path), 10) == {2}
    assert rare_classes(str(tmp_path), 12) == {0, 2}
    with pytest.raises(ConfigError) as error:
        rare_classes(str(tmp_path), 5)
    assert "at least 10" in error.value.fix
