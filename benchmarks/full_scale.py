"""Merging COCO, Objects365 v2 and Open Images at their real size, without their images.

    python benchmarks/full_scale.py [--fractions 0.01 0.1 1] [--memory-mb 1024] [--out FOLDER]

For each fraction annotation files are written (annotation_files.py; not timed) and merged by the
merge stage in a process of its own, whose time and peak memory count. Prints a table and writes
results/full_scale.json. `--ray` merges the smallest fraction once more, over two local Ray nodes,
and compares the bytes. The files (9 GB at a fraction of 1) lie in a temporary folder meanwhile.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from annotation_files import Files, write_files

from damo_yolo import storage
from damo_yolo.stages.merge import merge_datasets

RESULTS = Path(__file__).parent / "results" / "full_scale.json"
PACKAGES = ("duckdb", "numpy", "polars", "pyarrow", "ray")
CORES = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.01, 0.1, 1.0])
    parser.add_argument("--memory-mb", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", type=Path, help="keep the files here, use those that are there")
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = []
    print("| part | images | boxes | files GB | seconds | µs a box | CPU seconds | peak GB |")
    print("|---|---|---|---|---|---|---|---|")
    for fraction in options.fractions:
        with _folder(options.files, fraction, options.seed) as folder:
            rows.append(measure(folder, fraction, options.seed, memory_mb=options.memory_mb))
        print(_line(rows[-1]), flush=True)
    result: dict[str, Any] = {
        "command": "python benchmarks/full_scale.py",
        "memory_mb": options.memory_mb,
        "seed": options.seed,
        "rows": rows,
        "synthetic": "counts per class of Objects365 and of 78 classes of Open Images; all places",
        "machine": f"{os.cpu_count()} cores of {_processor()}, {_memory_gb():.0f} GB, shared",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "date": datetime.now(UTC).date().isoformat(),
    }
    storage.write_text(str(options.out), json.dumps(result, indent=1) + "\n")
    if options.ray:
        result["ray"] = compare_with_ray(min(options.fractions), options.seed)
        print(json.dumps(result["ray"]))
        storage.write_text(str(options.out), json.dumps(result, indent=1) + "\n")


def measure(folder: Path, fraction: float, seed: int, *, memory_mb: int) -> dict[str, Any]:
    """Write files, unless they are there, and merge them; return what it took."""
    known = folder / "files.json"
    if known.exists():
        files = Files.from_json(known.read_text())
    else:
        files = _apart(write_files, folder, fraction=fraction, seed=seed)
        known.write_text(files.to_json())
    merged = _apart(_merge, str(files.catalog), str(folder / "records"), memory_mb=memory_mb)
    return {
        "fraction": fraction,
        "images": files.images,
        "boxes": files.boxes,
        "files_gb": round(files.num_bytes / 1e9, 3),
        **merged,
    }


@contextmanager
def _folder(kept: Path | None, fraction: float, seed: int) -> Iterator[Path]:
    if kept is not None:
        yield kept / f"{fraction}-{seed}"
        return
    with tempfile.TemporaryDirectory(prefix="full-scale-") as folder:
        yield Path(folder)


def compare_with_ray(fraction: float, seed: int) -> dict[str, Any]:
    """Merge here and over two local Ray nodes; return whether the bytes agree."""
    with tempfile.TemporaryDirectory(prefix="full-scale-") as folder:
        files = _apart(write_files, Path(folder), fraction=fraction, seed=seed)
        _apart(_merge, str(files.catalog), f"{folder}/here", memory_mb=1024)
        nodes = _apart(_merge_on_two_nodes, str(files.catalog), f"{folder}/ray")
        names = ("train.parquet", "val.parquet", "datasets.json", "result.json")
        same = [storage.sha256(f"{folder}/{place}/{n}") for place in ("here", "ray") for n in names]
    return {"nodes": nodes, "images": files.images, "same_bytes": same[:4] == same[4:]}


def _apart(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a function in a fresh process, so that its peak memory is its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args, **kwargs).result()


def _merge(catalog: str, records: str, *, memory_mb: int) -> dict[str, Any]:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    started, cpu = time.perf_counter(), time.process_time()
    result = merge_datasets(catalog, records, memory_mb=memory_mb)
    seconds = time.perf_counter() - started
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_gb": round(usage.ru_maxrss * 1024 / 1e9, 2),
        "kept_train_boxes": result.num_train_boxes,
        "records_gb": round((Path(records) / "train.parquet").stat().st_size / 1e9, 3),
        "mended": {name: splits["train"].mended for name, splits in result.datasets.items()},
    }


def _merge_on_two_nodes(catalog: str, records: str) -> int:
    folder = tempfile.mkdtemp(prefix="ray-")
    os.environ["RAY_TMPDIR"] = folder  # other clusters of this machine stay known as they are
    import ray  # noqa: PLC0415 - reads the environment
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - as above

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        merge_datasets(catalog, records, spread=True)
        return len(ray.nodes())
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _line(row: dict[str, Any]) -> str:
    return (
        f"| {row['fraction']:.0%} | {row['images']:,} | {row['boxes']:,} | {row['files_gb']:.2f}"
        f" | {row['seconds']:.1f} | {row['seconds'] / row['boxes'] * 1e6:.2f}"
        f" | {row['cpu_seconds']:.1f} | {row['peak_gb']:.2f} |"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


if __name__ == "__main__":
    main()
