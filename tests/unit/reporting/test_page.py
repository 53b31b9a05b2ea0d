"""The page shows what it was given and stands alone; the charts are inline pictures."""

import base64
import re
from io import BytesIO, StringIO
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from damo_yolo.reporting import figures
from damo_yolo.reporting.page import Card, Chart, Page, Photo, Section, Table, number, render_page
from damo_yolo.reporting.summary import DatasetRow, GateRow, ModelRow, Summary, TwinRow
from damo_yolo.reporting.terminal import print_summary


def make_summary(*, student_ap: float = 0.5, twin_ap: float = 0.4, failed: bool = False) -> Summary:
    return Summary(
        num_classes=25,
        space_size=701,
        datasets=(
            DatasetRow(
                name="<coco>",
                train_images=64,
                train_boxes=136,
                num_classes=11,
                share_before=0.077,
                share_after=0.17,
            ),
        ),
        models=(
            ModelRow(
                name="student damo-yolo-ns", ap=student_ap, ap50=0.7, ap_by_source={"coco": 0.3}
            ),
            ModelRow(name="twin damo-yolo-ns", ap=twin_ap, ap50=0.6),
            ModelRow(name="tensorrt fp16", ap=None, ap50=None, note="not attested: no GPU"),
        ),
        twin=TwinRow(difference=0.1, low=0.04, high=0.16, confidence=0.95, verdict="better"),
        registered_model="general-class",
        version=3,
        alias="challenger" if failed else "champion",
        gates=(
            GateRow(
                name="ap50 floor", status="failed" if failed else "passed", value=0.7, limit=0.3
            ),
            GateRow(name="parity tensorrt fp16", status="not attested"),
        ),
        tracking_uri="sqlite:///mlflow.db",
        report_uri="report.html",
        headline="full",
    )


def test_the_page_stands_alone_and_escapes_names() -> None:
    chart = Chart(figures.before_after({"<coco>": (0.1, 0.3), "b": (0.9, 0.7)}), "shares of <coco>")
    photo = Photo(figures.jpeg_uri(np.zeros((4, 4, 3), np.uint8)), "a <photo>")
    section = Section(
        "Data & balance",
        lead="<b>bold</b>",
        charts=[chart],
        tables=[Table(("name", "status"), [("<coco>", "passed"), ("b", "failed")])],
        photos=[photo],
    )
    cards = [Card("Is it good?", "<yes>", "good", "very")]

    page = render_page(Page("<title>", "sub", cards, [section]))

    for given in ("<coco>", "<yes>", "<b>", "<photo>", "<title>,"):
        assert given not in page
    assert "&lt;coco&gt;" in page
    assert page.count("<svg") == 1
    assert '<span class="word-bad">failed</span>' in page
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "#data---balance" in addresses
    assert 'id="data---balance"' in page
    assert "<script" not in page
    assert "url(" not in page.replace("url(#", "")


def test_a_section_shows_only_what_it_has() -> None:
    page = render_page(Page("t", "s", [], [Section("Empty")]))

    assert page.count("<section") == 1
    assert not re.search("<(figure|table|img)", page)


@pytest.mark.parametrize(("value", "text"), [(0.25, "0.250"), (None, "–"), (-1.0, "–")])  # noqa: RUF001 - a dash for none
def test_a_figure_that_nobody_could_measure_is_a_dash(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    "chart",
    [
        figures.before_after({"a & b": (0.25, 0.75)}),
        figures.class_exposure({"cat": (100.0, 20.0), "dog": (1.0, 5.0)}),
        figures.curves({"teacher": [(1, 3.0), (2, 2.0)], "empty": []}, label="loss"),
        figures.grouped_bars({"full": {"student": 0.4}, "coco": {"twin": 0.3}}, label="AP"),
        figures.ranked_bars({f"class {i}": i / 60 for i in range(60)}, label="AP50"),
        figures.reliability([(0.05, 0.0, 900), (0.9, 0.8, 10)]),
        figures.reliability([]),
        figures.precision_curves({"IoU 0.50": [1.0, 0.8, 0.2]}),
        figures.intervals({"cat": (0.1, 0.05, 0.15), "dog": (-0.1, -0.2, 0.1)}, label="AP"),
    ],
)
def test_charts_are_valid_and_named_svg(chart: str) -> None:
    root = ET.fromstring(chart)

    assert root.tag.endswith("svg")
    assert root.attrib["aria-label"]


def test_the_same_figures_draw_the_same_chart() -> None:
    first, second = (figures.ranked_bars({"a": 0.1, "b": 0.2}, label="AP") for _ in range(2))

    assert first == second


def test_photographs_are_shrunk_and_keep_their_colours() -> None:
    image = np.zeros((100, 400, 3), np.uint8)
    image[..., 0] = 250

    data = figures.jpeg_uri(image, max_width=200).partition(",")[2]

    with Image.open(BytesIO(base64.b64decode(data))) as picture:
        assert picture.size == (200, 50)
        assert np.asarray(picture)[25, 100].tolist() == pytest.approx([250, 0, 0], abs=6)


def test_the_terminal_shows_every_row(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text(make_summary().model_dump_json())
    screen = StringIO()

    print_summary(str(path), Console(file=screen, width=160))

    shown = screen.getvalue()
    assert "25 classes in the 701-class space" in shown
    assert "7.7%" in shown
    assert "17.0%" in shown
    assert "not attested: no GPU" in shown
    assert "general-class v3 as champion" in shown
    assert "AP +0.100 (95% interval +0.040 to +0.160): better" in shown


def test_of_many_classes_the_chart_shows_both_ends() -> None:
    chart = figures.ranked_bars({f"class {i:03d}": i / 701 for i in range(701)}, label="AP50")

    assert "class 700" in chart
    assert "class 000" in chart
    assert "(661 more)" in chart
    assert "class 350" not in chart
