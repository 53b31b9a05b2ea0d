"""The global sample order: a pure function of seed, epoch and position.

The k-th draw of an image belongs to pass k. A *region* is a run of neighbouring rows of a shard;
what a pass draws of a region is a *block*, read in one go. Every region has a random moment of the
epoch, and its passes follow one another around the epoch at equal distances: repeats of an image
stay apart in time. Blocks sorted by their moments are dealt to L lanes at random, laid end to end,
lane after lane, and cut into L equal spans: the lanes. Every step takes B / L samples of each lane,
so the number of processes that share the lanes changes nothing in a global batch.

Shapes: N rows of the manifest, E draws of the epoch, R regions, K blocks, L lanes, B global batch,
T = E / L samples of a lane.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from damo_yolo.errors import ConfigError
from damo_yolo.mixing.plan import SamplePlan, keyed_generator
from damo_yolo.shards.manifest import Manifest

MAX_LANES = 64
MAX_ROWS_PER_REGION = 16
"""Long enough to read megabytes in one go, short enough that most of the samples just read in a
lane, from which mosaics are made, are of other regions."""
REGIONS_PER_LANE = 64
"""Regions shrink, down to single rows, until a lane meets this many: small datasets mix fully."""

SORT_KEY_BITS = 63
ORDER_KEY = 0x6F72646572
"""Keeps the generators of the order apart from those of the draws."""


class EpochOrder:
    """The samples of one epoch, as rows of the manifest, in L lanes.

    Args:
        manifest: the shards that are read.
        plan: expected draws; lengthened to a multiple of the global batch where it is none.
        seed: of the run.
        epoch: counted from 0.
        global_batch: B, samples of a step over all processes.
        num_lanes: L, divides B; None: `default_num_lanes(global_batch)`.

    Raises:
        ConfigError: the lanes do not divide the global batch.
        DataError: the plan has images that the shards lack.
    """

    def __init__(
        self,
        manifest: Manifest,
        plan: SamplePlan,
        seed: int,
        epoch: int,
        global_batch: int,
        num_lanes: int | None = None,
    ) -> None:
        num_lanes = default_num_lanes(global_batch) if num_lanes is None else num_lanes
        _check_lanes(num_lanes, global_batch)
        drawn, rows = manifest.rows_of_plan(plan)
        drawn = drawn.for_global_batch(global_batch)
        draws = np.zeros(len(manifest), np.int32)
        draws[rows] = drawn.draws(seed, epoch)
        generator = keyed_generator(ORDER_KEY, seed, epoch)
        order = _order(manifest.shard, draws, num_lanes=num_lanes, generator=generator)
        self.lanes: NDArray[np.int64] = order.reshape(num_lanes, -1)
        """(L, T) rows of the manifest."""
        self.num_lanes = num_lanes
        self.global_batch = global_batch
        self.num_steps = drawn.num_draws // global_batch

    @property
    def samples_per_lane(self) -> int:
        """How many samples of each lane a step takes."""
        return self.global_batch // self.num_lanes

    def lane(self, lane: int) -> NDArray[np.int64]:
        """Return (T,) rows of a lane in the order in which it is read."""
        rows: NDArray[np.int64] = self.lanes[lane]
        return rows

    def batch(self, step: int) -> NDArray[np.int64]:
        """Return (B,) rows of a step, lane after lane."""
        start = step * self.samples_per_lane
        return self.lanes[:, start : start + self.samples_per_lane].reshape(-1)


def default_num_lanes(global_batch: int) -> int:
    """Return the largest divisor of the global batch up to `MAX_LANES`."""
    return max(n for n in range(1, min(MAX_LANES, global_batch) + 1) if global_batch % n == 0)


def lanes_of(rank: int, world_size: int, worker: int, num_workers: int, num_lanes: int) -> range:
    """Return the lanes of one loader process; concatenated over processes they are all lanes.

    Args:
        rank: of the training worker, from 0.
        world_size: number of training workers.
        worker: loader process of that training worker, from 0.
        num_workers: loader processes of each training worker; 0 loads in the training worker.
        num_lanes: L.

    Raises:
        ConfigError: the processes do not divide the lanes evenly.
    """
    processes = world_size * max(num_workers, 1)
    if num_lanes % processes:
        divisors = ", ".join(map(str, _divisors(num_lanes)))
        raise ConfigError(
            f"{world_size} training workers x {max(num_workers, 1)} loader processes = {processes}"
            f" processes cannot share {num_lanes} lanes evenly",
            fix=f"let training workers x loader processes be one of {divisors}",
        )
    each = num_lanes // processes
    first = (rank * max(num_workers, 1) + worker) * each
    return range(first, first + each)


def _check_lanes(num_lanes: int, global_batch: int) -> None:
    if num_lanes < 1 or global_batch % num_lanes:
        divisors = ", ".join(map(str, _divisors(global_batch)))
        raise ConfigError(
            f"{num_lanes} lanes do not divide the global batch of {global_batch}",
            fix=f"use one of {divisors} lanes",
        )


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


@dataclass(frozen=True)
class _Draws:
    """The draws of an epoch, and the blocks they belong to."""

    rows: NDArray[np.int64]
    """(E,) manifest row of each draw."""
    blocks: NDArray[np.int64]
    """(E,) block of each draw."""
    block_region: NDArray[np.int64]
    """(K,) region of each block."""
    block_pass: NDArray[np.int64]
    """(K,) pass of each block."""
    region_passes: NDArray[np.int64]
    """(R,) passes that draw from each region."""


def _order(
    shard: NDArray[np.int32],
    draws: NDArray[np.int32],
    *,
    num_lanes: int,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Return (E,) rows, lane after lane; `shard` and `draws` are (N,)."""
    regions = _regions(shard, int(draws.sum()) // num_lanes, generator)
    epoch = _cut(regions, draws)
    place = _deal(epoch, num_lanes=num_lanes, generator=generator)  # (K,) rank of each block
    # One sort does the rest: by block, from front to back within it; rows ride in the low bits.
    row_bits = max(len(draws) - 1, 1).bit_length()
    block_bits = max(len(place) - 1, 1).bit_length()
    assert block_bits + row_bits <= SORT_KEY_BITS, "too many images for 63-bit sort keys"
    keys = place[epoch.blocks]
    keys <<= row_bits
    keys |= epoch.rows
    keys.sort()
    keys &= (1 << row_bits) - 1
    return keys


def _regions(
    shard: NDArray[np.int32], lane_length: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Return the (N,) region of each row, counted from 0.

    Where the regions begin differs from epoch to epoch: neighbours at a seam change.
    """
    rows_per_region = min(max(lane_length // REGIONS_PER_LANE, 1), MAX_ROWS_PER_REGION)
    row = np.arange(len(shard))
    row += int(generator.integers(rows_per_region))
    region = row // rows_per_region
    begins = np.zeros(len(shard), np.bool_)
    begins[1:] = (region[1:] != region[:-1]) | (shard[1:] != shard[:-1])
    return np.cumsum(begins)


def _cut(regions: NDArray[np.int64], draws: NDArray[np.int32]) -> _Draws:
    """List the (E,) draws of (N,) rows and cut them into blocks."""
    firsts = np.flatnonzero(np.diff(regions, prepend=-1))  # (R,) first row of each region
    region_passes = np.maximum.reduceat(draws, firsts).astype(np.int64)
    first_block = np.cumsum(region_passes) - region_passes  # (R,)
    rows = np.repeat(np.arange(len(draws)), draws)
    first_draw = np.cumsum(draws, dtype=np.int64) - draws  # (N,)
    blocks = np.arange(len(rows))  # k + first block of the region, for the k-th draw of a row
    blocks += np.repeat(first_block[regions] - first_draw, draws)
    block_region = np.repeat(np.arange(len(firsts)), region_passes)
    block_pass = np.arange(len(block_region)) - first_block[block_region]
    return _Draws(rows, blocks, block_region, block_pass, region_passes)


def _deal(epoch: _Draws, *, num_lanes: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return the (K,) rank of each block when lanes are laid end to end.

    Blocks are dealt in the order of their moments, one to each lane in turn, the lanes shuffled
    anew for every round: so position in a lane keeps in step with the moment.
    """
    offset = generator.random(len(epoch.region_passes))  # (R,)
    step = epoch.block_pass / np.maximum(epoch.region_passes, 1)[epoch.block_region]
    moment = (offset[epoch.block_region] + step) % 1.0  # (K,)
    by_moment = np.argsort(moment, kind="stable")
    num_rounds = -(-len(moment) // num_lanes)
    numbers = np.arange(num_lanes, dtype=np.min_scalar_type(num_lanes))  # narrow ones sort fast
    lanes = np.tile(numbers, (num_rounds, 1))
    lane = generator.permuted(lanes, axis=1).reshape(-1)[: len(moment)]  # of each in by_moment
    by_lane = by_moment[np.argsort(lane, kind="stable")]
    rank = np.empty(len(moment), np.int64)
    rank[by_lane] = np.arange(len(moment))
    return rank
