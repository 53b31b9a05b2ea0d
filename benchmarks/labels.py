"""Label spaces at the size of COCO, Objects365 and OpenImages: proposals, costs, integer program.

Proposals are compared with the published space. Costs and detections are synthetic: a detector
whose outputs find their own objects, and, for the groups of the published space and for random
others, those of another dataset's class too (there less often and less sure).
"""

import json
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

import numpy as np
import scipy
from numpy.typing import NDArray

from damo_yolo.labels.classes import SourceClass, read_class_list
from damo_yolo.labels.learned import Group, LearnConfig, choose_groups
from damo_yolo.labels.mapping import LabelMapping
from damo_yolo.labels.merge_cost import Found, Objects, Validation, candidate_groups
from damo_yolo.labels.propose import propose
from damo_yolo.labels.space import LabelSpace

LISTS = ("coco", "objects365_v1", "openimages_500")
BARS = (1.0, 0.9, 0.75, 0.5)
IMAGES = 2000
OBJECTS_AN_IMAGE = 8
RANDOM_CONFUSIONS = 4000
PAIRS, TRIPLES = 20_000, 10_000

Key = tuple[str, str]


def main() -> None:
    """Print the figures and write them to benchmarks/results/labels.json."""
    listed = [item for name in LISTS for item in read_class_list(name, name)]
    truth = published(listed)
    names = compare(listed, truth)
    program = solve_synthetic(listed)
    learned = learn_synthetic(listed, truth)
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {platform.python_version()}, scipy {scipy.__version__}",
        "proposals": names,
        "integer_program": program,
        "from_detections": learned,
    }
    path = Path(__file__).parent / "results/labels.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    json.dump(result, sys.stdout, indent=1)


def published(listed: list[SourceClass]) -> dict[int, list[Key]]:
    """Return the source classes of each of the 701."""
    space = LabelSpace.load("unified_701")
    tables = {name: LabelMapping.load(name, space) for name in LISTS}
    groups: dict[int, list[Key]] = defaultdict(list)
    for item in listed:
        place = tables[item.dataset].unified_id(item.source_id)
        assert place is not None
        groups[place].append(item.key)
    return groups


def joins(groups: Iterable[list[Key]]) -> set[frozenset[Key]]:
    return {frozenset(pair) for group in groups for pair in combinations(group, 2)}


def compare(listed: list[SourceClass], truth: dict[int, list[Key]]) -> list[dict[str, float]]:
    """Return precision and recall of joined pairs by name, for some bars."""
    right = joins(truth.values())
    rows = []
    for bar in BARS:
        start = time.process_time()
        proposal = propose(listed, min_confidence=bar)
        seconds = time.process_time() - start
        groups: dict[str, list[Key]] = defaultdict(list)
        for row in proposal.rows:
            groups[row.unified_name].append(row.source.key)
        found = joins(groups.values())
        rows.append(
            {
                "min_confidence": bar,
                "classes": len(groups),
                "joins": len(found),
                "precision": round(len(found & right) / len(found), 3),
                "recall": round(len(found & right) / len(right), 3),
                "cpu_s": round(seconds, 1),
            }
        )
    return rows


def solve_synthetic(listed: list[SourceClass]) -> dict[str, float]:
    """Time the integer program alone, on random pairs and triples of three datasets."""
    generator = np.random.default_rng(0)
    datasets = [item.dataset for item in listed]
    places = {name: np.flatnonzero(np.array(datasets) == name) for name in LISTS}
    seen: dict[tuple[int, ...], Group] = {}
    for size, count, limit in ((2, PAIRS, 0.05), (3, TRIPLES, 0.2)):
        for _ in range(count):
            chosen = generator.choice(LISTS, size, replace=False)
            members = tuple(sorted(int(generator.choice(places[name])) for name in chosen))
            seen[members] = Group(members, float(generator.uniform(-0.02, limit)))
    start, cpu = time.perf_counter(), time.process_time()
    picked = choose_groups(datasets, list(seen.values()), reward=0.5)
    return {
        "candidates": len(seen),
        "picked": len(picked),
        "wall_s": round(time.perf_counter() - start, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
    }


def learn_synthetic(listed: list[SourceClass], truth: dict[int, list[Key]]) -> dict[str, float]:
    """Time costs and program from synthetic detections; tell how much of the space comes back."""
    generator = np.random.default_rng(1)
    datasets = [item.dataset for item in listed]
    place = {item.key: number for number, item in enumerate(listed)}
    partners: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for group in truth.values():
        for one, two in combinations((place[key] for key in group), 2):
            partners[one].append((two, 0.95))
            partners[two].append((one, 0.95))
    for _ in range(RANDOM_CONFUSIONS):
        one, two = (int(value) for value in generator.integers(0, len(listed), 2))
        if datasets[one] != datasets[two]:
            partners[one].append((two, float(generator.uniform(0.05, 0.5))))
    validations = {name: _validation(name, datasets, partners, generator) for name in LISTS}
    config = LearnConfig()
    start = time.process_time()
    groups = candidate_groups(datasets, validations, config)
    costed = time.process_time()
    picked = choose_groups(datasets, groups, reward=config.reward)
    solved = time.process_time()
    back = joins([[listed[m].key for m in group.members] for group in picked])
    right = joins(truth.values())
    return {
        "images": IMAGES * len(LISTS),
        "detections": sum(len(f.scores) for v in validations.values() for f in v.found.values()),
        "candidates": len(groups),
        "picked": len(picked),
        "costs_cpu_s": round(costed - start, 1),
        "program_cpu_s": round(solved - costed, 2),
        "joins_precision": round(len(back & right) / max(1, len(back)), 3),
        "joins_recall": round(len(back & right) / len(right), 3),
    }


def _validation(
    name: str,
    datasets: list[str],
    partners: dict[int, list[tuple[int, float]]],
    generator: np.random.Generator,
) -> Validation:
    """Return images with random objects, found by their own output and by their partners'."""
    own = np.flatnonzero(np.array(datasets) == name)
    count = IMAGES * OBJECTS_AN_IMAGE
    labels = np.concatenate([own, generator.choice(own, count - len(own))])
    images = generator.integers(0, IMAGES, count)
    boxes = generator.uniform(20, 200, (count, 4))
    boxes[:, :2] *= 3
    seen = boxes + generator.normal(0, 3, (count, 4))  # one box for all outputs, as detectors have
    found: dict[int, list[tuple[NDArray[np.int64], NDArray[np.float64], float]]] = defaultdict(list)
    objects = {}
    for label in own.tolist():
        rows = np.flatnonzero(labels == label)
        objects[label] = Objects(images[rows], boxes[rows], np.zeros(len(rows), bool))
        for output, share in [(label, 0.9), *partners[label]]:
            hit = rows[generator.random(len(rows)) < share]
            found[output].append((images[hit], seen[hit], share))
    return Validation(objects, {label: _found(parts, generator) for label, parts in found.items()})


def _found(
    parts: list[tuple[NDArray[np.int64], NDArray[np.float64], float]],
    generator: np.random.Generator,
) -> Found:
    images = np.concatenate([part for part, _, _ in parts])
    boxes = np.concatenate([part for _, part, _ in parts])
    top = np.repeat([share for _, _, share in parts], [len(part) for part, _, _ in parts])
    return Found(images, boxes, generator.uniform(0.1, 1, len(images)) * top)


if __name__ == "__main__":
    main()
