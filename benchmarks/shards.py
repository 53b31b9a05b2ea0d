"""Reading shards: against webdataset's own reader, and over S3 with latency against local files.

    python benchmarks/shards.py PHOTOS W                      # local, against webdataset
    AWS_ENDPOINT_URL=http://127.0.0.1:8333 python benchmarks/shards.py PHOTOS W --s3 s3://bench/x

PHOTOS is a folder of JPEGs; W gets shards of 2048 of them, repeated as needed. All sides take turns
in one process; every figure is the best of the rounds. "Random order" is an epoch of training. With
--s3 the shards are copied there once and read through a proxy that adds 20 ms to every answer; the
loader's rates are of decoded, augmented training batches in wall-clock time. "curl" asks for the
very ranges of the reader, as many at once, and throws them away: what the place can deliver.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import simplejpeg
import webdataset

from damo_yolo import storage
from damo_yolo.datasets.records import write_records
from damo_yolo.labels.space import LabelSpace
from damo_yolo.loading.loader import LoaderConfig, TrainLoader
from damo_yolo.mixing.plan import SamplePlan
from damo_yolo.samples import ImageRecord
from damo_yolo.shards.manifest import Manifest
from damo_yolo.shards.order import EpochOrder
from damo_yolo.shards.read import REMOTE_THREADS, ShardReader, parse_sample
from damo_yolo.shards.write import ShardConfig, write_shards

NUM_IMAGES = 2048
GLOBAL_BATCH = 32
NUM_LANES = 4
STEPS = 24
READ_LANES, READ_WINDOW = 2, 64
"""So few lanes that blocks are as long as in any dataset of 65,536 images or more: 16 samples."""
ADDED_MS = 20
RESULTS = Path(__file__).parent / "results" / "shards.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photos")
    parser.add_argument("workspace")
    parser.add_argument("--s3", default="", help="prefix to copy the shards to")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rate:  # one side of --s3, in a process of its own
        print(RATES[options.photos](options.workspace))
        return
    local = Path(options.workspace) / "shards"
    if not (local / "label_space.csv").exists():
        write_set(Path(options.photos), Path(options.workspace))
    report: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "webdataset": webdataset.__version__,
        "images": NUM_IMAGES,
    }
    if options.s3:
        report |= {"added_ms": ADDED_MS, "samples_per_s": remote(options, str(local))}
    else:
        report["samples_per_cpu_s"] = against_webdataset(str(local), options.rounds)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results["s3" if options.s3 else "local"] = report
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(report, indent=1))


def write_set(photos: Path, workspace: Path) -> None:
    """Write shards of `NUM_IMAGES` photos with five boxes each, and an even plan."""
    files = sorted(photos.rglob("*.jpg"))
    sizes = [simplejpeg.decode_jpeg_header(path.read_bytes())[:2] for path in files]
    boxes = np.array([[10, 10, 60 + 10 * i, 90] for i in range(5)], np.float32)
    records = [
        ImageRecord(
            key=f"photos/{i:06d}",
            dataset="photos",
            image_uri=str(files[i % len(files)]),
            width=sizes[i % len(files)][1],
            height=sizes[i % len(files)][0],
            boxes=boxes,
            class_ids=np.arange(5, dtype=np.int32),
            source_ids=("",) * 5,
            is_crowd=np.zeros(5, np.bool_),
        )
        for i in range(NUM_IMAGES)
    ]
    shards = workspace / "shards"
    write_records(records, str(workspace / "train.parquet"))
    write_shards(
        str(workspace / "train.parquet"),
        str(shards / "train"),
        split="train",
        expected_draws=np.ones(NUM_IMAGES),
        label_space_sha256="",
        config=ShardConfig(images_per_shard=256),
    )
    manifest = Manifest.load(str(shards / "train"))
    SamplePlan(manifest.keys, manifest.datasets, np.ones(NUM_IMAGES)).write(str(shards))
    facts = {"datasets": {"photos": {"known_ids": list(range(5))}}}
    (shards / "datasets.json").write_text(json.dumps(facts))
    space = LabelSpace.of_names([f"class {i}" for i in range(5)])
    (shards / "label_space.csv").write_text(space.to_csv())


def against_webdataset(shards: str, rounds: int) -> dict[str, float]:
    """Return samples per CPU second of bytes in memory with their annotations parsed."""
    manifest = Manifest.load(storage.join(shards, "train"))
    in_order = np.arange(len(manifest))
    shuffled = epoch_of(shards, manifest).lanes.reshape(-1)

    def ours(rows: np.ndarray) -> int:
        with ShardReader(manifest) as reader:
            return sum(len(sample.image) for sample in reader.stream(rows))

    def theirs() -> int:
        samples = webdataset.WebDataset(manifest.shard_uris, shardshuffle=False)
        parsed = (parse_sample(0, item["jpg"], item["json"]) for item in samples)
        return sum(len(sample.image) for sample in parsed)

    sides: dict[str, Callable[[], int]] = {
        "webdataset": theirs,
        "ours, in order": lambda: ours(in_order),
        "ours, random order": lambda: ours(shuffled),
    }
    best = dict.fromkeys(sides, 0.0)
    for _ in range(rounds):
        counts = set()
        for name, read in sides.items():
            start = time.process_time()
            counts.add(read())
            rate = NUM_IMAGES / (time.process_time() - start)
            best[name] = max(best[name], round(rate, 1))
        assert len(counts) == 1, "all sides read the same images"
    return best


def epoch_of(shards: str, manifest: Manifest, num_lanes: int = NUM_LANES) -> EpochOrder:
    return EpochOrder(manifest, SamplePlan.read(shards), 0, 0, GLOBAL_BATCH, num_lanes)


def remote(options: argparse.Namespace, local: str) -> dict[str, float]:
    """Return samples per wall-clock second: loader and bare reader, local, S3, S3 with latency."""
    if not storage.exists(storage.join(options.s3, "label_space.csv")):
        storage.publish(Path(local), options.s3)
    direct = os.environ["AWS_ENDPOINT_URL"]
    best: dict[str, float] = {}
    with delayed(direct) as slow:
        places = {
            "local": (direct, local),
            "S3": (direct, options.s3),
            f"S3 + {ADDED_MS} ms": (slow, options.s3),
        }
        for _, kind, name in product(range(options.rounds), RATES, places):
            endpoint, uri = places[name]
            rate = rate_of_own_process(kind, uri, endpoint)
            label = f"{kind}, {name}"
            best[label] = max(best.get(label, 0.0), rate)
    return best


def rate_of_own_process(kind: str, uri: str, endpoint: str) -> float:
    """Return a rate measured in a fresh process that reaches object stores at `endpoint`."""
    command = [sys.executable, __file__, "--rate", kind, uri]
    environment = {**os.environ, "AWS_ENDPOINT_URL": endpoint}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return round(float(done.stdout), 1)


def loader_rate(uri: str) -> float:
    """Return training samples per second at 640 pixels, decoded and augmented in this process."""
    config = LoaderConfig(global_batch=GLOBAL_BATCH, num_lanes=NUM_LANES, window=8)
    batches = TrainLoader(uri, uri, config, seed=0).epoch(0, phase="mosaic")
    next(batches)  # reads the windows ahead
    start = time.perf_counter()
    for _ in range(STEPS):
        next(batches)
    return STEPS * GLOBAL_BATCH / (time.perf_counter() - start)


def reader_rate(uri: str) -> float:
    """Return stored samples per second in the order of an epoch."""
    manifest = Manifest.load(storage.join(uri, "train"))
    rows = epoch_of(uri, manifest, READ_LANES).lanes.reshape(-1)
    start = time.perf_counter()
    with ShardReader(manifest) as reader:
        count = sum(1 for _ in reader.stream(rows, window=READ_WINDOW))
    return count / (time.perf_counter() - start)


def curl_rate(uri: str) -> float:
    """Return samples per second that curl fetches by the ranges of the reader, used for nothing."""
    manifest = Manifest.load(storage.join(uri, "train"))
    rows = epoch_of(uri, manifest, READ_LANES).lanes.reshape(-1).tolist()
    addresses = [address_of(shard) for shard in manifest.shard_uris]
    reader = ShardReader(manifest)
    ranges = [
        span
        for start in range(0, len(rows), READ_WINDOW)
        for span in reader._ranges(rows[start : start + READ_WINDOW])  # noqa: SLF001
    ]
    requests = "next\n".join(
        f'silent\nurl = "{addresses[span.shard]}"\nrange = {span.begin}-{span.end - 1}\n'
        'output = "/dev/null"\n'
        for span in ranges
    )
    command = ["curl", "--parallel", "--parallel-max", str(REMOTE_THREADS), "--config", "-"]
    start = time.perf_counter()
    subprocess.run(command, input=requests, text=True, check=True, stderr=subprocess.DEVNULL)
    return len(rows) / (time.perf_counter() - start)


def address_of(uri: str) -> str:
    """Return an address that needs no key."""
    if not storage.is_remote(uri):
        return f"file://{uri}"
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    client = boto3.client("s3")
    address: str = client.generate_presigned_url("get_object", {"Bucket": bucket, "Key": key})
    return address


RATES = {"loader": loader_rate, "reader": reader_rate, "curl": curl_rate}


@contextmanager
def delayed(endpoint: str) -> Iterator[str]:
    """Yield the address of a proxy in front of an endpoint."""
    script = Path(__file__).parent / "delaying_proxy.py"
    server = endpoint.removeprefix("http://").rstrip("/")
    command = [sys.executable, str(script), server, str(ADDED_MS)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
