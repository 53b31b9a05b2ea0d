"""`damo-yolo predict`: detections in pictures, folders, videos or a camera, drawn and listed."""

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from damo_yolo.cli.console import AsJson, console

if TYPE_CHECKING:
    from damo_yolo.inference.predictor import NamedDetection
    from damo_yolo.inference.sources import Frame


class Saved(StrEnum):
    """What goes into the output folder."""

    PICTURES = "pictures"
    VIDEO = "video"
    COCO = "coco"
    YOLO = "yolo"
    CSV = "csv"


def predict(
    source: Annotated[str, typer.Argument(help="Image, folder, glob, video, or camera number.")],
    model: Annotated[str, typer.Option(help="Model folder, .onnx, OpenVINO .xml or .engine.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder, or one .jpg, .png, .mp4, .json (COCO), .csv.")
    ] = None,
    save: Annotated[
        list[Saved] | None, typer.Option(help="What goes into the folder; may be repeated.")
    ] = None,
    score: Annotated[
        float, typer.Option(help="Leave out objects below this score.", min=0, max=1)
    ] = 0.3,
    max_frames: Annotated[
        int | None, typer.Option(help="Stop after so many pictures.", min=1)
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads.", min=1)] = None,
    as_json: AsJson = False,
) -> None:
    """Detect objects, draw them and list them."""
    from damo_yolo.stages.predict import PredictConfig, predict_source

    listed: list[dict[str, object]] = []

    def tell(frame: "Frame", found: "Sequence[NamedDetection]") -> None:
        if as_json:
            listed.append({"image": frame.name, "objects": [item.to_json() for item in found]})
            return
        console.print(f"{frame.name}: {len(found)} objects", markup=False)
        for item in found:
            corners = ", ".join(f"{side:.0f}" for side in item.box)
            console.print(f"  {item.score:.2f}  {item.name}  ({corners})", markup=False)

    result = predict_source(
        source=source,
        model_uri=model,
        out=out,
        save=[form.value for form in save or []],
        config=PredictConfig(score_threshold=score, max_frames=max_frames, threads=threads),
        on_frame=tell,
    )
    if as_json:
        print(json.dumps(result.model_dump(mode="json") | {"images": listed}, indent=2))
        return
    for name, problem in result.unreadable.items():
        console.print(f"left out {name}: {problem}", markup=False)
    console.print(
        f"{result.num_images} images, {result.num_objects} objects,"
        f" {result.images_per_s:.1f} images per second",
        markup=False,
    )
    if result.written:
        more = f" and {len(result.written) - 1} more" if len(result.written) > 1 else ""
        console.print(f"-> {result.written[0]}{more}", markup=False)
