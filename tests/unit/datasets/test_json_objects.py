"""Objects of a large JSON file: found whatever the size of the blocks, broken files named."""

import json
from pathlib import Path
from typing import Any

import pytest

from damo_yolo.datasets.json_objects import JsonObjects
from damo_yolo.errors import DataError

DOCUMENT: dict[str, Any] = {
    "info": {"versions": [1, {"note": "]}"}], "quoted": 'x\\"}'},
    "licenses": [{"id": 1}],
    "images": [
        {"id": n, "file_name": f'a"{{{n}}}.jpg', "more": {"deep": [{"y": 1}]}} for n in range(9)
    ],
    "empty": [],
    "numbers": [1, 2, 3],
    "annotations": [{"id": n, "bbox": [1, 2, 3, 4], "caption": "é,}{"} for n in range(40)],
}
OBJECT_ARRAYS = ("licenses", "images", "annotations")


def whole(file: JsonObjects) -> dict[str, list[Any]]:
    """Return the objects of each array, after reading the rest too."""
    found: dict[str, list[Any]] = {}
    for chunk in file.chunks():
        found.setdefault(chunk.name, []).extend(map(json.loads, chunk.texts.to_pylist()))
    file.rest()
    return found


@pytest.mark.parametrize("block_bytes", [7, 33, 64, 200, 1 << 20])
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_every_object_is_found_wherever_blocks_end(
    tmp_path: Path, block_bytes: int, indent: int | None, *, ascii_only: bool
) -> None:
    path = tmp_path / "a.json"
    text = json.dumps(DOCUMENT, indent=indent, ensure_ascii=ascii_only)
    path.write_text(text, encoding="utf-8-sig")
    file = JsonObjects(path, "it", block_bytes=block_bytes)

    assert whole(file) == {name: DOCUMENT[name] for name in OBJECT_ARRAYS}
    assert file.rest() == {**DOCUMENT, **{name: [] for name in OBJECT_ARRAYS}}


@pytest.mark.parametrize("block_bytes", [5, 1000])
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"images": [\n{"id": 1,', "at line 2, column 10 (byte 22 of 22)"),
        ('{"a": [{"x": 1}, {"x": 2', "at line 1, column 25 (byte 24 of 24)"),
        ('{"a": [{"x": 1}{"x": 2}]}', "Expecting one ',' between objects at line 1, column 16"),
        ('{"a": [{"x": 1},,{"x": 2}]}', "Expecting one ',' between objects at line 1, column 16"),
        ('{"a": [{"x": 1},]}', "at line 1, column 16 (byte 15 of 18)"),
        ('{"a": [{"x": 1}],\n "b": tru}', "at line 2, column 7 (byte 24 of 28)"),
        ("[1]", "holds a list, not an object"),
        ("<html>", "Expecting value at line 1, column 1"),
        ("", "is empty"),
        (" \n", "is empty"),
    ],
)
def test_where_a_file_is_broken_is_named(
    tmp_path: Path, text: str, problem: str, block_bytes: int
) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)

    with pytest.raises(DataError) as caught:
        whole(JsonObjects(path, "it", block_bytes=block_bytes))

    assert problem in caught.value.problem
    assert caught.value.problem.startswith("it ")


def test_an_object_that_is_broken_inside_is_found_by_its_place_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [{"x": 1},\n{"x": oops}]}')
    file = JsonObjects(path, "it")
    (chunk,) = file.chunks()

    assert "at line 2, column 7 (byte 23 of 30)" in file.broken_text(chunk).problem
