"""`damo-yolo export`: engines that provably agree with the trained model."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from damo_yolo.cli.console import AsJson, console, show

if TYPE_CHECKING:
    from damo_yolo.artifacts import Artifact
    from damo_yolo.export.judge import ExportConfig


class Target(StrEnum):
    """What runs the artifact."""

    ONNX = "onnx"
    OPENVINO = "openvino"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"


class Precision(StrEnum):
    """What it computes in."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


def export(
    model: Annotated[str, typer.Argument(help="Model folder that `train` wrote.")],
    out: Annotated[str, typer.Option(help="Folder for the artifacts.")],
    shards: Annotated[str | None, typer.Option(help="Shards: INT8 ranges, parity, AP.")] = None,
    plan: Annotated[str | None, typer.Option(help="Sample plan: which images calibrate.")] = None,
    to: Annotated[
        list[Target] | None, typer.Option(help="Runtime; may be repeated. Default: all.")
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="Default: ONNX fp32, others fp16.")
    ] = None,
    preprocess: Annotated[
        bool, typer.Option("--preprocess", help="Resize and colour order inside the graph.")
    ] = False,
    nms: Annotated[bool, typer.Option("--nms", help="Suppression inside the graph.")] = False,
    dynamic_batch: Annotated[
        bool, typer.Option("--dynamic-batch", help="Any number of images at once.")
    ] = False,
    max_ap_drop: Annotated[
        float,
        typer.Option(help="AP that INT8 may lose before layers go back to floating point.", min=0),
    ] = 0.015,
    capability: Annotated[
        list[str] | None, typer.Option(help="GPU generation of an RTX engine: SM86. Repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Export a detector to ONNX, OpenVINO and TensorRT, and measure each against torch."""
    from damo_yolo.errors import DamoYoloError
    from damo_yolo.stages.export import export_detector

    graph = {"preprocess": preprocess, "nms": nms, "dynamic_batch": dynamic_batch}
    result = export_detector(
        model_uri=model,
        shards_uri=shards,
        plan_uri=plan,
        out_uri=out,
        formats=_formats(to, precision, with_images=shards is not None),
        config=_config(graph, max_ap_drop, capability),
    )
    if not as_json:
        for artifact in result.artifacts:
            console.print(_line(artifact), markup=False)
        for row in result.sensitivity[:10]:
            console.print(
                f"  int8 of {row.layer}: scores move by {row.score_change:.4f}, boxes by"
                f" {row.box_change_px:.2f} px",
                markup=False,
            )
    built = [artifact for artifact in result.artifacts[1:] if artifact.uri]
    show(result, f"{len(built)} of {len(result.artifacts) - 1} forms -> {out}", as_json=as_json)
    if not built:
        raise DamoYoloError(
            "none of the forms asked for could be built",
            fix="the lines above say why; `--to onnx` needs nothing else",
        )


def _formats(
    to: list[Target] | None, precision: Precision | None, *, with_images: bool
) -> tuple[str, ...]:
    from damo_yolo.export.forms import FORMATS, FORMS

    if to is None and precision is None:
        return tuple(name for name in FORMATS if with_images or FORMS[name][1] != "int8")
    names = []
    for target in to or list(Target):
        value = precision or (Precision.FP32 if target is Target.ONNX else Precision.FP16)
        name = f"{target}-{value}"
        names.append("onnx" if name == "onnx-fp32" else name)
    return tuple(names)


def _config(
    graph: dict[str, bool], max_ap_drop: float, capability: list[str] | None
) -> "ExportConfig":
    from damo_yolo.export.accuracy import AccuracyConfig
    from damo_yolo.export.forms import FormConfig
    from damo_yolo.export.judge import ExportConfig
    from damo_yolo.export.onnx import GraphConfig

    form = FormConfig(graph=GraphConfig(**graph))
    if capability:
        form = form.model_copy(update={"capabilities": tuple(capability)})
    return ExportConfig(form=form, accuracy=AccuracyConfig(max_ap_drop=max_ap_drop))


def _line(artifact: "Artifact") -> str:
    """Return what an artifact is and what was measured of it."""
    name = f"{artifact.kind} {artifact.precision}"
    if not artifact.attested or "ap_drop" not in artifact.metrics:
        return f"{name}: {artifact.note or artifact.uri}"
    figures = artifact.metrics
    line = f"{name}: AP {figures['ap']:.4f}, drop {figures['ap_drop']:+.4f}"
    line += f", {figures['latency_p50_ms']:.1f} ms"
    return f"{line} ({artifact.note})" if artifact.note else line
