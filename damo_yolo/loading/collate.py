"""List of samples -> Batch, and batches joined.

Shapes: B images, S side, G objects padded over a batch, C classes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from damo_yolo.samples import Batch, Sample


def collate(
    samples: Sequence[Sample], *, class_mask: bool = True, broken: Sequence[str] = ()
) -> Batch:
    """Stack samples of one size; objects are padded to the longest list, of one at least.

    The images keep their memory order (channels last) under the shape (B, 3, S, S).

    Args:
        samples: B samples.
        class_mask: say which classes are known; False takes all as known.
        broken: keys of the images among them that could not be decoded.
    """
    num_objects = max(1, *(len(sample.labels) for sample in samples))
    boxes = np.zeros((len(samples), num_objects, 4), np.float32)
    labels = np.zeros((len(samples), num_objects), np.int64)
    valid = np.zeros((len(samples), num_objects), np.bool_)
    for row, sample in enumerate(samples):
        count = len(sample.labels)
        boxes[row, :count] = sample.boxes
        labels[row, :count] = sample.labels
        valid[row, :count] = True
    images = torch.from_numpy(np.stack([sample.image for sample in samples]))
    known = np.stack([sample.known for sample in samples]) if class_mask else None
    return Batch(
        images=images.permute(0, 3, 1, 2),
        gt_boxes=torch.from_numpy(boxes),
        gt_labels=torch.from_numpy(labels),
        gt_valid=torch.from_numpy(valid),
        class_mask=None if known is None else torch.from_numpy(known),
        keys=tuple(sample.key for sample in samples),
        original_sizes=tuple(sample.original_size for sample in samples),
        broken=tuple(broken),
    )


def join(parts: Sequence[Batch]) -> Batch:
    """Put batches one after the other, as if their samples had been collated together."""
    if len(parts) == 1:
        return parts[0]
    num_objects = max(part.gt_labels.shape[1] for part in parts)
    masks = [part.class_mask for part in parts if part.class_mask is not None]
    assert len(masks) in {0, len(parts)}
    return Batch(
        images=torch.cat([part.images for part in parts]),
        gt_boxes=torch.cat([_padded(part.gt_boxes, num_objects) for part in parts]),
        gt_labels=torch.cat([_padded(part.gt_labels, num_objects) for part in parts]),
        gt_valid=torch.cat([_padded(part.gt_valid, num_objects) for part in parts]),
        class_mask=torch.cat(masks) if masks else None,
        keys=tuple(key for part in parts for key in part.keys),
        original_sizes=tuple(size for part in parts for size in part.original_sizes),
        broken=tuple(key for part in parts for key in part.broken),
    )


def _padded(values: Tensor, num_objects: int) -> Tensor:
    """Lengthen (B, G, ...) with zeros to (B, num_objects, ...)."""
    missing = num_objects - values.shape[1]
    if not missing:
        return values
    return nn.functional.pad(values, (0, 0) * (values.dim() - 2) + (0, missing))
