"""The integer program against brute force, and against cases done by hand."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest

from damo_yolo.errors import DataError
from damo_yolo.labels.learned import Group, choose_groups


def partitions(groups: list[Group]) -> Iterator[list[Group]]:
    """Yield every set of disjoint groups."""
    if not groups:
        yield []
        return
    first, *rest = groups
    yield from partitions(rest)
    used = set(first.members)
    free = [group for group in rest if not used & set(group.members)]
    for picked in partitions(free):
        yield [first, *picked]


def objective(picked: list[Group], reward: float) -> float:
    return sum(g.cost * len(g.members) - reward * (len(g.members) - 1) for g in picked)


def random_case(generator: np.random.Generator) -> tuple[list[str], list[Group]]:
    """Return up to three datasets of up to four classes, and random candidates."""
    datasets = [name for name in "abc" for _ in range(generator.integers(2, 5))]
    places = range(len(datasets))
    sound = [
        members
        for size in (2, 3)
        for members in combinations(places, size)
        if len({datasets[member] for member in members}) == size
    ]
    chosen = generator.choice(len(sound), size=min(11, len(sound)), replace=False)
    return datasets, [Group(sound[i], float(generator.uniform(-0.05, 0.4))) for i in chosen]


@pytest.mark.parametrize("seed", range(40))
def test_the_program_finds_the_space_that_brute_force_finds(seed: int) -> None:
    generator = np.random.default_rng(seed)
    datasets, groups = random_case(generator)
    reward = float(generator.choice([0.1, 0.5, 1.0]))
    best = min(partitions(groups), key=lambda picked: objective(picked, reward))

    picked = choose_groups(datasets, groups, reward=reward)

    assert objective(picked, reward) == pytest.approx(objective(best, reward), abs=1e-9)
    assert sorted(g.members for g in picked) == sorted(g.members for g in best)
    members = [member for group in picked for member in group.members]
    assert len(set(members)) == len(members)


def test_a_triple_beats_its_pairs_where_it_costs_little() -> None:
    pairs = [Group((0, 1), 0.01), Group((0, 2), 0.01), Group((1, 2), 0.01)]
    cheap, dear = Group((0, 1, 2), 0.02), Group((0, 1, 2), 0.19)

    # -1 + 0.06 = -0.94 against -0.5 + 0.02 = -0.48; at 0.19: -1 + 0.57 = -0.43.
    assert choose_groups("abc", [*pairs, cheap], reward=0.5) == [cheap]
    assert len(choose_groups("abc", [*pairs, dear], reward=0.5)[0].members) == 2


def test_what_costs_more_than_it_is_worth_stays_apart() -> None:
    assert choose_groups("ab", [Group((0, 1), 0.26)], reward=0.5) == []
    assert choose_groups("ab", [Group((0, 1), 0.24)], reward=0.5) == [Group((0, 1), 0.24)]
    assert choose_groups("ab", [], reward=0.5) == []


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ((0, 1), "has 2 classes of 'a'"),
        ((0,), "has fewer than two classes"),
        ((0, 7), "has a class that does not exist"),
    ],
)
def test_an_unsound_group_is_named(members: tuple[int, ...], problem: str) -> None:
    with pytest.raises(DataError) as caught:
        choose_groups(["a", "a", "b"], [Group(members, 0.0)], reward=0.5)

    assert problem in caught.value.problem
