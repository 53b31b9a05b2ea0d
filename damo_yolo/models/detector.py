"""The detector: backbone, neck, head.

Shapes: B images, H, W pixels, A anchor points over all levels, C classes, R = reg_max + 1 bins.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from damo_yolo.errors import DamoYoloError
from damo_yolo.models.backbones.mae_csp import MaeCsp
from damo_yolo.models.backbones.mae_mob import MaeMob
from damo_yolo.models.backbones.mae_res import MaeRes
from damo_yolo.models.box_decoder import anchor_points
from damo_yolo.models.config import STRIDES, DetectorConfig
from damo_yolo.models.heads.zero_head import ZeroHead
from damo_yolo.models.necks.rep_gfpn import RepGfpn

BACKBONES: dict[str, type[nn.Module]] = {"res": MaeRes, "csp": MaeCsp, "mob": MaeMob}


class DetectorOutput(NamedTuple):
    """What a detector returns in training mode."""

    class_logits: Tensor
    """(B, A, C), before the sigmoid; in the type autocast chose."""
    side_logits: Tensor
    """(B, A, 4, R) float32 logits for left, top, right, bottom."""
    boxes: Tensor
    """(B, A, 4) float32 decoded boxes, xyxy in pixels of the input."""
    points: Tensor
    """(A, 2) anchor points as x, y in pixels."""
    strides: Tensor
    """(A, 1) pixels per cell."""
    features: tuple[Tensor, Tensor, Tensor]
    """Outputs of the neck at strides 8, 16 and 32."""


class Detector(nn.Module):
    """A DAMO-YOLO detector. State-dict keys are those of the published checkpoints."""

    def __init__(self, config: DetectorConfig) -> None:
        """Build the modules; initial weights come from torch's global generator."""
        super().__init__()
        self.config = config
        self.backbone = BACKBONES[config.backbone.family](config)
        self.neck = RepGfpn(config)
        self.head = ZeroHead(config)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = config.bn_eps
                module.momentum = config.bn_momentum

    @property
    def neck_channels(self) -> tuple[int, int, int]:
        """Widths of the neck's outputs at strides 8, 16 and 32."""
        return self.config.neck_channels

    def features(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the neck's outputs at strides 8, 16 and 32.

        Args:
            images: (B, 3, H, W) float RGB, 0..255; H and W multiples of 32.

        Raises:
            DamoYoloError: the images have another shape or are not float.
        """
        _check_images(images)
        maps: tuple[Tensor, Tensor, Tensor] = self.neck(self.backbone(images))
        return maps

    def forward(self, images: Tensor) -> DetectorOutput | tuple[Tensor, Tensor]:
        """Detect; see `features` for the images and the error.

        Returns:
            In training mode a `DetectorOutput`. In eval mode (B, A, C) float32 scores after the
            sigmoid and (B, A, 4) float32 boxes, xyxy in pixels, not clipped to the image.
        """
        features = self.features(images)
        class_logits, side_logits = self.head(features)
        sizes = [feature.shape[-2:] for feature in features]
        points, strides = anchor_points(sizes, STRIDES, images.device)
        boxes = self.head.integral(side_logits, points, strides)
        if self.training:
            return DetectorOutput(class_logits, side_logits, boxes, points, strides, features)
        return class_logits.float().sigmoid(), boxes


def _check_images(images: Tensor) -> None:
    # While torch.jit.trace runs, sizes are tensors. (torch does not export or annotate this.)
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return
    if images.shape[1:-2] != (3,):
        raise DamoYoloError(
            f"the detector got a tensor of shape {tuple(images.shape)}",
            fix="give it (batch, 3, height, width), channels in the order RGB",
        )
    if not images.is_floating_point():
        raise DamoYoloError(
            f"the detector got images of type {images.dtype}",
            fix="turn them into float, keeping the range 0..255",
        )
    height, width = images.shape[-2:]
    step = STRIDES[-1]
    if height % step or width % step:
        up = tuple(-(-side // step) * step for side in (height, width))
        raise DamoYoloError(
            f"the input is {height} pixels high and {width} wide; both must be multiples of {step}",
            fix=f"resize or pad the images to {up[0]} by {up[1]}",
        )
