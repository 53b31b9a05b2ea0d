"""Post-processing as ONNX operators behind a detector: the boxes of `models.postprocess`.

Written in ONNX's own text form, so the graph can be read here. Operators are standard ones that
ONNX Runtime, OpenVINO and TensorRT know. Outputs have fixed shapes; empty places have score 0 and
label -1. Of equal scores the earlier anchor point goes first, then the earlier class, as outside;
OpenVINO orders equal scores as it likes (its stable TopK takes a second for 300,000 scores).
"""

from typing import Any

from damo_yolo.inference.info import DetectorInfo

MAX_DETECTIONS = 500
"""Kept per image, as published."""

_TEXT = """
<ir_version: {ir}, opset_import: ["" : {opset}]>
suppression (float[{batch},{points},{classes}] all_scores, float[{batch},{points},4] all_boxes)
  => (float[{batch},{kept},4] boxes, float[{batch},{kept}] scores, int64[{batch},{kept}] labels)
<
  int64[1] most = {{{kept}}}, int64 num_classes = {{{classes}}}, int64[1] last = {{2}},
  float[1] overlap = {{{iou}}}, float[1] floor = {{{score}}}, int64[2] flat = {{0, -1}},
  int64[3] point_first = {{0, 2, 1}}, float zero = {{0.0}}, int64 nobody = {{-1}}
> {{
  by_class = Transpose <perm = [0, 2, 1]> (all_scores)
  chosen_by_class = NonMaxSuppression (all_boxes, by_class, most, overlap, floor)
  chosen = Gather <axis = 1> (chosen_by_class, point_first)
  chosen_scores = GatherND (all_scores, chosen)
  shape = Shape (all_scores)
  blank = ConstantOfShape (shape)
  survivors = ScatterND (blank, chosen, chosen_scores)
  survivors_flat = Reshape (survivors, flat)
  scores, places = TopK <axis = 1> (survivors_flat, most)
  points = Div (places, num_classes)
  class_ids = Mod (places, num_classes)
  found = Greater (scores, zero)
  labels = Where (found, class_ids, nobody)
  columns = Unsqueeze (points, last)
  box_places = Concat <axis = 2> (columns, columns, columns, columns)
  boxes = GatherElements <axis = 1> (all_boxes, box_places)
}}
"""


def with_suppression(model: Any, info: DetectorInfo) -> Any:
    """Return an ONNX model whose `scores` and `boxes` have gone through the post-processing.

    Args:
        model: from the exporter, with outputs `scores` (B, A, C) and `boxes` (B, A, 4).
        info: its thresholds go into the graph.

    Returns:
        A model with outputs `boxes` (B, K, 4), `scores` (B, K) descending, and `labels` (B, K).
    """
    import onnx

    outputs = {value.name: value for value in model.graph.output}
    batch, points, classes = outputs["scores"].type.tensor_type.shape.dim
    text = _TEXT.format(
        ir=model.ir_version,
        opset=next(entry.version for entry in model.opset_import if not entry.domain),
        batch=batch.dim_param or batch.dim_value,
        points=points.dim_value,
        classes=classes.dim_value,
        kept=min(MAX_DETECTIONS, points.dim_value * classes.dim_value),
        iou=info.iou_threshold,
        score=info.score_threshold,
    )
    tail = onnx.parser.parse_model(text)
    _rename_outputs(model.graph, {"scores": "all_scores", "boxes": "all_boxes"})
    opsets = list(model.opset_import)
    whole = onnx.compose.merge_models(
        model, tail, io_map=[("all_scores", "all_scores"), ("all_boxes", "all_boxes")]
    )
    del whole.opset_import[:]  # the merging lists the same one twice
    whole.opset_import.extend(opsets)
    return whole


def _rename_outputs(graph: Any, names: dict[str, str]) -> None:
    for node in graph.node:
        for values in (node.input, node.output):
            for index, name in enumerate(values):
                values[index] = names.get(name, name)
    for value in (*graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)
