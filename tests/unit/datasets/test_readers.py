"""What happens to every image alike: cleaning of boxes, dropped classes, unmapped classes."""

from pathlib import Path
from typing import Any

import pytest

from damo_yolo.datasets.source import Findings
from damo_yolo.errors import DataError
from tests.unit.datasets.tiny import annotation, pets, read


@pytest.mark.parametrize(
    ("bbox", "kind"),
    [
        ([10, 10, 0, 5], "degenerate boxes"),
        ([10, 10, 5, -5], "degenerate boxes"),
        ([10, 10, 5, float("nan")], "degenerate boxes"),
        ([10, 10, 5, float("inf")], "degenerate boxes"),
        ([64, 10, 5, 5], "boxes outside the image"),
        ([-9, 10, 5, 5], "boxes outside the image"),
    ],
)
def test_a_box_that_shows_nothing_is_dropped_and_counted(
    tmp_path: Path, bbox: Any, kind: str
) -> None:
    findings = Findings()
    good = annotation(0, 7, [1, 1, 5, 5])
    (record,) = read(pets(tmp_path, [annotation(0, 0, bbox), good]), findings)

    assert record.boxes.tolist() == [[1, 1, 6, 6]]
    assert record.class_ids.tolist() == [0]
    assert findings.counts == {kind: 1}
    assert findings.first == {kind: "pets/a"}


def test_a_box_that_reaches_out_of_the_image_is_clipped_and_counted(tmp_path: Path) -> None:
    findings = Findings()
    (record,) = read(pets(tmp_path, [annotation(0, 7, [-5, 40, 20, 20])]), findings)

    assert record.boxes.tolist() == [[0, 40, 15, 48]]
    assert findings.counts == {"boxes clipped to the image": 1}


def test_a_box_out_by_less_than_a_pixel_is_clipped_without_a_word(tmp_path: Path) -> None:
    findings = Findings()
    (record,) = read(pets(tmp_path, [annotation(0, 7, [0, 0, 64.5, 48.5])]), findings)

    assert record.boxes.tolist() == [[0, 0, 64, 48]]
    assert findings.counts == {}


def test_of_exact_duplicates_one_is_kept(tmp_path: Path) -> None:
    findings = Findings()
    dog, cat = annotation(0, 7, [1, 1, 5, 5]), annotation(0, 0, [1, 1, 5, 5])
    (record,) = read(pets(tmp_path, [dog, cat, dog, dog]), findings)

    assert record.class_ids.tolist() == [0, 1]
    assert findings.counts == {"exact duplicate boxes": 2}


def test_an_ignored_class_is_dropped_and_still_leaves_its_likes_unknown(tmp_path: Path) -> None:
    catalog = pets(tmp_path, [annotation(0, 7, [1, 1, 5, 5]), annotation(0, 0, [2, 2, 5, 5])])
    (tmp_path / "map.csv").write_text(
        "source_id,source_name,unified_id,also_unknown\n0,cat,1,\n7,dog,ignore,0;2\n"
    )
    (record,) = read(catalog)

    assert record.class_ids.tolist() == [1]
    assert record.source_ids == ("0",)
    assert record.unknown_ids.tolist() == [0, 2]


def test_an_unmapped_class_is_an_error_even_where_no_box_has_it(tmp_path: Path) -> None:
    catalog = pets(tmp_path, [])
    (tmp_path / "map.csv").write_text("source_id,source_name,unified_id\n0,cat,1\n")

    with pytest.raises(DataError) as caught:
        read(catalog)

    assert caught.value.problem == (
        "dataset 'pets': 1 class is not in the label mapping, first: dog (7)"
    )
    assert caught.value.fix == f"add each to {tmp_path}/map.csv, with 'ignore' to drop it"
