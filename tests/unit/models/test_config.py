import json
from pathlib import Path
from typing import Any

import pytest

from damo_yolo.errors import ConfigError
from damo_yolo.models.config import BackboneConfig, DetectorConfig, load_structure
from damo_yolo.models.zoo import MODEL_NAMES, detector_config


@pytest.mark.parametrize(
    ("size", "widths"),
    [
        ("t", (96, 192, 384)),
        ("s", (128, 256, 512)),
        ("m", (128, 256, 512)),
        ("l", (128, 256, 512)),
        ("ns", (40, 80, 160)),
        ("nm", (64, 128, 256)),
        ("nl", (80, 160, 320)),
    ],
)
def test_structures_end_in_the_widths_the_neck_expects(
    size: str, widths: tuple[int, int, int]
) -> None:
    assert load_structure(size).out_channels == widths


def test_a_level_is_the_last_row_of_its_stride() -> None:
    assert load_structure("t").level_rows == (1, 3, 4)  # strides 4, 8, 16, 16, 32


def test_a_structure_file_of_a_search_is_read(tmp_path: Path) -> None:
    structure = load_structure("nm")
    file = tmp_path / "found.json"
    file.write_text(structure.model_dump_json())

    assert load_structure(str(file)) == structure


@pytest.mark.parametrize("text", ["{", "[1]", '{"family": "res"}'])
def test_a_broken_structure_file_is_a_config_error_naming_it(text: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.json"
    file.write_text(text)

    with pytest.raises(ConfigError, match=r"broken\.json"):
        load_structure(str(file))


@pytest.mark.parametrize(
    ("size", "row", "change", "complaint"),
    [
        ("t", 3, {"stride": 2}, "must have stride 2"),
        ("t", 0, {"stride": 1}, "must have stride 2"),
        ("t", 1, {"bottleneck": None}, "needs a bottleneck"),
        ("m", 3, {"out_channels": 128}, "keeps the width"),
        ("m", 0, {"out_channels": 127}, "even number"),
    ],
)
def test_rows_that_do_not_fit_the_family_are_refused(
    size: str, row: int, change: dict[str, Any], complaint: str
) -> None:
    values = load_structure(size).model_dump()
    values["rows"][row].update(change)

    with pytest.raises(ConfigError, match=complaint):
        BackboneConfig.from_mapping(values)


def test_the_res_family_needs_its_focus_stem() -> None:
    values = load_structure("t").model_dump() | {"stem": "conv"}

    with pytest.raises(ConfigError, match="focus"):
        BackboneConfig.from_mapping(values)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_config_survives_json_and_yaml(name: str) -> None:
    config = detector_config(name)

    plain = json.loads(json.dumps(config.model_dump(mode="json")))
    assert DetectorConfig.from_mapping(plain) == config
    assert DetectorConfig.from_yaml(config.to_yaml()) == config
