"""Proposals: which classes of several datasets are one class, and which is a kind of which.

Joins come from names (see `names`): the surest first, and never two classes of one dataset into
one. Kinds come from a class tree and from the last words of names; they join nothing, they tell a
reviewer where a parent lies beside its children.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Literal

from damo_yolo.labels.classes import ClassTree, SourceClass
from damo_yolo.labels.mapping import IGNORE
from damo_yolo.labels.names import Form, best_shared, forms_of, similar_spelling, words_of
from damo_yolo.labels.review import ReviewRow
from damo_yolo.labels.space import LabelSpace, slug_of

BASE = "label space"
"""Stands for the dataset of the classes that are there already, where a space is extended."""
MIN_CONFIDENCE = 0.75
AMBIGUOUS = 0.5
BY_TREE, BY_LAST_WORDS = 0.8, 0.3
SURE_NODE = 0.9


@dataclass(frozen=True)
class Pair:
    """Two classes, and what they are to each other."""

    kind: Literal["same", "kind of"]
    """Of the first class to the second."""
    first: SourceClass
    second: SourceClass
    confidence: float
    reason: str
    taken: bool = False
    """The two are one class in the proposal."""


@dataclass(frozen=True)
class Proposal:
    """A label space to review."""

    rows: tuple[ReviewRow, ...]
    """One for each source class, classes that are joined next to each other."""
    pairs: tuple[Pair, ...]
    """Why, and what else was thought of: the surest first."""


def propose(
    classes: Sequence[SourceClass],
    *,
    base: LabelSpace | None = None,
    min_confidence: float = MIN_CONFIDENCE,
    tree: ClassTree | None = None,
) -> Proposal:
    """Propose a label space for the classes of some datasets.

    Args:
        classes: of all datasets; the first dataset to have a class names it.
        base: a space to extend: its classes keep their names.
        min_confidence: pairs below it are told, not taken; above 1 every class stays alone.
        tree: kinds for datasets that have no tree; None: that of Open Images.
    """
    there = (
        [SourceClass(BASE, str(place), name) for place, name in enumerate(base.names)]
        if base
        else []
    )
    everything = [*there, *classes]
    candidates = same_pairs(everything)
    groups = _join(everything, [pair for pair in candidates if pair.confidence >= min_confidence])
    names = unified_names(groups)
    taken = [_is_taken(pair, names) for pair in candidates]
    tree = tree or ClassTree.builtin()
    completed = _with_ancestors(everything, tree)
    own_trees = {item.dataset for item in classes if item.ancestors}
    kinds = list(_kinds(completed, names, tree, own_trees))
    pairs = sorted([*taken, *kinds], key=lambda pair: -pair.confidence)
    why = _reasons(pairs)
    rows = [
        ReviewRow(names[item.key], completed[item.key], *why.get(item.key, (None, "only here")))
        for group in groups
        for item in group
        if item.dataset != BASE
    ]
    return Proposal(tuple(rows), tuple(pairs))


def same_pairs(classes: Sequence[SourceClass]) -> list[Pair]:
    """Return pairs of classes of different datasets whose names agree, the surest first."""
    by_form: dict[str, list[int]] = defaultdict(list)
    forms = [forms_of(item.name) for item in classes]
    for place, texts in enumerate(forms):
        for text in texts:
            by_form[text].append(place)
    met = {
        (one, two)
        for places in by_form.values()
        for one in places
        for two in places
        if one < two and classes[one].dataset != classes[two].dataset
    }
    pairs = []
    for one, two in sorted(met):
        found = best_shared(forms[one], forms[two])
        assert found is not None
        pairs.append(Pair("same", classes[one], classes[two], found.confidence, found.reason))
    pairs = _doubt_ambiguous(pairs)
    sure = {item.key for pair in pairs for item in (pair.first, pair.second)}
    pairs += _misspelled([item for item in classes if item.key not in sure], classes)
    return sorted(pairs, key=lambda pair: -pair.confidence)


def _misspelled(alone: Sequence[SourceClass], classes: Sequence[SourceClass]) -> Iterator[Pair]:
    seen: set[frozenset[tuple[str, str]]] = set()
    for item in alone:
        for other in classes:
            both = frozenset((item.key, other.key))
            if other.dataset != item.dataset and both not in seen:
                seen.add(both)
                found = similar_spelling(item.name, other.name)
                if found:
                    yield Pair("same", item, other, found.confidence, found.reason)


def _doubt_ambiguous(pairs: Sequence[Pair]) -> list[Pair]:
    """Halve the confidence where a class has two equally good partners in one dataset."""
    best: dict[tuple[tuple[str, str], str], Counter[float]] = defaultdict(Counter)
    for pair in pairs:
        best[pair.first.key, pair.second.dataset][pair.confidence] += 1
        best[pair.second.key, pair.first.dataset][pair.confidence] += 1
    doubted = []
    for pair in pairs:
        rivals = max(
            best[pair.first.key, pair.second.dataset][pair.confidence],
            best[pair.second.key, pair.first.dataset][pair.confidence],
        )
        if rivals > 1:
            reason = f"{pair.reason}; but {rivals} classes fit equally"
            pair = replace(pair, confidence=pair.confidence * AMBIGUOUS, reason=reason)  # noqa: PLW2901 - the same pair, doubted
        doubted.append(pair)
    return doubted


def _join(classes: Sequence[SourceClass], pairs: Sequence[Pair]) -> list[list[SourceClass]]:
    """Return groups with at most one class of each dataset, in the order of their first."""
    group_of = {item.key: [item] for item in classes}
    for pair in pairs:
        one, two = group_of[pair.first.key], group_of[pair.second.key]
        if one is not two and not {m.dataset for m in one} & {m.dataset for m in two}:
            one += two
            for item in two:
                group_of[item.key] = one
    order = {item.key: place for place, item in enumerate(classes)}
    groups = {id(group): sorted(group, key=lambda m: order[m.key]) for group in group_of.values()}
    return sorted(groups.values(), key=lambda group: order[group[0].key])


def unified_names(groups: Sequence[Sequence[SourceClass]]) -> dict[tuple[str, str], str]:
    """Return a name for the class of each source class, unique also as a slug."""
    slugs = Counter(slug_of(group[0].name) for group in groups)
    used: set[str] = set()
    names = {}
    for group in groups:
        first = group[0]
        name = " ".join(first.name.split())
        if first.dataset != BASE and (slugs[slug_of(name)] > 1 or name.lower() == IGNORE):
            name = f"{name} ({first.dataset})"
        if slug_of(name) in used or not slug_of(name):
            name = f"{name} {first.source_id}".strip()
        used.add(slug_of(name))
        names.update({item.key: name for item in group})
    return names


def _is_taken(pair: Pair, names: Mapping[tuple[str, str], str]) -> Pair:
    return replace(pair, taken=names[pair.first.key] == names[pair.second.key])


def _with_ancestors(
    classes: Sequence[SourceClass], tree: ClassTree
) -> dict[tuple[str, str], SourceClass]:
    """Complete the classes of datasets without a tree by what the tree says of their names."""
    have_tree = {item.dataset for item in classes if item.ancestors} | {BASE}
    nodes = _nodes(classes, tree)
    by_node = {(item.dataset, nodes[item.key]): item for item in classes if item.key in nodes}
    done = {}
    for item in classes:
        if item.dataset not in have_tree:
            above = tree.ancestors.get(nodes.get(item.key, ""), ())
            found = (by_node.get((item.dataset, node)) for node in above)
            item = replace(item, ancestors=tuple(other.source_id for other in found if other))  # noqa: PLW2901 - completed
        done[item.key] = item
    return done


def _nodes(classes: Sequence[SourceClass], tree: ClassTree) -> dict[tuple[str, str], str]:
    """Return the node of each class whose name leads to exactly one."""
    by_form: dict[str, list[tuple[str, Mapping[str, Form]]]] = defaultdict(list)
    for node, name in tree.names.items():
        forms = forms_of(name)
        for text in forms:
            by_form[text].append((node, forms))
    found = {}
    for item in classes:
        if item.source_id in tree.names:
            found[item.key] = item.source_id
            continue
        forms = forms_of(item.name)
        near = {node: best_shared(forms, other) for text in forms for node, other in by_form[text]}
        sure = [node for node, match in near.items() if match and match.confidence >= SURE_NODE]
        if len(sure) == 1:
            found[item.key] = sure[0]
    return found


def _kinds(
    completed: Mapping[tuple[str, str], SourceClass],
    names: Mapping[tuple[str, str], str],
    tree: ClassTree,
    own_trees: Set[str],
) -> Iterator[Pair]:
    """Yield which unified class is a kind of which, once each."""
    first_of: dict[str, SourceClass] = {}
    for key, item in completed.items():
        first_of.setdefault(names[key], item)
    seen: set[tuple[str, str]] = set()
    for child, parent, reason, confidence in _relations(completed, names, tree, own_trees):
        if child != parent and (child, parent) not in seen:
            seen.add((child, parent))
            yield Pair("kind of", first_of[child], first_of[parent], confidence, reason)


def _relations(
    completed: Mapping[tuple[str, str], SourceClass],
    names: Mapping[tuple[str, str], str],
    tree: ClassTree,
    own_trees: Set[str],
) -> Iterator[tuple[str, str, str, float]]:
    """Yield child name, parent name, reason and confidence, the surest relations first."""
    for key, item in completed.items():
        for above in item.ancestors if item.dataset in own_trees else ():
            if (item.dataset, above) in names:
                yield names[key], names[item.dataset, above], f"class tree of {item.dataset}", 1.0
    yield from _by_tree(list(completed.values()), names, tree)
    by_words = {words_of(name): name for name in names.values()}
    for words, name in by_words.items():
        parents = (by_words.get(words[start:]) for start in range(1, len(words)))
        yield from ((name, p, "last words of its name", BY_LAST_WORDS) for p in parents if p)


def _by_tree(
    classes: Sequence[SourceClass], names: Mapping[tuple[str, str], str], tree: ClassTree
) -> Iterator[tuple[str, str, str, float]]:
    nodes = _nodes(classes, tree)
    at_node: dict[str, set[str]] = defaultdict(set)
    for key, node in nodes.items():
        at_node[node].add(names[key])
    for key, node in nodes.items():
        for above in tree.ancestors.get(node, ()):
            for parent in sorted(at_node[above]):
                yield names[key], parent, "class tree of Open Images", BY_TREE


def _reasons(pairs: Sequence[Pair]) -> dict[tuple[str, str], tuple[float | None, str]]:
    """Return for each class its best join, or the best that was not taken."""
    why: dict[tuple[str, str], tuple[float | None, str]] = {}
    for taken in (True, False):
        for pair in pairs:
            if pair.kind == "same" and pair.taken == taken:
                for item, other in ((pair.first, pair.second), (pair.second, pair.first)):
                    said = f"{'as' if taken else 'perhaps as'} {other}: {pair.reason}"
                    why.setdefault(item.key, (pair.confidence if taken else None, said))
    return why
