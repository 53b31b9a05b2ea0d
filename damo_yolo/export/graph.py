"""What surrounds the detector inside an exported graph: pixels to its input, and names for taps.

Shapes: B images, H, W pixels of the images as stored, S side of the input, A anchor
points, C classes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from damo_yolo.models.config import STRIDES
from damo_yolo.models.detector import Detector

INPUT_TAP = "tap.input"
"""What enters the backbone: RGB 0..255, resized."""
STAGE_TAPS = (
    *(f"tap.backbone.{stride}" for stride in STRIDES),
    *(f"tap.neck.{stride}" for stride in STRIDES),
    "tap.head.class_logits",
    "tap.head.side_logits",
)
"""Where backbone, neck and head hand over; the decoding hands over scores and boxes."""


class ExportedGraph(nn.Module):
    """A fused detector between the images a user holds and float32 outputs.

    Beside scores and boxes it returns every tap, which the exporter turns into names.
    """

    def __init__(self, detector: Detector, *, preprocess: bool, side: int) -> None:
        super().__init__()
        self.detector = detector
        self.preprocess = preprocess
        self.side = side

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return scores (B, A, C), boxes (B, A, 4), and the taps in the order of `tap_names`.

        Args:
            images: with `preprocess` (B, H, W, 3) uint8 BGR, as OpenCV reads them, and boxes are
                in their pixels; without, (B, 3, S, S) float32 RGB 0..255.
        """
        dtype = next(self.detector.parameters()).dtype
        values = self._to_input(images) if self.preprocess else images
        with recorded_taps(self.detector) as taps:
            scores, boxes = self.detector(values.to(dtype))
        if self.preprocess:
            width, height = images.shape[2], images.shape[1]
            boxes = boxes * torch.tensor([width, height, width, height]) / self.side
            taps = {INPUT_TAP: values} | taps
        return scores.float(), boxes.float(), *(value.float() for value in taps.values())

    def tap_names(self, images: Tensor) -> list[str]:
        """Return the names of the taps, in the order of a forward pass."""
        with torch.no_grad(), recorded_taps(self.detector) as taps:
            values = self._to_input(images) if self.preprocess else images
            self.detector(values.to(next(self.detector.parameters()).dtype))
        return [INPUT_TAP, *taps] if self.preprocess else list(taps)

    def _to_input(self, images: Tensor) -> Tensor:
        """Return (B, 3, S, S) RGB 0..255: stretched, and rounded as resized images are stored."""
        rgb = images.flip(-1).permute(0, 3, 1, 2).float()
        resized = functional.interpolate(rgb, size=(self.side, self.side), mode="bilinear")
        return resized.round()


@contextmanager
def recorded_taps(detector: Detector) -> Iterator[dict[str, Tensor]]:
    """Collect, while the detector runs, what its convolutions and its three parts return."""
    taps: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(_keep(taps, [f"tap.{name}"]))
        for name, module in detector.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    parts = ((detector.backbone, 0, 3), (detector.neck, 3, 6), (detector.head, 6, 8))
    for module, start, end in parts:
        handles.append(module.register_forward_hook(_keep(taps, STAGE_TAPS[start:end])))
    try:
        yield taps
    finally:
        for handle in handles:
            handle.remove()


def _keep(taps: dict[str, Tensor], names: Any) -> Any:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        del module, inputs
        values = [output] if isinstance(output, Tensor) else output
        taps.update(zip(names, values, strict=True))

    return hook
