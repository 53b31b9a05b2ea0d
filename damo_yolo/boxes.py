"""The only box geometry. Boxes are float32, xyxy, in pixels, unless a name says otherwise.

Shapes: `...` any leading dimensions, N and M boxes. The functions take torch tensors and return
torch tensors; those typed `Boxes` take numpy arrays as well and return what they were given.
"""

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

Boxes = TypeVar("Boxes", "Tensor", "NDArray[np.float32]")

UNION_FLOOR = 1e-6
"""Floor of a union or enclosing area, px^2 (facts: damo_yolo.md, sections 5 and 6)."""


def xywh_to_xyxy(boxes: Boxes) -> Boxes:
    """Turn (..., 4) left, top, width, height into corners."""
    corners = boxes + 0
    corners[..., 2:] += boxes[..., :2]
    return corners


def xyxy_to_xywh(boxes: Boxes) -> Boxes:
    """Turn (..., 4) corners into left, top, width, height."""
    sides = boxes + 0
    sides[..., 2:] -= boxes[..., :2]
    return sides


def clip(boxes: Boxes, *, width: float, height: float) -> Boxes:
    """Clip (..., 4) boxes to an image of `width` by `height` pixels."""
    clipped = boxes + 0
    clipped[..., 0::2] = boxes[..., 0::2].clip(0, width)
    clipped[..., 1::2] = boxes[..., 1::2].clip(0, height)
    return clipped


def area(boxes: Boxes) -> Boxes:
    """Return (...,) areas in px^2; a box whose corners are swapped has area 0."""
    sides = (boxes[..., 2:] - boxes[..., :2]).clip(0, None)
    areas: Boxes = sides[..., 0] * sides[..., 1]
    return areas


def pairwise_iou(boxes: "Tensor", others: "Tensor") -> "Tensor":
    """Return (..., N, M) intersection over union of (..., N, 4) with (..., M, 4) boxes.

    One coordinate at a time and in place: the result is as large as the whole assignment of a
    batch, and memory traffic is all its cost. Fastest where each coordinate of `others` is
    contiguous.
    """
    left, top, right, bottom = boxes.unsqueeze(-2).unbind(-1)  # (..., N, 1) each
    lefts, tops, rights, bottoms = others.unsqueeze(-3).unbind(-1)  # (..., 1, M) each
    overlap = right.minimum(rights).sub_(left.maximum(lefts)).clamp_(min=0)
    overlap.mul_(bottom.minimum(bottoms).sub_(top.maximum(tops)).clamp_(min=0))
    union = (area(boxes).unsqueeze(-1) + area(others).unsqueeze(-2)).sub_(overlap)
    return overlap.div_(union.clamp_(min=UNION_FLOOR))


def paired_iou(boxes: "Tensor", others: "Tensor") -> "Tensor":
    """Return (...,) intersection over union of boxes paired one to one."""
    overlap = _overlap_area(boxes, others)
    union = area(boxes) + area(others) - overlap
    return overlap / union.clamp(min=UNION_FLOOR)


def paired_giou(boxes: "Tensor", others: "Tensor") -> "Tensor":
    """Return (...,) generalised IoU, in [-1, 1], of boxes paired one to one.

    As published, the area of a box with both pairs of corners swapped counts as positive.
    """
    overlap = _overlap_area(boxes, others)
    union = (_raw_area(boxes) + _raw_area(others) - overlap).clamp(min=UNION_FLOOR)
    left_top = boxes[..., :2].minimum(others[..., :2])
    right_bottom = boxes[..., 2:].maximum(others[..., 2:])
    sides = (right_bottom - left_top).clamp(min=0)
    enclosing = (sides[..., 0] * sides[..., 1]).clamp(min=UNION_FLOOR)
    return overlap / union - (enclosing - union) / enclosing


def distances_to_xyxy(distances: "Tensor", points: "Tensor") -> "Tensor":
    """Return (..., A, 4) boxes from (..., A, 4) left, top, right, bottom distances, in pixels.

    Args:
        distances: distances from each anchor point to the four sides.
        points: (A, 2) anchor points as x, y.
    """
    left_top, right_bottom = distances[..., :2], distances[..., 2:]
    corners = distances + 0
    corners[..., :2] = points - left_top
    corners[..., 2:] = points + right_bottom
    return corners


def xyxy_to_distances(boxes: "Tensor", points: "Tensor") -> "Tensor":
    """Return (..., A, 4) left, top, right, bottom distances of (..., A, 4) boxes."""
    distances = boxes + 0
    distances[..., :2] = points - boxes[..., :2]
    distances[..., 2:] = boxes[..., 2:] - points
    return distances


def _overlap_area(boxes: "Tensor", others: "Tensor") -> "Tensor":
    left_top = boxes[..., :2].maximum(others[..., :2])
    right_bottom = boxes[..., 2:].minimum(others[..., 2:])
    sides = (right_bottom - left_top).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def _raw_area(boxes: "Tensor") -> "Tensor":
    sides = boxes[..., 2:] - boxes[..., :2]
    return sides[..., 0] * sides[..., 1]
