"""Class names that mean the same though they are written differently.

Each name has a few forms: itself, its words without case, plural and punctuation, the words written
as one, its alternatives ("pen/pencil"), its synonyms. Two names agree as well as the best form
that they share.
"""

import csv
import difflib
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

SAME, PLAIN, ONE_WORD, WORD_ORDER, SYNONYM = 1.0, 0.98, 0.95, 0.9, 0.94
ALTERNATIVE, PART, SPELLING = 0.8, 0.6, 0.7
MIN_PLURAL_LENGTH = 4
MIN_SPELLING_LENGTH = 5
MIN_SPELLING_RATIO = 0.83

SAME_IN_PLURAL = frozenset({
    "binoculars", "bus", "cactus", "chess", "gas", "glass", "goggles", "grass", "hibiscus", "iris",
    "jeans", "lens", "octopus", "pants", "platypus", "pliers", "rhinoceros", "scissors", "shorts",
    "tennis", "tongs", "trousers", "virus", "walrus",
})  # fmt: skip
IRREGULAR = {
    "children": "child", "geese": "goose",
    "knives": "knife", "leaves": "leaf", "loaves": "loaf", "men": "man", "mice": "mouse",
    "people": "person", "persons": "person", "potatoes": "potato", "shelves": "shelf",
    "teeth": "tooth", "tomatoes": "tomato", "wolves": "wolf", "women": "woman", "feet": "foot",
    "heroes": "hero", "mangoes": "mango", "scarves": "scarf", "wives": "wife", "movies": "movie",
    "cookies": "cookie", "pies": "pie", "ties": "tie", "skies": "sky", "shoes": "shoe",
    "canoes": "canoe", "toes": "toe",
}  # fmt: skip
OTHER_IN_PLURAL = [["glasses"]]
"""Names that mean another thing than their singular."""
PLURAL_OF_SIBILANT = ("sses", "shes", "ches", "xes", "zes")


@dataclass(frozen=True)
class Agreement:
    """How well two names agree, and why."""

    confidence: float
    """0..1; 1 only where they are the same but for case and outer blanks."""
    reason: str


@dataclass(frozen=True)
class Form:
    """One way to write a name."""

    confidence: float
    reason: str


def words_of(name: str) -> tuple[str, ...]:
    """Return the words of a name in lower case and singular, without accents and punctuation.

    >>> words_of("Kitchen & dining-room tables")
    ('kitchen', 'and', 'dining', 'room', 'table')
    >>> words_of("GolfBall")
    ('golf', 'ball')
    """
    text = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode() or name
    text = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", text).replace("&", " and ")
    words = re.findall(r"\w+", text.lower().replace("_", " "))
    return tuple(words) if words in OTHER_IN_PLURAL else tuple(map(singular, words))


def singular(word: str) -> str:
    """Return the singular of an English noun in lower case, as far as rules can tell.

    >>> [singular(word) for word in ("skis", "boxes", "berries", "glass", "bus", "knives")]
    ['ski', 'box', 'berry', 'glass', 'bus', 'knife']
    """
    if word in IRREGULAR:
        return IRREGULAR[word]
    is_plural = len(word) >= MIN_PLURAL_LENGTH and word.endswith("s") and not word.endswith("ss")
    if not is_plural or word in SAME_IN_PLURAL:
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-2] if word.endswith(PLURAL_OF_SIBILANT) else word[:-1]


def agreement(name: str, other: str) -> Agreement | None:
    """Return how well two names agree, None where they share no form.

    >>> agreement("Hot dog", "hotdogs")
    Agreement(confidence=0.95, reason='written as one word')
    """
    return best_shared(forms_of(name), forms_of(other))


def best_shared(forms: Mapping[str, Form], others: Mapping[str, Form]) -> Agreement | None:
    """Return the agreement of two names by the forms of each; None where they share none."""
    shared = forms.keys() & others.keys()
    if not shared:
        return None
    best = max(sorted(shared), key=lambda t: min(forms[t].confidence, others[t].confidence))
    pair = forms[best], others[best]
    confidence = min(form.confidence for form in pair)
    reasons = sorted({form.reason for form in pair if form.confidence == confidence})
    return Agreement(confidence, ", ".join(reasons))


def similar_spelling(name: str, other: str) -> Agreement | None:
    """Return the agreement of two long names that differ in a letter or two, else None."""
    one, two = "".join(words_of(name)), "".join(words_of(other))
    if min(len(one), len(two)) < MIN_SPELLING_LENGTH:
        return None
    matcher = difflib.SequenceMatcher(None, one, two, autojunk=False)
    if matcher.real_quick_ratio() < MIN_SPELLING_RATIO or matcher.ratio() < MIN_SPELLING_RATIO:
        return None
    return Agreement(round(SPELLING * matcher.ratio(), 2), "similar spelling")


@cache
def forms_of(name: str) -> Mapping[str, Form]:
    """Return the ways to write a name, each with how sure it is to mean the same."""
    found: dict[str, Form] = {}
    for text, confidence, reason in _forms(name):
        if text and (text not in found or found[text].confidence < confidence):
            found[text] = Form(confidence, reason)
    return found


def _forms(name: str) -> Iterator[tuple[str, float, str]]:
    yield " ".join(name.lower().split()), SAME, "same name"
    yield from _written(words_of(name), PLAIN, "but for case, plural or punctuation")
    bare = re.sub(r"\([^)]*\)", " ", name)
    for reading, trust in _readings(bare).items():
        yield from _written(words_of(reading), trust, f"'{reading}' is part of it")


def _written(words: tuple[str, ...], trust: float, reason: str) -> Iterator[tuple[str, float, str]]:
    joined = "".join(words)
    yield " ".join(words), trust, reason
    if trust < WORD_ORDER:
        yield joined, trust, reason
    else:
        yield joined, ONE_WORD, "written as one word"
        yield " ".join(sorted(words)) + " *", WORD_ORDER, "other order of words"
    for first in synonyms().get(joined, ()):
        yield f"= {first}", min(trust, SYNONYM), f"synonyms ({first})"


def _readings(name: str) -> dict[str, float]:
    """Return what a name with slashes may stand for, or what brackets leave of it, with trust.

    >>> _readings("cutting/chopping board")
    {'cutting board': 0.8, 'chopping board': 0.8, 'cutting': 0.6}
    """
    found: dict[str, float] = {}
    words = name.split()
    for place, word in enumerate(words):
        options = [part for part in word.split("/") if part]
        if len(options) > 1:
            whole = (" ".join([*words[:place], part, *words[place + 1 :]]) for part in options)
            found.update(dict.fromkeys(whole, ALTERNATIVE))
    for part in filter(None, (part.strip() for part in name.split("/"))):
        found.setdefault(part, PART if "/" in name else ALTERNATIVE)
    return found


@cache
def synonyms() -> Mapping[str, tuple[str, ...]]:
    """Return the first term of each synonym set, by the terms of the set written as one word."""
    file = resources.files("damo_yolo.labels").joinpath("words/synonyms.csv")
    found: dict[str, tuple[str, ...]] = {}
    for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines()):
        first = row["term"].strip()
        for term in (first, *row["synonyms"].split(";")):
            key = "".join(words_of(term))
            found[key] = (*found.get(key, ()), first)
    return found
