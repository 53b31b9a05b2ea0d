"""The manifest: where every image lies in the shards, and the checksums that vouch for it.

A folder of shards holds the tars, `manifest.parquet` (one row per image, in the order of the
shards) and `manifest.json` (counts, and the SHA-256 of every tar, the table and the label space).

Shapes: N images.
"""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.errors import DataError
from damo_yolo.mixing.plan import SamplePlan

TABLE_FILE = "manifest.parquet"
SUMMARY_FILE = "manifest.json"
MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("image_offset", pa.int64(), nullable=False),
        pa.field("image_size", pa.int32(), nullable=False),
        pa.field("json_offset", pa.int64(), nullable=False),
        pa.field("json_size", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("sha256", pa.binary(32), nullable=False),
        pa.field("bucket", pa.int16(), nullable=False),
    ]
)
"""Offsets and sizes are bytes of the payloads inside the tar. `sha256` is of the image bytes
followed by the json bytes. `bucket` is the half-octave of expected draws it was sorted by."""


class ShardFile(Config):
    """One tar."""

    name: str
    """Relative to the folder: `shard-000000.tar`."""
    sha256: str
    num_bytes: int
    num_images: int


class LeftOut(Config):
    """An image of the records that is in no shard."""

    key: str
    reason: str


class ManifestSummary(Config):
    """Content of `manifest.json`."""

    split: str
    num_images: int
    num_boxes: int
    num_bytes: int
    num_converted: int
    """Images that are not the source file byte for byte: no JPEG, CMYK, turned by an EXIF tag."""
    datasets: dict[str, int]
    """Images of each dataset."""
    shards: tuple[ShardFile, ...]
    left_out: tuple[LeftOut, ...] = ()
    label_space_sha256: str
    table_sha256: str
    """Of `manifest.parquet`."""
    sha256: str
    """Of label space, table and tars together: tells one set of shards from another."""

    @staticmethod
    def combined_sha256(label_space: str, table: str, shards: Sequence[ShardFile]) -> str:
        """Return the checksum over the checksums of the parts."""
        lines = [label_space, table, *(f"{shard.name} {shard.sha256}" for shard in shards)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class Manifest:
    """The images of a folder of shards, one row each, as columns.

    Attributes:
        uri: the folder.
        summary: content of `manifest.json`.
        keys: (N,) Arrow strings.
        datasets: (N,) Arrow strings.
        shard: (N,) int32 index into `shard_uris`.
        image_offset, image_size, json_offset, json_size: (N,) bytes.
        width, height: (N,) int32 pixels of the stored image.
        bucket: (N,) int16.
    """

    def __init__(self, uri: str, summary: ManifestSummary, table: pa.Table) -> None:
        self.uri = uri
        self.summary = summary
        self.keys: Any = _array(table["key"])
        self.datasets: Any = _array(table["dataset"])
        numbers = {name: _array(table[name]).to_numpy() for name in _NUMBERS}
        self.shard: NDArray[np.int32] = numbers["shard"]
        self.image_offset: NDArray[np.int64] = numbers["image_offset"]
        self.image_size: NDArray[np.int32] = numbers["image_size"]
        self.json_offset: NDArray[np.int64] = numbers["json_offset"]
        self.json_size: NDArray[np.int32] = numbers["json_size"]
        self.width: NDArray[np.int32] = numbers["width"]
        self.height: NDArray[np.int32] = numbers["height"]
        self.bucket: NDArray[np.int16] = numbers["bucket"]
        self.shard_uris = [storage.join(uri, shard.name) for shard in summary.shards]
        self._plan_rows: tuple[SamplePlan, SamplePlan, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self.shard)

    @classmethod
    def load(cls, uri: str) -> Self:
        """Read the manifest of a folder of shards (`.../train` or `.../val`).

        Raises:
            DataError: no manifest is there, or it is not what `manifest.json` says.
        """
        summary = read_summary(uri)
        with tempfile.TemporaryDirectory() as folder:
            path = storage.fetch(storage.join(uri, TABLE_FILE), Path(folder))
            try:
                table = pq.read_table(
                    path, columns=[n for n in MANIFEST_SCHEMA.names if n != "sha256"]
                )
            except (pa.ArrowInvalid, FileNotFoundError) as error:
                raise DataError(
                    f"the manifest of {uri} is broken: {error}", fix=WRITE_AGAIN
                ) from None
        if table.num_rows != summary.num_images:
            raise DataError(
                f"the manifest of {uri} has {table.num_rows} rows, not {summary.num_images}",
                fix=WRITE_AGAIN,
            )
        return cls(uri, summary, table)

    def sha256s(self) -> Any:
        """Read the (N,) Arrow checksums of the samples: 32 bytes each, left on disk until asked."""
        with tempfile.TemporaryDirectory() as folder:
            path = storage.fetch(storage.join(self.uri, TABLE_FILE), Path(folder))
            return _array(pq.read_table(path, columns=["sha256"])["sha256"])

    def rows_of_plan(self, plan: SamplePlan) -> tuple[SamplePlan, NDArray[np.int64]]:
        """Return the plan without images that the shards left out, and the row of each image.

        The answer for the last plan is kept: it is asked for every epoch.

        Raises:
            DataError: the plan has images that are neither in the shards nor listed as left out.
        """
        if self._plan_rows is not None and self._plan_rows[0] is plan:
            return self._plan_rows[1:]
        found = pc.index_in(plan.keys, value_set=self.keys)
        missing = plan.keys.filter(found.is_null())
        kept = plan
        if len(missing):
            self._check_left_out(missing)
            kept = plan.restricted_to(found.is_valid().to_numpy(zero_copy_only=False))
        rows: NDArray[np.int64] = found.drop_null().to_numpy().astype(np.int64)
        self._plan_rows = (plan, kept, rows)
        return kept, rows

    def verify(self) -> list[str]:
        """Recompute every checksum; return the locations that are missing or do not fit."""
        wrong = []
        table_uri = storage.join(self.uri, TABLE_FILE)
        expected = [(table_uri, self.summary.table_sha256)]
        expected += [
            (uri, shard.sha256)
            for uri, shard in zip(self.shard_uris, self.summary.shards, strict=True)
        ]
        for uri, sha256 in expected:
            if not storage.exists(uri) or storage.sha256(uri) != sha256:
                wrong.append(uri)
        parts = (self.summary.label_space_sha256, self.summary.table_sha256, self.summary.shards)
        if ManifestSummary.combined_sha256(*parts) != self.summary.sha256:
            wrong.append(storage.join(self.uri, SUMMARY_FILE))
        return wrong

    def _check_left_out(self, missing: Any) -> None:
        known = {item.key for item in self.summary.left_out}
        unknown = [key for key in missing.to_pylist() if key not in known]
        if unknown:
            raise DataError(
                f"{len(unknown)} images of the plan are not in the shards {self.uri},"
                f" first: {unknown[0]}",
                fix="plan and shards must come from the same records: run the shard stage again",
            )


def read_summary(uri: str) -> ManifestSummary:
    """Read `manifest.json` of a folder of shards; raises `DataError` when there is none."""
    location = storage.join(uri, SUMMARY_FILE)
    if not storage.exists(location):
        raise DataError(f"no shards are at {uri}: {SUMMARY_FILE} is missing", fix=WRITE_AGAIN)
    try:
        values = json.loads(storage.read_text(location))
    except ValueError:
        raise DataError(f"{location} is not JSON", fix=WRITE_AGAIN) from None
    return ManifestSummary.from_mapping(values, source=location)


WRITE_AGAIN = "write the shards again: damo-yolo shard"
_NUMBERS = (
    "shard",
    "image_offset",
    "image_size",
    "json_offset",
    "json_size",
    "width",
    "height",
    "bucket",
)


def _array(column: Any) -> Any:
    """Return a column as one Arrow array."""
    array = column.combine_chunks()
    return pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
