"""Write what a person reads at the end: one HTML page, and the figures behind the final table."""

from damo_yolo import storage
from damo_yolo.artifacts import output_uri
from damo_yolo.config import Config
from damo_yolo.errors import DataError
from damo_yolo.evaluation.bootstrap import Comparison
from damo_yolo.evaluation.detection_files import DETECTIONS_TABLE
from damo_yolo.reporting.gather import RunFiles, RunLocations
from damo_yolo.reporting.page import Page, render_page
from damo_yolo.reporting.sections import sections_of
from damo_yolo.reporting.summarise import summarise
from damo_yolo.reporting.summary import Summary
from damo_yolo.reporting.verdict import cards_of
from damo_yolo.stages.compare import compare_models

PAGE_FILE = "report.html"
SUMMARY_FILE = "summary.json"
LOCATIONS_FILE = "locations.json"


class ReportResult(Config):
    """Where the report is."""

    report_uri: str
    summary_uri: str

    def read_page(self) -> bytes:
        """Return the HTML page."""
        return storage.read_bytes(self.report_uri)


def write_report(locations: RunLocations, workspace: str) -> ReportResult:
    """Write `report.html`, `summary.json` and `locations.json` of a run.

    Args:
        locations: the output of every stage that ran; the report shows what is there.
        workspace: folder or prefix below which the report goes.

    Raises:
        DataError: no stage ran.
        StorageError: a stage's output is not there.
    """
    given = locations.model_dump()
    if not any(given.values()):
        raise DataError("there is nothing to report", fix="name the output of at least one stage")
    folder = output_uri(workspace, "report", **given)
    report_uri = storage.join(folder, PAGE_FILE)
    summary_uri = storage.join(folder, SUMMARY_FILE)
    files = RunFiles.read(locations, _against_twin(locations, folder))
    summary = summarise(files, report_uri=report_uri)
    page = Page(
        title=_title(summary),
        subtitle=_subtitle(summary),
        cards=cards_of(summary, files),
        sections=sections_of(files),
    )
    storage.write_text(report_uri, render_page(page))
    storage.write_text(storage.join(folder, LOCATIONS_FILE), locations.model_dump_json(indent=2))
    storage.write_text(summary_uri, summary.model_dump_json(indent=2))
    return ReportResult(report_uri=report_uri, summary_uri=summary_uri)


def _against_twin(locations: RunLocations, folder: str) -> Comparison | None:
    student, twin = locations.student_evaluation_uri, locations.twin_evaluation_uri
    if not (student and twin and locations.shards_uri):
        return None
    if not all(storage.exists(storage.join(uri, DETECTIONS_TABLE)) for uri in (student, twin)):
        return None  # evaluated by an earlier release
    return compare_models(student, twin, shards_uri=locations.shards_uri, out_uri=folder).headline


def _title(summary: Summary) -> str:
    if summary.version is None:
        return "Report"
    return f"{summary.registered_model} version {summary.version} ({summary.alias})"


def _subtitle(summary: Summary) -> str:
    parts = []
    if summary.datasets:
        parts.append(
            f"{summary.num_classes} classes with training objects, in a space of "
            f"{summary.space_size}; {len(summary.datasets)} training datasets."
        )
    if summary.headline:
        parts.append(f"Figures without another name are of '{summary.headline}'.")
    return " ".join(parts)
