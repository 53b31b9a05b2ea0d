"""`damo-yolo report`: one HTML page of a run."""

from typing import Annotated

import typer

from damo_yolo.cli.console import AsJson, show


def report(
    out: Annotated[str, typer.Option(help="Folder or s3:// prefix below which the report goes.")],
    run: Annotated[
        str, typer.Option(help="locations.json of an earlier report; --at goes before it.")
    ] = "",
    at: Annotated[
        list[str] | None,
        typer.Option(
            "--at",
            metavar="NAME=LOCATION",
            help="Output of a stage: records, plan, shards, tuning, teacher, student, twin,"
            " teacher_evaluation, student_evaluation, twin_evaluation, export, version, promotion.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one self-contained HTML page of whatever stages ran."""
    from damo_yolo import storage
    from damo_yolo.config import parse_override
    from damo_yolo.reporting.gather import RunLocations
    from damo_yolo.stages.report import write_report

    locations = RunLocations()
    if run:
        locations = RunLocations.from_yaml(storage.read_text(run), source=run)
    pairs = [parse_override(text) for text in at or ()]
    locations = locations.with_overrides([f"{name}_uri={uri}" for name, uri in pairs])
    result = write_report(locations, out)
    show(result, f"report -> {result.report_uri}", as_json=as_json)
