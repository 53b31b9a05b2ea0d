"""`damo-yolo predict`: detections on one image, drawn or listed."""

import json
from pathlib import Path
from typing import Annotated

import typer

from damo_yolo.cli.console import AsJson, console


def predict(
    image: Annotated[str, typer.Argument(help="Image file.")],
    model: Annotated[str, typer.Option(help="Model folder, .onnx file or OpenVINO .xml.")],
    out: Annotated[Path | None, typer.Option(help="Picture with boxes to write.")] = None,
    score: Annotated[float, typer.Option(help="Leave out objects below this score.")] = 0.3,
    as_json: AsJson = False,
) -> None:
    """Detect the objects of an image."""
    import cv2

    from damo_yolo.inference.draw import draw_detections
    from damo_yolo.inference.images import read_image
    from damo_yolo.inference.predictor import Predictor

    pixels = read_image(image)
    found = Predictor.open(model, score_threshold=score)(pixels)
    if as_json:
        print(json.dumps([item.to_json() for item in found], indent=2))
    else:
        for item in found:
            corners = ", ".join(f"{side:.0f}" for side in item.box)
            console.print(f"{item.score:.2f}  {item.name}  ({corners})", markup=False)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(out), draw_detections(pixels, found)[..., ::-1])
        console.print(f"-> {out}", markup=False)
