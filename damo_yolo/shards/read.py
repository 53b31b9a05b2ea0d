"""Read samples of the shards by their rows: few, large ranged reads, a window ahead of the caller.

Local shards are read with `os.pread` on descriptors that stay open, remote ones with ranged
requests. A reader belongs to the process that made it: make one in each loader process.
"""

import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.errors import DataError
from damo_yolo.shards.manifest import WRITE_AGAIN, Manifest

WINDOW = 16
"""Samples that one read-ahead of a stream looks at."""
LOCAL_GAP_BYTES = 1 << 16
REMOTE_GAP_BYTES = 1 << 20
"""Neighbours with up to this many unwanted bytes between them are read together: about what a
request of its own costs."""
MAX_RANGE_BYTES = 1 << 24
MAX_OPEN_FILES = 64
LOCAL_THREADS = 2
REMOTE_THREADS = 16
"""Ranges asked for at the same time: what hides the latency of an object store."""


@dataclass(frozen=True, slots=True)
class RawSample:
    """An image as stored, undecoded, with its annotations."""

    row: int
    """Of the manifest."""
    key: str
    dataset: str
    image: bytes
    """A JPEG that every decoder reads alike: RGB or grey, no EXIF orientation."""
    width: int
    height: int
    boxes: NDArray[np.float32]
    """(N, 4) xyxy pixels."""
    class_ids: NDArray[np.int64]
    """(N,) unified class ids."""
    is_crowd: NDArray[np.bool_]
    """(N,)"""
    known_ids: NDArray[np.int64] | None
    """(K,) unified ids whose absence is evidence here; None: what the dataset annotates."""
    unknown_ids: NDArray[np.int64]
    """Unified ids taken out of the known ones for this image."""


@dataclass(slots=True)
class ReadCount:
    """What was read so far, and how much of it was asked for."""

    num_reads: int = 0
    bytes_read: int = 0
    bytes_used: int = 0

    @property
    def bytes_read_per_byte_used(self) -> float:
        """1 is perfect: no byte was read in vain."""
        return self.bytes_read / self.bytes_used if self.bytes_used else 1.0


@dataclass(frozen=True, slots=True)
class _Range:
    """Bytes of one shard that are read at once, and the rows that lie in them."""

    shard: int
    begin: int
    end: int
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Window:
    """Samples on their way."""

    rows: list[int]
    parts: list[Future[dict[int, RawSample]]]

    def result(self) -> list[RawSample]:
        samples: dict[int, RawSample] = {}
        for part in self.parts:
            samples |= part.result()
        return [samples[row] for row in self.rows]


class ShardReader:
    """Samples of a manifest by row.

    Args:
        manifest: of a folder of shards.
        verify: recompute the SHA-256 of every sample that is read.
        max_gap_bytes: neighbours with up to this many bytes between them are read together; None:
            `default_gap_bytes` of the location.
    """

    def __init__(
        self, manifest: Manifest, *, verify: bool = False, max_gap_bytes: int | None = None
    ) -> None:
        self.manifest = manifest
        self.count = ReadCount()
        self._sha256s: Any = manifest.sha256s() if verify else None
        self._max_gap_bytes = (
            default_gap_bytes(manifest.uri) if max_gap_bytes is None else max_gap_bytes
        )
        self._files: OrderedDict[int, _OpenFile] = OrderedDict()
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close files and stop reading ahead."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        self._files.clear()

    def read(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> list[RawSample]:
        """Return the samples of these rows, in their order; a row may come more than once.

        Raises:
            StorageError: a shard cannot be read.
            DataError: a shard is truncated or, when verifying, a sample is not what was written.
        """
        return self._start([int(row) for row in rows]).result()

    def stream(
        self, rows: Iterable[int] | NDArray[np.integer[Any]], *, window: int = WINDOW
    ) -> Iterator[RawSample]:
        """Yield the samples of these rows in order, reading the next window in the background.

        Closing the iterator early is fine; raises as `read` does.
        """
        ahead: _Window | None = None
        for part in _windows(iter(rows), window):
            following = self._start(part)
            if ahead is not None:
                yield from ahead.result()
            ahead = following
        if ahead is not None:
            yield from ahead.result()

    def _start(self, rows: list[int]) -> "_Window":
        """Begin to read: local ranges one after the other, remote ones at the same time."""
        ranges = list(self._ranges(rows))
        parts = [[span] for span in ranges] if storage.is_remote(self.manifest.uri) else [ranges]
        pool = self._background()
        return _Window(rows, [pool.submit(self._read_ranges, part) for part in parts])

    def _background(self) -> ThreadPoolExecutor:
        if self._pool is None:
            threads = REMOTE_THREADS if storage.is_remote(self.manifest.uri) else LOCAL_THREADS
            self._pool = ThreadPoolExecutor(threads, thread_name_prefix="read-ahead")
        return self._pool

    def _read_ranges(self, ranges: list[_Range]) -> dict[int, RawSample]:
        samples: dict[int, RawSample] = {}
        for span in ranges:
            data = memoryview(self._read_range(span))
            samples |= {row: self._sample(row, data, span.begin) for row in span.rows}
        return samples

    def _ranges(self, rows: list[int]) -> Iterator[_Range]:
        """Yield reads that cover all rows, shard by shard from front to back."""
        manifest = self.manifest
        unique = np.unique(np.asarray(rows, np.int64))
        begins = np.minimum(manifest.image_offset[unique], manifest.json_offset[unique])
        ends = np.maximum(
            manifest.image_offset[unique] + manifest.image_size[unique],
            manifest.json_offset[unique] + manifest.json_size[unique],
        )
        shards = manifest.shard[unique]
        first = 0
        for i in range(1, len(unique) + 1):
            if (
                i < len(unique)
                and shards[i] == shards[first]
                and begins[i] - ends[i - 1] <= self._max_gap_bytes
                and ends[i] - begins[first] <= MAX_RANGE_BYTES
            ):
                continue
            span = tuple(unique[first:i].tolist())
            yield _Range(int(shards[first]), int(begins[first]), int(ends[i - 1]), span)
            first = i

    def _read_range(self, span: _Range) -> bytes:
        uri = self.manifest.shard_uris[span.shard]
        size = span.end - span.begin
        if storage.is_remote(uri):
            data = storage.read_range(uri, offset=span.begin, size=size)
        else:
            data = self._open(span.shard, uri).read(span.begin, size)
        with self._lock:
            self.count.num_reads += 1
            self.count.bytes_read += size
        return data

    def _open(self, shard: int, uri: str) -> "_OpenFile":
        with self._lock:
            file = self._files.pop(shard, None) or _OpenFile(uri)
            self._files[shard] = file  # most recently used last
            if len(self._files) > MAX_OPEN_FILES:
                self._files.popitem(last=False)  # closes once no thread reads it any more
        return file

    def _sample(self, row: int, data: memoryview, begin: int) -> RawSample:
        manifest = self.manifest
        image_at = int(manifest.image_offset[row]) - begin
        json_at = int(manifest.json_offset[row]) - begin
        image = bytes(data[image_at : image_at + int(manifest.image_size[row])])
        text = bytes(data[json_at : json_at + int(manifest.json_size[row])])
        with self._lock:
            self.count.bytes_used += len(image) + len(text)
        if self._sha256s is not None:
            self._check(row, image, text)
        return parse_sample(row, image, text)

    def _check(self, row: int, image: bytes, text: bytes) -> None:
        if hashlib.sha256(image + text).digest() != self._sha256s[row].as_py():
            key = self.manifest.keys[row].as_py()
            uri = self.manifest.shard_uris[int(self.manifest.shard[row])]
            raise DataError(
                f"image '{key}' in {uri} is not what was written: its SHA-256 differs",
                fix=WRITE_AGAIN,
            )


def default_gap_bytes(uri: str) -> int:
    """Return how many unwanted bytes cost about as much as one more read at the location."""
    return REMOTE_GAP_BYTES if storage.is_remote(uri) else LOCAL_GAP_BYTES


def parse_sample(row: int, image: bytes, text: bytes) -> RawSample:
    """Build a sample from the two payloads of the tar."""
    values = json.loads(text)
    known = values["known_ids"]
    return RawSample(
        row=row,
        key=values["key"],
        dataset=values["dataset"],
        image=image,
        width=values["width"],
        height=values["height"],
        boxes=np.array(values["boxes"], np.float32).reshape(-1, 4),
        class_ids=np.array(values["class_ids"], np.int64),
        is_crowd=np.array(values["is_crowd"], np.bool_),
        known_ids=None if known is None else np.array(known, np.int64),
        unknown_ids=np.array(values["unknown_ids"], np.int64),
    )


class _OpenFile:
    """A local file open for positional reads from any thread, closed with its last user."""

    def __init__(self, uri: str) -> None:
        self.descriptor = -1
        self.uri = uri
        try:
            self.descriptor = os.open(uri, os.O_RDONLY)
        except OSError as error:
            raise DataError(f"cannot read {uri}: {error.strerror}", fix=WRITE_AGAIN) from None

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)

    def read(self, offset: int, size: int) -> bytes:
        data = os.pread(self.descriptor, size, offset)
        if len(data) != size:
            raise DataError(f"{self.uri} ends before byte {offset + size}", fix=WRITE_AGAIN)
        return data


def _windows(rows: Iterator[int], size: int) -> Iterator[list[int]]:
    while part := list(islice(rows, size)):
        yield part
