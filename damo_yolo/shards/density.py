"""How many bytes an epoch reads for every byte it uses."""

import numpy as np
from numpy.typing import NDArray

from damo_yolo.shards.manifest import Manifest
from damo_yolo.shards.read import WINDOW, default_gap_bytes


def read_density(
    manifest: Manifest,
    lanes: NDArray[np.int64],
    *,
    window: int = WINDOW,
) -> float:
    """Return bytes read per byte used when every lane is streamed; 1: none is read in vain.

    Args:
        manifest: of the shards.
        lanes: (L, T) rows of the manifest, as `EpochOrder.lanes`.
        window: samples that a read-ahead looks at.
    """
    max_gap_bytes = default_gap_bytes(manifest.uri)
    payload = manifest.image_size.astype(np.int64) + manifest.json_size  # (N,)
    ends = manifest.json_offset + manifest.json_size  # json lies behind its image
    read = used = 0
    for lane in lanes:
        part = np.arange(len(lane)) // window
        order = np.lexsort((lane, part))
        rows, part = lane[order], part[order]
        once = np.diff(rows, prepend=-1) != 0
        once[1:] |= part[1:] != part[:-1]
        rows, part = rows[once], part[once]
        gaps = manifest.image_offset[rows[1:]] - ends[rows[:-1]]
        joined = (part[1:] == part[:-1]) & (manifest.shard[rows[1:]] == manifest.shard[rows[:-1]])
        joined &= gaps <= max_gap_bytes
        read += int((ends[rows] - manifest.image_offset[rows]).sum() + gaps[joined].sum())
        used += int(payload[rows].sum())
    return read / used if used else 1.0
