"""Proposals: joins by name, doubts, kinds; and how they compare with the published space."""

import csv
from collections import defaultdict
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import pytest

from damo_yolo.labels.classes import ClassTree, SourceClass, read_class_list
from damo_yolo.labels.mapping import LabelMapping
from damo_yolo.labels.propose import Proposal, propose
from damo_yolo.labels.space import LabelSpace

ID_COLUMNS = {"coco": "coco_id", "objects365_v1": "o365v1_id", "openimages_500": "oid_mid"}
Key = tuple[str, str]


def classes(dataset: str, *names: str) -> list[SourceClass]:
    return [SourceClass(dataset, str(place), name) for place, name in enumerate(names)]


def groups(proposal: Proposal) -> dict[str, list[str]]:
    found = defaultdict(list)
    for row in proposal.rows:
        found[row.unified_name].append(f"{row.source.dataset}/{row.source.name}")
    return dict(found)


def joins(keys_by_class: Iterable[Iterable[Key]]) -> set[frozenset[Key]]:
    return {frozenset(pair) for keys in keys_by_class for pair in combinations(keys, 2)}


def test_names_that_agree_are_joined_under_the_name_of_the_first_dataset() -> None:
    proposal = propose([*classes("a", "Dogs", "sofa", "tv"), *classes("b", "Television", "dog")])

    assert groups(proposal) == {
        "Dogs": ["a/Dogs", "b/dog"],
        "sofa": ["a/sofa"],
        "tv": ["a/tv", "b/Television"],
    }
    assert {row.reason for row in proposal.rows if row.source.name == "sofa"} == {"only here"}


def test_two_classes_of_one_dataset_are_never_joined() -> None:
    proposal = propose([*classes("a", "couch", "sofa"), *classes("b", "sofa")])

    assert groups(proposal) == {"couch": ["a/couch"], "sofa": ["a/sofa", "b/sofa"]}


def test_two_equal_partners_in_one_dataset_are_told_and_not_joined() -> None:
    proposal = propose([*classes("a", "mouse"), *classes("b", "Mouse", "Mouse")])
    doubts = [pair for pair in proposal.pairs if pair.kind == "same"]

    assert set(groups(proposal)) == {"mouse (a)", "Mouse (b)", "Mouse (b) 1"}
    assert [(pair.confidence, pair.taken) for pair in doubts] == [(0.5, False), (0.5, False)]
    assert "2 classes fit equally" in doubts[0].reason


def test_a_doubtful_spelling_is_told_once() -> None:
    pairs = propose([*classes("a", "Buttefly"), *classes("b", "Butterfly")]).pairs

    assert [(pair.first.name, pair.second.name) for pair in pairs] == [("Buttefly", "Butterfly")]


def test_a_higher_bar_joins_less_and_none_is_reached_above_1() -> None:
    listed = [*classes("a", "pen/pencil", "dog"), *classes("b", "Pen", "Dog")]

    assert len(groups(propose(listed))) == 2
    assert len(groups(propose(listed, min_confidence=0.9))) == 3
    assert len(groups(propose(listed, min_confidence=2.0))) == 4


def test_a_class_that_is_called_ignore_is_not_dropped_by_its_name() -> None:
    assert set(groups(propose(classes("drone", "ignore", "car")))) == {"ignore (drone)", "car"}


def test_an_extended_space_keeps_its_names_and_gets_the_rest_behind_them() -> None:
    base = LabelSpace.of_names(["cat", "hound"])
    proposal = propose(classes("a", "Cats", "ferret"), base=base)

    assert groups(proposal) == {"cat": ["a/Cats"], "ferret": ["a/ferret"]}


def test_the_class_tree_finds_the_parents_of_a_dataset_that_has_no_tree() -> None:
    proposal = propose([*classes("a", "dog", "animal"), *classes("b", "cat")])
    by_name = {row.source.name: row.source.ancestors for row in proposal.rows}
    kinds = {
        (pair.first.name, pair.second.name) for pair in proposal.pairs if pair.kind == "kind of"
    }
    reasons = {pair.reason for pair in proposal.pairs if pair.kind == "kind of"}

    assert reasons == {"class tree of Open Images"}  # the datasets have none
    assert by_name == {"dog": ("1",), "animal": (), "cat": ()}
    assert kinds == {("dog", "animal"), ("cat", "animal")}


def test_a_dataset_with_its_own_tree_keeps_it() -> None:
    own = [
        SourceClass("a", "0", "hot dog", ancestors=("1",)),
        SourceClass("a", "1", "sausage"),
        SourceClass("a", "2", "dog"),
        SourceClass("a", "3", "animal"),
    ]
    tree = ClassTree({"d": "dog", "n": "animal"}, {"d": ("n",)})
    found = {row.source.name: row.source.ancestors for row in propose(own, tree=tree).rows}

    assert found == {"hot dog": ("1",), "sausage": (), "dog": (), "animal": ()}


@pytest.fixture(scope="module")
def of_three() -> list[SourceClass]:
    return [item for name in ID_COLUMNS for item in read_class_list(name, name)]


def test_against_the_published_space_seven_of_ten_joins_agree_and_eight_of_ten_are_found(
    facts_dir: Path, of_three: list[SourceClass]
) -> None:
    with (facts_dir / "label_space_701.csv").open(newline="") as file:
        published = joins(
            [(name, row[column]) for name, column in ID_COLUMNS.items() if row[column]]
            for row in csv.DictReader(file)
        )
    proposed = defaultdict(list)
    for row in propose(of_three).rows:
        proposed[row.unified_name].append(row.source.key)
    found = joins(proposed.values())

    assert len(published) == 299
    # The published space follows a detector: about 60 names are two or three classes of it.
    assert len(found & published) / len(found) >= 0.69
    assert len(found & published) / len(published) >= 0.82


def test_the_second_objects365_finds_its_place_in_the_701() -> None:
    space = LabelSpace.load("unified_701")
    reviewed = LabelMapping.load("objects365_v1", space)
    rows = propose(read_class_list("mine", "objects365_v2"), base=space).rows
    places = {row.source.source_id: space.ids.get(row.unified_name) for row in rows}
    joined = {key: place for key, place in places.items() if place is not None}
    second = LabelMapping.load("objects365_v2", space)
    right = sum(second.unified_id(key) == place for key, place in joined.items())

    assert len(reviewed.targets) == len(rows) == 365
    assert len(joined) >= 270
    assert right / len(joined) >= 0.88


def test_every_class_of_the_three_is_proposed_once(of_three: list[SourceClass]) -> None:
    rows = propose(of_three).rows

    assert sorted(row.source.key for row in rows) == sorted(item.key for item in of_three)
    for name in ID_COLUMNS:
        unified = [row.unified_name for row in rows if row.source.dataset == name]
        assert len(set(unified)) == len(unified)
