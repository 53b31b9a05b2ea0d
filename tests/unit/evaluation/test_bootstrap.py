import numpy as np
import pytest

from damo_yolo.errors import DataError
from damo_yolo.evaluation.bootstrap import BootstrapConfig, compare
from damo_yolo.evaluation.ground_truth import ImageTruth
from damo_yolo.evaluation.matches import Matches
from damo_yolo.samples import Detections
from tests.evaluation_builders import BOX, FAR, make_found, make_truth, random_case


def finds(share: float, *, images: int = 60, seed: int = 0) -> Matches:
    """One object an image; the model finds it in a share of the images and is wrong elsewhere."""
    right = np.random.default_rng(seed).random(images) < share
    truths = [make_truth(f"a/{i:03d}") for i in range(images)]
    found = [
        make_found([BOX if hit else FAR], [0.9], [0], key=truth.key)
        for hit, truth in zip(right, truths, strict=True)
    ]
    return Matches.of(found, truths, num_classes=3)


def test_a_model_equals_itself_exactly() -> None:
    one = finds(0.5)

    result = compare(one, one)

    assert (result.ap.difference, result.ap.low, result.ap.high) == (0, 0, 0)
    assert result.ap.verdict == "no difference shown"
    assert result.ap.a == result.ap.b > 0


def test_a_clear_difference_is_named_in_both_directions() -> None:
    good, bad = finds(0.95), finds(0.4)

    forth, back = compare(good, bad), compare(bad, good)

    assert (forth.ap.verdict, back.ap.verdict) == ("better", "worse")
    assert forth.ap.low > 0
    assert forth.ap.low < forth.ap.difference < forth.ap.high
    assert (back.ap.low, back.ap.high) == pytest.approx((-forth.ap.high, -forth.ap.low))
    assert forth.ap50.a == pytest.approx(forth.per_class[0].a)  # one class, one IoU for all


def test_a_difference_of_one_image_in_sixty_is_not_shown() -> None:
    truths = [make_truth(f"a/{i:03d}") for i in range(60)]

    def model(missed: set[int]) -> Matches:
        found = [
            make_found([BOX], [0.9], [0], key=truth.key)
            for i, truth in enumerate(truths)
            if i not in missed
        ]
        return Matches.of(found, truths, num_classes=3)

    result = compare(model({0, 1}), model({0, 1, 2}))

    assert result.ap.difference > 0
    assert result.ap.verdict == "no difference shown"


def test_pairs_make_the_interval_narrow() -> None:
    """Both models fail on the same hard half, one of them also elsewhere."""
    truths = [make_truth(f"a/{i:03d}") for i in range(80)]

    def model(right: range) -> Matches:
        found = [make_found([BOX], [0.9], [0], key=truths[i].key) for i in right]
        return Matches.of(found, truths, num_classes=3)

    paired = compare(model(range(44)), model(range(36))).ap
    apart = compare(model(range(44)), model(range(80 - 36, 80))).ap

    assert paired.difference == pytest.approx(apart.difference)
    assert (paired.high - paired.low) < 0.5 * (apart.high - apart.low)
    assert (paired.verdict, apart.verdict) == ("better", "no difference shown")


def test_the_interval_has_the_length_that_theory_gives() -> None:
    """Recall of a share p of n images varies by sqrt(p (1 - p) / n); AP follows it here."""
    truths = [make_truth(f"a/{i:03d}") for i in range(400)]
    found = [make_found([BOX], [0.9], [0], key=truth.key) for truth in truths[::2]]
    half, none = (Matches.of(f, truths, num_classes=3) for f in (found, []))

    result = compare(half, none, BootstrapConfig(num_draws=2000))

    expected = 2 * 1.96 * np.sqrt(0.25 / 400)
    assert result.ap.high - result.ap.low == pytest.approx(expected, rel=0.12)


def test_the_seed_decides_and_nothing_else() -> None:
    a, b = finds(0.7), finds(0.5, seed=1)

    assert compare(a, b) == compare(a, b)
    assert compare(a, b) != compare(a, b, BootstrapConfig(seed=1))


def test_few_numbers_at_a_time_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    detections, truths = random_case(images=12, classes=4, seed=0)
    worse, _ = random_case(images=12, classes=4, seed=9)
    a, b = (Matches.of(item, truths, num_classes=4) for item in (detections, worse))
    at_once = compare(a, b)

    monkeypatch.setattr("damo_yolo.evaluation.bootstrap.MAX_NUMBERS", 500)

    assert compare(a, b) == at_once


def test_other_images_are_refused() -> None:
    def one(key: str) -> Matches:
        truths: list[ImageTruth] = [make_truth(key)]
        found: list[Detections] = []
        return Matches.of(found, truths, num_classes=3)

    with pytest.raises(DataError, match="different images"):
        compare(one("a/1"), one("a/2"))
