"""Write the report a person reads at the end."""

from kfp import dsl

from components.images import step


@step
def write_report(
    records_uri: str,
    plan_uri: str,
    shards_uri: str,
    tuning_uri: str,
    teacher_uri: str,
    student_uri: str,
    twin_uri: str,
    teacher_evaluation_uri: str,
    student_evaluation_uri: str,
    twin_evaluation_uri: str,
    export_uri: str,
    version_uri: str,
    promotion_uri: str,
    workspace: str,
    page: dsl.Output[dsl.HTML],
) -> str:
    """Write one self-contained HTML page and the summary behind the final table."""
    from pathlib import Path

    from damo_yolo.reporting.gather import RunLocations
    from damo_yolo.stages.report import write_report

    locations = RunLocations(
        records_uri=records_uri,
        plan_uri=plan_uri,
        shards_uri=shards_uri,
        tuning_uri=tuning_uri,
        teacher_uri=teacher_uri,
        student_uri=student_uri,
        twin_uri=twin_uri,
        teacher_evaluation_uri=teacher_evaluation_uri,
        student_evaluation_uri=student_evaluation_uri,
        twin_evaluation_uri=twin_evaluation_uri,
        export_uri=export_uri,
        version_uri=version_uri,
        promotion_uri=promotion_uri,
    )
    result = write_report(locations, workspace)
    Path(page.path).write_bytes(result.read_page())
    return result.summary_uri
