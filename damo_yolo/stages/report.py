"""Write what a person reads at the end: one HTML page, and the figures behind the final table."""

from damo_yolo import storage
from damo_yolo.artifacts import output_uri
from damo_yolo.config import Config
from damo_yolo.reporting.gather import RunFiles, RunLocations, gather_details, summarise
from damo_yolo.reporting.page import render_page
from damo_yolo.reporting.pictures import draw_pictures


class ReportResult(Config):
    """Where the report is."""

    report_uri: str
    summary_uri: str

    def read_page(self) -> bytes:
        """Return the HTML page."""
        return storage.read_bytes(self.report_uri)


def write_report(locations: RunLocations, workspace: str) -> ReportResult:
    """Write `report.html` and `summary.json` of a run.

    Args:
        locations: the output of every stage of the run.
        workspace: folder or prefix below which the report goes.

    Raises:
        StorageError: a stage's output is not there.
    """
    folder = output_uri(workspace, "report", **locations.model_dump())
    report_uri = storage.join(folder, "report.html")
    summary_uri = storage.join(folder, "summary.json")
    files = RunFiles.read(locations)
    summary = summarise(files, report_uri=report_uri)
    page = render_page(summary, draw_pictures(files), gather_details(files))
    storage.write_text(report_uri, page)
    storage.write_text(summary_uri, summary.model_dump_json(indent=2))
    return ReportResult(report_uri=report_uri, summary_uri=summary_uri)
