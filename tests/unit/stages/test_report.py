"""A report of two evaluated models: what is there is shown, and a browser can read it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from damo_yolo.errors import DataError
from damo_yolo.reporting.gather import RunLocations
from damo_yolo.reporting.summary import Summary
from damo_yolo.stages.evaluate import evaluate_model
from damo_yolo.stages.report import write_report
from tests.detector_builders import calibrated_detector, write_model_folder, write_painted_shards

BROKEN_PICTURES = """<script>
addEventListener("load", () => {
  const broken = [...document.images].filter((image) => !image.naturalWidth).length;
  const wide = document.documentElement.scrollWidth > innerWidth;
  document.title = `${broken} of ${document.images.length} broken, too wide: ${wide}`;
});
</script>"""


@pytest.fixture(scope="module")
def locations(tmp_path_factory: pytest.TempPathFactory) -> RunLocations:
    folder = tmp_path_factory.mktemp("run")
    shards, plan = write_painted_shards(folder, train=6, val=10)
    for role, seed in (("student", 0), ("twin", 1)):
        model = write_model_folder(calibrated_detector(seed=seed), folder / role)
        evaluate_model(
            model_uri=model,
            shards_uri=shards,
            plan_uri=plan,
            out_uri=str(folder / f"{role}-evaluation"),
        )
    return RunLocations(
        shards_uri=shards,
        student_evaluation_uri=str(folder / "student-evaluation"),
        twin_evaluation_uri=str(folder / "twin-evaluation"),
    )


@pytest.fixture(scope="module")
def page(locations: RunLocations, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_report(locations, str(tmp_path_factory.mktemp("report"))).report_uri)


def test_sections_without_their_files_are_left_out(page: Path) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", page.read_text("utf-8"))

    assert titles == [
        "Distillation",
        "Evaluation on full",
        "Errors",
        "Sources",
        "Where it came from",
    ]


def test_the_page_is_small_and_stands_alone(page: Path) -> None:
    text = page.read_text("utf-8")

    assert page.stat().st_size < 5_000_000
    addresses = re.findall(r'(?:src|href|xlink:href)="([^"]+)"', text)
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)


def test_the_summary_says_how_student_and_twin_compare(
    locations: RunLocations, tmp_path: Path
) -> None:
    result = write_report(locations, str(tmp_path))

    text = Path(result.summary_uri).read_text("utf-8")
    summary = Summary.model_validate_json(text)
    assert summary.twin is not None
    assert summary.twin.low <= summary.twin.difference <= summary.twin.high
    folder = Path(result.summary_uri).parent
    assert RunLocations.model_validate_json((folder / "locations.json").read_text()) == locations
    assert (folder / "comparison.json").is_file()


def test_nothing_to_report_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to report"):
        write_report(RunLocations(), str(tmp_path))


@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_shows_every_picture_and_no_error(page: Path, tmp_path: Path, width: int) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs the browser chromium")
    copy = tmp_path / "page.html"
    copy.write_text(page.read_text("utf-8") + BROKEN_PICTURES, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900"]
    options += ["--enable-logging=stderr", "--dump-dom", copy.as_uri()]

    done = subprocess.run([chromium, *options], capture_output=True, timeout=120, check=True)

    shown = re.search(r"<title>(.*?)</title>", done.stdout.decode())
    assert shown is not None
    assert re.fullmatch(r"0 of (\d+) broken, too wide: false", shown[1])
    assert not shown[1].startswith("0 of 0 ")
    assert b"CONSOLE" not in done.stderr
