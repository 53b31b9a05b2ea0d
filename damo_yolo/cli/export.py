"""`damo-yolo export`: engines that provably agree with the trained model."""

from typing import Annotated

import typer

from damo_yolo.cli.console import AsJson, console, show


def export(
    model: Annotated[str, typer.Argument(help="Model folder that `train` wrote.")],
    shards: Annotated[str, typer.Option(help="Shards: INT8 calibration and parity.")],
    plan: Annotated[str, typer.Option(help="Sample plan: which images calibrate.")],
    out: Annotated[str, typer.Option(help="Folder for the artifacts.")],
    as_json: AsJson = False,
) -> None:
    """Export a detector to ONNX, OpenVINO and TensorRT, and measure each against torch."""
    from damo_yolo.stages.export import export_detector

    result = export_detector(model_uri=model, shards_uri=shards, plan_uri=plan, out_uri=out)
    if not as_json:
        for artifact in result.artifacts:
            drop = artifact.metrics.get("ap_drop")
            state = artifact.note if not artifact.attested else f"AP drop {drop:.4f}"
            console.print(f"{artifact.kind} {artifact.precision}: {state}", markup=False)
    show(result, f"{len(result.artifacts)} artifacts -> {out}", as_json=as_json)
