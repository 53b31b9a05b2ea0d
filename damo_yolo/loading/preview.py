"""A batch as one picture: what the network is about to see, with its boxes.

Shapes: B images, H, W pixels of each.
"""

import math
from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np

from damo_yolo import storage
from damo_yolo.augment.geometry import Image
from damo_yolo.augment.policy import AugmentConfig, Phase
from damo_yolo.labels.space import LabelSpace
from damo_yolo.loading.loader import LoaderConfig, TrainLoader
from damo_yolo.samples import Batch

MIN_CELL_PX, MAX_CELL_PX = 192, 320
"""Of the longer side of an image as it is shown; names need their room."""
GAP_PX = 4
GOLDEN_ANGLE_DEG = 137.508
"""Steps of the hue from class to class: neighbours in the label space look different."""
FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_training_batch(
    shards_uri: str,
    plan_uri: str,
    *,
    image_size: int,
    augment: AugmentConfig,
    seed: int,
    phase: Phase = "mosaic",
) -> Image:
    """Return an RGB grid of 16 training images, with box-level changes at full strength.

    Args:
        shards_uri: output of the shard stage.
        plan_uri: output of the balance stage.
        image_size: side of the square network image, pixels.
        augment: of the training.
        seed: of the training.
        phase: of the training; the plain one has no mosaic and no box-level changes.
    """
    config = LoaderConfig(
        image_size=image_size, global_batch=16, num_lanes=4, ramp_epochs=1, augment=augment
    )
    loader = TrainLoader(shards_uri, plan_uri, config, seed=seed)
    batch = next(loader.epoch(config.ramp_epochs, phase=phase))
    space = LabelSpace.load(storage.join(shards_uri, "label_space.csv"))
    return draw_batch(batch, space.names)


def draw_batch(
    batch: Batch, class_names: Sequence[str], *, max_images: int = 16, columns: int | None = None
) -> Image:
    """Return an RGB grid of the first images of a batch, their boxes named.

    Args:
        batch: images and objects.
        class_names: of the label space, in its order.
        max_images: how many images to show.
        columns: images side by side; None: about as many as rows.
    """
    cells = [draw_image(batch, row, class_names) for row in range(min(len(batch.keys), max_images))]
    columns = columns or math.ceil(math.sqrt(len(cells)))
    height, width = cells[0].shape[:2]
    rows = math.ceil(len(cells) / columns)
    grid = np.full(
        (rows * (height + GAP_PX) - GAP_PX, columns * (width + GAP_PX) - GAP_PX, 3), 255, np.uint8
    )
    for place, cell in enumerate(cells):
        top = place // columns * (height + GAP_PX)
        left = place % columns * (width + GAP_PX)
        grid[top : top + height, left : left + width] = cell
    return grid


def draw_image(batch: Batch, row: int, class_names: Sequence[str]) -> Image:
    """Return one image of the batch with named boxes, enlarged or reduced where it must be."""
    image = np.ascontiguousarray(batch.images[row].permute(1, 2, 0).numpy())
    side = max(image.shape[:2])
    factor = min(max(side, MIN_CELL_PX), MAX_CELL_PX) / side
    if factor != 1:
        smooth = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST
        image = cast("Image", cv2.resize(image, None, fx=factor, fy=factor, interpolation=smooth))
    valid = batch.gt_valid[row]
    boxes = (batch.gt_boxes[row][valid] * factor).round().int().tolist()
    for (x1, y1, x2, y2), label in zip(boxes, batch.gt_labels[row][valid].tolist(), strict=True):
        color = class_color(label)
        cv2.rectangle(image, (x1, y1), (x2, y2), color, 1)
        _write(image, class_names[label], (x1, y1), color)
    return image


def class_color(label: int) -> tuple[int, int, int]:
    """Return a bright RGB colour for a class id."""
    hue = label * GOLDEN_ANGLE_DEG % 360 / 2  # OpenCV counts hues to 180
    pixel = cv2.cvtColor(np.array([[[hue, 200, 255]]], np.uint8), cv2.COLOR_HSV2RGB)
    red, green, blue = pixel[0, 0].tolist()
    return red, green, blue


def _write(image: Image, text: str, corner: tuple[int, int], color: tuple[int, int, int]) -> None:
    (width, height), _ = cv2.getTextSize(text, FONT, 0.35, 1)
    left = max(min(corner[0], image.shape[1] - width), 0)
    bottom = max(corner[1] - 2, height)
    cv2.rectangle(image, (left, bottom - height - 1), (left + width, bottom + 2), color, -1)
    cv2.putText(image, text, (left, bottom), FONT, 0.35, (0, 0, 0), 1, cv2.LINE_AA)
