"""Stored JPEG and annotations -> Sample of the network's size.

Shapes: S side of the network image, N objects, C classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.augment.geometry import Image, resize_image
from damo_yolo.boxes import area, clip
from damo_yolo.config import Config
from damo_yolo.errors import DataError
from damo_yolo.samples import Sample
from damo_yolo.shards.manifest import WRITE_AGAIN, Manifest
from damo_yolo.shards.read import RawSample

DATASETS_FILE = "datasets.json"

GREY = 114
"""As beside the pictures of a mosaic."""

Decode = Callable[[RawSample], Sample]


class BrokenImageError(DataError):
    """A stored image that cannot be decoded, or is not the one its record describes."""


class _Dataset(Config, extra="ignore"):
    known_ids: tuple[int, ...]


class _Datasets(Config, extra="ignore"):
    datasets: dict[str, _Dataset]


@dataclass(frozen=True)
class SampleDecoder:
    """Turns stored samples into samples stretched to S x S; crowd regions are left out."""

    manifest: Manifest
    image_size: int
    num_classes: int
    known_ids: dict[str, tuple[int, ...]]
    """Per dataset the classes whose absence is evidence where an image says nothing else."""

    @classmethod
    def load(
        cls, shards_uri: str, manifest: Manifest, *, image_size: int, num_classes: int
    ) -> "SampleDecoder":
        """Read what the datasets know from the folder of shards."""
        uri = storage.join(shards_uri, DATASETS_FILE)
        found = _Datasets.from_yaml(storage.read_text(uri), source=uri)
        known_ids = {name: dataset.known_ids for name, dataset in found.datasets.items()}
        return cls(manifest, image_size, num_classes, known_ids)

    def fast(self, raw: RawSample) -> Sample:
        """Decode for training: the quick variants of the inverse DCT and of the chroma."""
        pixels = partial(simplejpeg.decode_jpeg, fastdct=True, fastupsample=True)
        return self._sample(raw, pixels)

    def whatever_comes(self, raw: RawSample) -> Sample:
        """Decode for training; an image that cannot be decoded becomes an empty grey one.

        It teaches nothing: no object, and no class whose absence would be evidence.
        """
        try:
            return self.fast(raw)
        except BrokenImageError:
            side = self.image_size
            return Sample(
                key=raw.key,
                dataset=raw.dataset,
                image=np.full((side, side, 3), GREY, np.uint8),
                boxes=np.zeros((0, 4), np.float32),
                labels=np.zeros(0, np.int64),
                known=np.zeros(self.num_classes, np.bool_),
                original_size=(raw.width, raw.height),
                is_broken=True,
            )

    def exact(self, raw: RawSample) -> Sample:
        """Decode for evaluation: the same pixels as inference sees."""
        return self._sample(raw, simplejpeg.decode_jpeg)

    def _sample(self, raw: RawSample, decode_jpeg: Callable[..., Image]) -> Sample:
        image = self._pixels(raw, decode_jpeg)
        height, width = image.shape[:2]
        side = self.image_size
        boxes = clip(raw.boxes, width=width, height=height)
        kept = ~raw.is_crowd & (area(boxes) > 0)
        factors = np.array([side / width, side / height] * 2, np.float32)
        return Sample(
            key=raw.key,
            dataset=raw.dataset,
            image=resize_image(image, width=side, height=side),
            boxes=boxes[kept] * factors,
            labels=raw.class_ids[kept],
            known=self._known(raw),
            original_size=(width, height),
        )

    def _pixels(self, raw: RawSample, decode_jpeg: Callable[..., Image]) -> Image:
        try:
            image = decode_jpeg(raw.image, colorspace="RGB")
        except ValueError as error:
            raise self._broken(raw, str(error)) from None
        if image.shape[:2] != (raw.height, raw.width):
            size = f"{image.shape[1]}x{image.shape[0]}"
            raise self._broken(raw, f"it is {size}, its record says {raw.width}x{raw.height}")
        return image

    def _broken(self, raw: RawSample, reason: str) -> BrokenImageError:
        shard = self.manifest.shard_uris[int(self.manifest.shard[raw.row])]
        return BrokenImageError(
            f"image '{raw.key}' in {shard} cannot be used: {reason}",
            fix=WRITE_AGAIN,
        )

    def _known(self, raw: RawSample) -> NDArray[np.bool_]:
        ids = raw.known_ids
        if ids is None:
            if raw.dataset not in self.known_ids:
                raise DataError(
                    f"dataset '{raw.dataset}' of image '{raw.key}' is not in {DATASETS_FILE}",
                    fix=WRITE_AGAIN,
                )
            ids = np.array(self.known_ids[raw.dataset], np.int64)
        known = np.zeros(self.num_classes, np.bool_)
        known[ids] = True
        known[raw.unknown_ids] = False
        return known
