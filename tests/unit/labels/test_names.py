"""Class names that mean the same though they are written differently."""

import csv
from importlib import resources

import pytest

from damo_yolo.labels.names import agreement, similar_spelling, words_of


@pytest.mark.parametrize(
    ("name", "other", "confidence"),
    [
        ("Person", "person ", 1.0),
        ("skis", "Ski", 0.98),
        ("Picture/Frame", "picture frame", 0.98),
        ("GolfBall", "Golf ball", 0.98),
        ("hot dog", "hotdogs", 0.95),
        ("racket (tennis)", "tennis racket", 0.9),
        ("Mobile phone", "cell phone", 0.94),
        ("pen/pencil", "Pen", 0.8),
        ("cutting/chopping board", "Cutting board", 0.8),
        ("trash bin/can", "can", 0.6),
    ],
)
def test_names_agree_as_well_as_their_best_common_form(
    name: str, other: str, confidence: float
) -> None:
    found = agreement(name, other)

    assert found is not None
    assert found.confidence == confidence
    assert agreement(other, name) == found


@pytest.mark.parametrize(
    ("name", "other"),
    [("glass", "glasses"), ("bus", "bush"), ("bench", "beach"), ("dog", "hot dog"), ("cap", "cup")],
)
def test_other_things_do_not_agree(name: str, other: str) -> None:
    assert agreement(name, other) is None


def test_a_slip_of_the_pen_is_similar_and_less_sure_than_any_rule() -> None:
    found = similar_spelling("Bakset", "basket")

    assert found is not None
    assert found.confidence < 0.6
    assert similar_spelling("cap", "cup") is None


def test_names_in_other_scripts_keep_their_words() -> None:
    assert words_of("собака") == ("собака",)
    assert words_of("Café") == ("cafe",)


def test_no_term_stands_in_two_synonym_sets() -> None:
    text = resources.files("damo_yolo.labels").joinpath("words/synonyms.csv").read_text("utf-8")
    seen: dict[str, str] = {}
    for row in csv.DictReader(text.splitlines()):
        for term in (row["term"], *row["synonyms"].split(";")):
            key = "".join(words_of(term))
            assert seen.setdefault(key, row["term"]) == row["term"], term
