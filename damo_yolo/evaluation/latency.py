"""How long one call takes, measured so that two figures can be compared.

Several backends are timed in turn, round by round, so that a busy machine slows all of them alike.
A record names the hardware and the versions: a latency without them is not a fact.
"""

import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from damo_yolo.config import Config
from damo_yolo.inference.backend import Backend, GraphBackend

Call = Callable[[NDArray[Any]], object]

PACKAGES = ("torch", "onnxruntime", "openvino", "numpy")
MIN_ROUNDS = 5


class LatencyConfig(Config):
    """How long to measure."""

    warmup: int = Field(default=5, ge=0)
    """Calls of each backend that are not counted; 0 counts the first, slow ones too."""
    repeats: int = Field(default=50, ge=1)
    """Counted calls of each backend; percentiles of few calls say little."""
    limit_s: float = Field(default=30.0, gt=0)
    """Rounds stop after this many seconds (never before five of them)."""


class Environment(Config):
    """Where a latency was measured."""

    cpu: str
    num_cores: int
    """Cores this process may use."""
    system: str
    versions: dict[str, str]


class LatencyRecord(Config):
    """Milliseconds of one call."""

    p10_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    repeats: int
    warmup: int
    batch_size: int
    image_size: int
    threads: int | None
    """None: the backend's own choice."""
    interleaved_with: tuple[str, ...]
    """Backends measured in the same rounds."""
    environment: Environment


def noise(size: int, *, batch: int = 1) -> NDArray[np.uint8]:
    """Return (batch, 3, size, size) noise: a network's time does not depend on the picture."""
    return np.random.default_rng(0).integers(0, 256, (batch, 3, size, size), dtype=np.uint8)


def caller(backend: Backend) -> Call:
    """Return what runs a backend on (B, 3, S, S) images, whatever its graph holds."""
    if not backend.info.is_complete:
        return backend
    assert isinstance(backend, GraphBackend)
    if backend.info.preprocess:
        return lambda images: backend.named(
            np.ascontiguousarray(images.transpose(0, 2, 3, 1), np.uint8)
        )
    return lambda images: backend.named(images.astype(np.float32))


def measure_latency(
    calls: Mapping[str, Call],
    images: NDArray[Any],
    config: LatencyConfig | None = None,
    *,
    threads: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, LatencyRecord]:
    """Time each call on the same images, in turn.

    Args:
        calls: name to a function of the images.
        images: (B, 3, S, S) what each call is given.
        config: how long to measure.
        threads: what the backends were opened with, for the record.
        clock: seconds; replaced in tests.
    """
    config = config or LatencyConfig()
    for call in calls.values():
        for _ in range(config.warmup):
            call(images)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    begin = clock()
    for done in range(config.repeats):
        if done >= MIN_ROUNDS and clock() - begin > config.limit_s:
            break
        for name, call in calls.items():
            start = clock()
            call(images)
            seconds[name].append(clock() - start)
    environment = describe_environment()
    return {
        name: _record(
            times,
            warmup=config.warmup,
            batch_size=images.shape[0],
            image_size=images.shape[-1],
            threads=threads,
            interleaved_with=tuple(other for other in calls if other != name),
            environment=environment,
        )
        for name, times in seconds.items()
    }


def describe_environment() -> Environment:
    """Return the processor and the versions of what computes on it."""
    return Environment(
        cpu=_cpu_name(),
        num_cores=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        versions={"python": platform.python_version()}
        | {name: metadata.version(name) for name in PACKAGES if _is_installed(name)},
    )


def _record(seconds: list[float], **facts: Any) -> LatencyRecord:
    times = np.asarray(seconds) * 1e3
    p10, p50, p90, p99 = (round(float(p), 4) for p in np.percentile(times, (10, 50, 90, 99)))
    return LatencyRecord(
        p10_ms=p10,
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        mean_ms=round(float(times.mean()), 4),
        repeats=len(seconds),
        **facts,
    )


def _cpu_name() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
