"""Receipts: what each finished shard holds and was made of; together they are the manifest."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.errors import ConfigError, StorageError
from damo_yolo.shards.manifest import (
    MANIFEST_SCHEMA,
    SUMMARY_FILE,
    TABLE_FILE,
    LeftOut,
    ManifestSummary,
    ShardFile,
)

_FACTS = b"receipt"


class _Facts(Config):
    """What a receipt says besides its rows, kept in the metadata of its Parquet file."""

    index: int
    fingerprint: str
    shard: ShardFile
    num_boxes: int
    num_converted: int
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True)
class Receipt:
    """One finished shard."""

    index: int
    fingerprint: str
    """Checksum of what it was made of."""
    shard: ShardFile
    table: pa.Table
    """Its rows of the manifest."""
    num_boxes: int
    num_converted: int
    """Images that are not the source file, byte for byte."""
    left_out: tuple[LeftOut, ...]


def table_of(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Return rows, column name to value, as a table of `MANIFEST_SCHEMA`."""
    return pa.Table.from_pylist(list(rows), schema=MANIFEST_SCHEMA)


def write_receipt(folder_uri: str, receipt: Receipt) -> None:
    """Write the receipt of a shard that is in its place."""
    facts = _Facts(
        index=receipt.index,
        fingerprint=receipt.fingerprint,
        shard=receipt.shard,
        num_boxes=receipt.num_boxes,
        num_converted=receipt.num_converted,
        left_out=receipt.left_out,
    )
    table = receipt.table.replace_schema_metadata({_FACTS: facts.model_dump_json()})
    storage.write_bytes(_receipt_uri(folder_uri, receipt.index), _parquet(table))


def read_receipt(folder_uri: str, index: int) -> Receipt | None:
    """Return the receipt of a shard; None when there is none that can be read."""
    try:
        data = storage.read_bytes(_receipt_uri(folder_uri, index))
        table = pq.read_table(pa.BufferReader(data))
        facts = _Facts.from_mapping(json.loads((table.schema.metadata or {})[_FACTS]))
    except (StorageError, ConfigError, pa.ArrowInvalid, KeyError):
        return None
    return Receipt(
        index=facts.index,
        fingerprint=facts.fingerprint,
        shard=facts.shard,
        table=table.replace_schema_metadata(None),
        num_boxes=facts.num_boxes,
        num_converted=facts.num_converted,
        left_out=facts.left_out,
    )


def publish_manifest(
    receipts: Sequence[Receipt], folder_uri: str, *, split: str, label_space_sha256: str
) -> ManifestSummary:
    """Write the manifest of shards that are all in their places, its summary last."""
    table = pa.concat_tables([table_of([]), *(receipt.table for receipt in receipts)])
    table_sha256 = _write_table(table, storage.join(folder_uri, TABLE_FILE))
    shards = tuple(receipt.shard for receipt in receipts)
    summary = ManifestSummary(
        split=split,
        num_images=table.num_rows,
        num_boxes=sum(receipt.num_boxes for receipt in receipts),
        num_bytes=sum(shard.num_bytes for shard in shards),
        num_converted=sum(receipt.num_converted for receipt in receipts),
        datasets=_counts(table["dataset"]),
        shards=shards,
        left_out=tuple(item for receipt in receipts for item in receipt.left_out),
        label_space_sha256=label_space_sha256,
        table_sha256=table_sha256,
        sha256=ManifestSummary.combined_sha256(label_space_sha256, table_sha256, shards),
    )
    storage.write_text(
        storage.join(folder_uri, SUMMARY_FILE), summary.model_dump_json(indent=2) + "\n"
    )
    return summary


def receipt_name(index: int) -> str:
    """Return where the receipt of a shard lies, relative to the folder of the shards."""
    return f"receipts/shard-{index:06d}.parquet"


def _counts(names: pa.ChunkedArray) -> dict[str, int]:
    """Return how often each name comes, by name."""
    found = pc.value_counts(names).to_pylist()
    return dict(sorted((item["values"], item["counts"]) for item in found))


def _receipt_uri(folder_uri: str, index: int) -> str:
    return storage.join(folder_uri, receipt_name(index))


def _write_table(table: pa.Table, uri: str) -> str:
    """Write a table, atomically, and return the SHA-256 of its file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / TABLE_FILE
        pq.write_table(table, path, compression="zstd")
        storage.publish(path, uri)
        return storage.sha256(str(path))


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data
