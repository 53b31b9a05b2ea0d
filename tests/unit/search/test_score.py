"""Scores and sizes of the published search, and of what the detector builds."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from damo_yolo.errors import ConfigError
from damo_yolo.models.config import load_structure
from damo_yolo.search import score_structure
from damo_yolo.search.network import (
    Network,
    count_layers,
    count_params,
    count_search_flops,
    search_convs,
)
from damo_yolo.search.random_forward import measure_score
from damo_yolo.search.structures import backbone_config, network_of, parse_structure

STEM = {"class": "ConvKXBNRELU", "in": 12, "out": 24, "k": 3, "s": 1, "nbitsA": 8}
TINY = [
    STEM,
    *(
        {"class": "SuperResConvK1KX", "in": i, "out": o, "btn": b, "L": n, "k": 3, "s": s}
        for i, o, b, n, s in (
            (24, 64, 24, 2, 2),
            (64, 96, 64, 2, 2),
            (96, 192, 96, 2, 2),
            (192, 192, 152, 2, 1),
            (192, 384, 192, 1, 2),
        )
    ),
]


@pytest.fixture
def golden(golden_dir: Path) -> dict[str, Any]:
    structures: dict[str, Any] = json.loads((golden_dir / "nas_scores.json").read_text())
    return dict(structures["structures"])


def _parse(entry: dict[str, Any]) -> Network:
    cells = 2 if entry["structure"][0]["in"] == 12 else 1
    return parse_structure(entry["structure"], image_size=entry["image_size"] * cells)


def test_scores_equal_the_published_ones(golden: dict[str, Any]) -> None:
    for entry in golden.values():
        for weights, score in entry["analytic_entropy"].items():
            given = [float(weight) for weight in weights.split("-")]
            found = score_structure(entry["structure"], weights=given)
            assert found == pytest.approx(score["total"], rel=1e-9)


def test_sizes_equal_the_published_ones_exactly(golden: dict[str, Any]) -> None:
    for entry in golden.values():
        network = _parse(entry)
        assert count_params(search_convs(network)) == entry["params"]
        assert count_search_flops(search_convs(network)) == entry["flops"]
        assert count_layers(search_convs(network)) == entry["layers"]


def test_a_random_forward_measures_the_closed_form(golden: dict[str, Any]) -> None:
    for name in ("released_N", "mob_Ns"):
        entry = golden[name]
        side = entry["image_size"] // 2
        measured = measure_score(_parse(entry), repeats=4, image_size=side)
        exact = entry["analytic_entropy_padding_exact"]["at_half_image_size"]
        assert abs(measured.mean - exact) < 4 * max(measured.std, 0.3) / math.sqrt(4)
        assert measured.mean == pytest.approx(score_structure(entry["structure"]), rel=0.006)


def test_one_block_can_be_scored_by_hand() -> None:
    stem = {"class": "ConvKXBNRELU", "in": 3, "out": 8, "k": 3, "s": 1}
    block = {"class": "SuperResK1KX", "in": 8, "out": 16, "btn": 4, "L": 1, "k": 3, "s": 2}

    score = score_structure([stem, block], weights=(1, 10))

    first = 0.5 * math.log(27)
    second = first + 0.5 * math.log(8) + 0.5 * math.log(36)
    assert score == pytest.approx(first + math.log(8) + 10 * (second + math.log(16)))


def test_the_detector_scores_what_it_builds_pyramid_pooling_too() -> None:
    pooling = 0.5 * math.log(384) + 0.5 * math.log(4 * 192)

    difference = score_structure(TINY, network="detector") - score_structure(TINY)

    assert difference == pytest.approx(16 * pooling)


def test_a_csp_detector_is_not_the_network_that_the_search_scored() -> None:
    medium = load_structure("m").model_dump()

    assert score_structure(medium) == pytest.approx(2293.5630844767666)
    assert score_structure(medium, network="detector") == pytest.approx(2448.2302740889)


def test_text_of_the_published_search_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "tiny.txt"
    path.write_text("[" + ",\n ".join(repr(block) for block in TINY) + ",\n]")
    found = tmp_path / "found.json"
    found.write_text(json.dumps({"space_arch": "MasterNet", "best_structures": [TINY]}))

    assert score_structure(path) == score_structure(TINY) == score_structure(str(found))


def test_a_structure_survives_the_way_to_the_detector_and_back() -> None:
    for name in ("t", "s", "m", "ns"):
        config = load_structure(name)
        again = backbone_config(network_of(config, image_size=640))
        assert again.out_channels == config.out_channels
        assert backbone_config(network_of(again, image_size=640)) == again
        assert score_structure(again.model_dump()) == score_structure(config.model_dump())


@pytest.mark.parametrize(
    ("structure", "problem"),
    [
        ([], "no list of a stem"),
        ([STEM, {"class": "SuperResK1KX"}], "without a readable field"),
        ([STEM, TINY[2]], "takes 64 channels"),
        ([STEM, {**TINY[1], "class": "Unknown"}], "no block class"),
        ({"a": 1}, "describes no structure"),
        ([STEM, {**TINY[1], "s": 3}], "out of range"),
        ([STEM, {**TINY[1], "btn": float("nan")}], "without a readable field"),
        ([STEM, 7], "without a readable field"),
    ],
)
def test_a_structure_that_cannot_be_read_is_refused(structure: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        score_structure(structure)


def test_weights_must_match_the_stages() -> None:
    with pytest.raises(ConfigError, match="5 stages, and 4 weights"):
        score_structure(TINY, weights=(0, 0, 1, 16))


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello there")
    with pytest.raises(ConfigError, match="neither JSON nor a list"):
        score_structure(path)
