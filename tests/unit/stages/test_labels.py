"""The label stages: a newcomer's walk with two datasets, reviews, reports, and what is refused."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from damo_yolo.cli.main import app
from damo_yolo.datasets.records import read_records
from damo_yolo.errors import DataError
from damo_yolo.labels.space import LabelSpace
from damo_yolo.stages.labels import (
    LabelReport,
    apply_labels,
    propose_labels,
    report_labels,
    write_html,
)
from damo_yolo.stages.merge import merge_datasets
from tests.unit.datasets.tiny import paint

GUIDE = (Path(__file__).resolve().parents[3] / "docs/labels.md").read_text(encoding="utf-8")
FARM = {1: "cow", 2: "Tractor", 3: "bird", 4: "animal", 5: "mouse "}
ZOO = ("cattle", "birds", "mouse", "tractor", "ostrich")
BOX = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>"


def write_farm(folder: Path) -> None:
    """Write a COCO dataset: a cow, a tractor and two mice in one training image."""
    for split, categories in (("train", (1, 2, 5, 5)), ("val", (3,))):
        paint(folder / "farm" / split / "f.jpg")
        annotations = [
            {"image_id": 1, "category_id": key, "bbox": [2 + 9 * place, 2, 8, 8]}
            for place, key in enumerate(categories)
        ]
        data = {
            "images": [{"id": 1, "file_name": "f.jpg", "width": 64, "height": 48}],
            "annotations": annotations,
            "categories": [{"id": key, "name": name} for key, name in FARM.items()],
        }
        (folder / "farm" / f"{split}.json").write_text(json.dumps(data))


def write_zoo(folder: Path) -> None:
    """Write a VOC dataset: one training image with one object of each class."""
    paint(folder / "zoo" / "z.jpg")
    objects = "".join(f"<object><name>{name}</name>{BOX}</object>" for name in ZOO)
    size = "<size><width>64</width><height>48</height><depth>3</depth></size>"
    (folder / "zoo" / "z.xml").write_text(f"<annotation>{size}{objects}</annotation>")


@pytest.fixture
def catalog(tmp_path: Path) -> str:
    """Return the catalog of the guide, with its two datasets beside it."""
    write_farm(tmp_path)
    write_zoo(tmp_path)
    path = tmp_path / "catalog.yaml"
    path.write_text(GUIDE.partition("```yaml\n")[2].partition("```")[0])
    return str(path)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def edit(review: Path, dataset: str, name: str, unified: str) -> None:
    """Change one line of the review, as a person does in a spreadsheet."""
    with (review / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    [row] = [r for r in rows if (r["dataset"], r["source_name"]) == (dataset, name)]
    row["unified_name"] = unified
    with (review / "classes.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        writer.writeheader()
        writer.writerows(rows)


def names_of(review: Path) -> dict[str, str]:
    with (review / "classes.csv").open(newline="") as file:
        return {
            f"{row['dataset']}/{row['source_name']}": row["unified_name"]
            for row in csv.DictReader(file)
        }


def test_a_newcomer_merges_two_datasets_that_name_things_differently(
    tmp_path: Path, catalog: str
) -> None:
    review, tables = tmp_path / "review", tmp_path / "labels"

    said = run("labels", "propose", catalog, "--out", str(review))

    assert said.partition(" -> ")[0] == "5 of farm, 5 of zoo"
    assert said.rpartition(" -> ")[0] in GUIDE
    listing = GUIDE.partition("```\nunified_name,")[2].partition("```")[0].splitlines()
    assert set(listing[1:]) < set((review / "classes.csv").read_text().splitlines())
    assert names_of(review) == {
        "farm/cow": "cow",
        "zoo/cattle": "cow",
        "farm/Tractor": "Tractor",
        "zoo/tractor": "Tractor",
        "farm/bird": "bird",
        "zoo/birds": "bird",
        "farm/animal": "animal",
        "farm/mouse": "mouse",
        "zoo/mouse": "mouse",
        "zoo/ostrich": "ostrich",
    }

    # The farm's mice are the computer's: a person knows, and drops the ostrich.
    edit(review, "farm", "mouse", "computer mouse")
    edit(review, "zoo", "ostrich", "ignore")
    report = LabelReport.model_validate_json(run("labels", "report", str(review), "--json"))
    run("labels", "apply", str(review), "--out", str(tables))
    merged = json.loads(run("merge", catalog, "--out", str(tmp_path / "records"), "--json"))

    counts = {item.name: (item.boxes, item.images) for item in report.classes}
    assert counts == {
        "cow": (2, 2),
        "Tractor": (2, 2),
        "bird": (1, 1),
        "animal": (0, 0),
        "mouse": (1, 1),
        "computer mouse": (2, 1),
    }
    assert merged["train_boxes_per_class"] == {
        name: boxes for name, (boxes, _) in counts.items() if boxes
    }
    space = LabelSpace.load(str(tables / "label_space.csv"))
    [farm, zoo] = read_records(str(tmp_path / "records/train.parquet"))
    assert [space.names[place] for place in farm.class_ids] == [
        "cow",
        "Tractor",
        "computer mouse",
        "computer mouse",
    ]
    assert [space.names[place] for place in zoo.class_ids] == ["cow", "bird", "mouse", "Tractor"]
    # A cow is an animal too: the farm has that class, and did not draw it.
    assert [space.names[place] for place in farm.unknown_ids] == ["animal"]


def test_the_report_names_each_kind_of_conflict(tmp_path: Path, catalog: str) -> None:
    review = tmp_path / "review"
    propose_labels([catalog], str(review))
    edit(review, "farm", "mouse", "computer mouse")
    edit(review, "zoo", "ostrich", "ignore")
    edit(review, "zoo", "tractor", "bird")
    found = {(item.kind, item.detail) for item in report_labels([str(review)]).conflicts}

    assert (
        "same name in two classes",
        "farm: mouse (5) -> computer mouse; zoo: mouse -> mouse",
    ) in found
    assert ("different names in one class", "farm: cow (1); zoo: cattle") in found
    assert (
        "parent beside child",
        "'animal' is also every cow, bird; zoo know children only",
    ) in found
    assert ("two classes of one dataset in one class", "zoo: tractor; zoo: birds") in found
    assert ("class of one dataset only", "farm: Tractor (2)") in found
    assert ("dropped class", "zoo: ostrich") in found


def test_counts_come_from_merged_records_too_and_the_page_shows_them(
    tmp_path: Path, catalog: str
) -> None:
    review = tmp_path / "review"
    propose_labels([catalog], str(review), count=False)
    apply_labels(str(review), str(tmp_path / "labels"))
    merge_datasets(catalog, str(tmp_path / "records"))
    before = report_labels([str(review)])
    after = report_labels([str(review)], records_uri=str(tmp_path / "records"))
    mapped = report_labels([catalog])
    write_html(after, str(tmp_path / "report.html"))
    page = (tmp_path / "report.html").read_text()

    assert {item.boxes for item in before.classes} == {None}
    counts = {item.name: item.boxes for item in after.classes}
    assert counts == {
        "cow": 2, "Tractor": 2, "bird": 1, "animal": 0, "mouse": 3, "ostrich": 1
    }  # fmt: skip
    assert {item.name: item.boxes for item in mapped.classes} == counts
    assert {item.name: item.images for item in after.classes}["mouse"] == 2
    assert "farm 2, zoo 1" in page
    assert "http" not in page


def test_records_of_other_datasets_count_nothing(tmp_path: Path, catalog: str) -> None:
    propose_labels([catalog], str(tmp_path / "review"))
    apply_labels(str(tmp_path / "review"), str(tmp_path / "labels"))
    merge_datasets(catalog, str(tmp_path / "records"))

    with pytest.raises(DataError, match="holds none of the datasets coco"):
        report_labels(["coco=coco"], records_uri=str(tmp_path / "records"))


def test_nothing_is_overwritten_unasked(tmp_path: Path, catalog: str) -> None:
    review, tables = str(tmp_path / "review"), str(tmp_path / "labels")
    propose_labels([catalog], review)
    first = apply_labels(review, tables)
    edit(tmp_path / "review", "zoo", "ostrich", "big bird")

    with pytest.raises(DataError, match="a review is at"):
        propose_labels([catalog], review)
    with pytest.raises(DataError, match="tables that are there and differ: 1, "):
        apply_labels(review, tables)
    assert LabelSpace.load(first.label_space).sha256 == first.label_space_sha256

    second = apply_labels(review, tables, overwrite=True)
    assert apply_labels(review, tables) == second
    assert second.label_space_sha256 != first.label_space_sha256


def test_a_line_that_a_person_lost_is_named(tmp_path: Path, catalog: str) -> None:
    propose_labels([catalog], str(tmp_path / "review"))
    file = tmp_path / "review/classes.csv"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if "ostrich" not in line))

    with pytest.raises(DataError, match="classes without a line: 1, first: zoo: ostrich"):
        apply_labels(str(tmp_path / "review"), str(tmp_path / "labels"))
    assert not (tmp_path / "labels").exists()


@pytest.mark.parametrize(
    ("unified", "problem"),
    [
        ("", "classes without a unified name: 1, first: zoo: ostrich"),
        ("Cow", "'cow' and 'Cow' differ in case or punctuation only"),
        ("?!", "has no letter or digit"),
    ],
)
def test_a_name_that_cannot_be_is_named(
    tmp_path: Path, catalog: str, unified: str, problem: str
) -> None:
    propose_labels([catalog], str(tmp_path / "review"))
    edit(tmp_path / "review", "zoo", "ostrich", unified)

    with pytest.raises(DataError, match=problem):
        apply_labels(str(tmp_path / "review"), str(tmp_path / "labels"))


def test_ignore_in_any_case_drops_a_class(tmp_path: Path, catalog: str) -> None:
    propose_labels([catalog], str(tmp_path / "review"))
    edit(tmp_path / "review", "zoo", "ostrich", " Ignore")
    result = apply_labels(str(tmp_path / "review"), str(tmp_path / "labels"))

    assert (result.num_unified, result.num_ignored) == (5, 1)
    assert "ostrich,ostrich,ignore," in (tmp_path / "labels/zoo.csv").read_text()


def test_an_extended_space_keeps_its_ids(tmp_path: Path, catalog: str) -> None:
    propose_labels([catalog], str(tmp_path / "review"), onto="unified_701")
    result = apply_labels(str(tmp_path / "review"), str(tmp_path / "labels"))
    base, space = LabelSpace.load("unified_701"), LabelSpace.load(result.label_space)

    assert space.names[:701] == base.names
    assert space.slugs[:701] == base.slugs
    assert space.names[701:] == ("Tractor",)
    assert space.datasets[space.names.index("bird")] == "COCO+Objects365+farm+zoo"


def test_class_lists_with_counts_need_no_data(tmp_path: Path) -> None:
    file = tmp_path / "shop.csv"
    file.write_text("source_id,source_name,boxes,images\ns1,TV set,40,30\ns2,fridge,2,2\n")
    propose_labels(["coco=coco", f"shop={file}"], str(tmp_path / "review"))
    counts = {item.name: item.boxes for item in report_labels([str(tmp_path / "review")]).classes}

    assert counts["tv"] == 40
    assert counts["refrigerator"] == 2
    assert counts["person"] is None


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("nothing.yaml", "no catalog is at nothing.yaml"),
        ("nothing", "'nothing' is neither a catalog nor a class list"),
        ("a=nothing.csv", "class list nothing.csv: no such file"),
        ("a=nothing", "class list nothing is not builtin"),
        ("../a=coco", "'../a' is no name for a dataset"),
    ],
)
def test_a_source_that_is_none_is_named(tmp_path: Path, source: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        propose_labels([source], str(tmp_path / "review"))


def test_two_datasets_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the dataset name 'a' is taken"):
        propose_labels(["a=coco", "a=coco"], str(tmp_path / "review"))


def test_the_701_have_the_conflicts_that_the_facts_tell() -> None:
    report = report_labels(["coco=coco", "objects365=objects365_v1", "openimages=openimages_500"])
    same = {item.classes for item in report.conflicts if item.kind == "same name in two classes"}
    alone = [item for item in report.conflicts if item.kind == "class of one dataset only"]

    assert report.num_unified == 701
    assert ("truck", "truck (Objects365)") in same
    assert any("computer mouse" in classes for classes in same)
    assert len(alone) == 6 + 185 + 321
