"""The sample plan: how often each image is drawn, on average, and exactly in any epoch.

Draws are integers by systematic sampling in a random order, nested in time: whole draws first; the
fractions of a block of `EPOCHS_PER_BLOCK` epochs are rounded at once, and the rounded numbers are
halved, and halved again, down to single epochs. Every epoch has exactly `num_draws` draws, every
image is within one of its expectation in every epoch, and over many epochs it stays within a few
draws of its expectation too, which epochs sampled apart would not do for images drawn rarely.
All of it is integer arithmetic on (seed, epoch).

Shapes: N images, F images that hold a fraction of a draw.
"""

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.errors import DataError

PLAN_FILE = "plan.parquet"
PLAN_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("expected_draws", pa.float64(), nullable=False),
    ]
)

EPOCHS_PER_BLOCK = 256
FRACTION_BITS = 30
ONE = 1 << FRACTION_BITS
"""One draw in the fixed-point numbers that fractions are counted in."""
LEAST_FRACTION = ONE // (28 * EPOCHS_PER_BLOCK) + 1
"""Fractions nearer to a whole number become whole: of an image expected once in 7168 epochs, a
single draw in 200 epochs is nearly six spreads from its mean; of a rarer one, more."""


@dataclass(frozen=True, eq=False)
class SamplePlan:
    """Expected draws of every image in an epoch, in the order of the records."""

    keys: pa.StringArray
    """(N,) image keys."""
    datasets: pa.StringArray
    """(N,) source dataset of each."""
    expected_draws: NDArray[np.float64]
    """(N,) mean draws in an epoch; they add up to a whole number, the length of an epoch."""

    def __post_init__(self) -> None:
        expected = self.expected_draws
        if not (len(self.keys) == len(self.datasets) == len(expected)):
            raise DataError(
                "the plan's columns differ in length", fix="run the balance stage again"
            )
        if not (np.isfinite(expected).all() and (expected >= 0).all() and self.num_draws >= 1):
            raise DataError(
                "the plan's expected draws are not numbers from 0 up that add up to 1 or more",
                fix="run the balance stage again",
            )

    def __len__(self) -> int:
        return len(self.expected_draws)

    @property
    def num_draws(self) -> int:
        """Length of an epoch in samples."""
        return round(float(self.expected_draws.sum()))

    @classmethod
    def read(cls, plan_uri: str) -> Self:
        """Read the plan of a folder made by the balance stage.

        Raises:
            StorageError: nothing is at the location.
            DataError: it is not a sample plan.
        """
        uri = storage.join(plan_uri, PLAN_FILE)
        with tempfile.TemporaryDirectory() as folder:
            path = storage.fetch(uri, Path(folder))
            try:
                table = pq.read_table(path, columns=PLAN_SCHEMA.names).combine_chunks()
            except FileNotFoundError:
                raise DataError(
                    f"no sample plan is at {uri}", fix="run: damo-yolo balance"
                ) from None
            except (pa.ArrowInvalid, KeyError) as error:
                raise DataError(
                    f"{uri} is not a sample plan: {error}", fix="run the balance stage again"
                ) from None
        keys, datasets, expected = (_array(table[name]) for name in PLAN_SCHEMA.names)
        return cls(keys, datasets, expected.to_numpy(zero_copy_only=False))

    def write(self, plan_uri: str) -> str:
        """Write `plan.parquet` into a folder, atomically, and return its location."""
        columns = [self.keys, self.datasets, pa.array(self.expected_draws)]
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(columns, schema=PLAN_SCHEMA), sink, compression="zstd")
        uri = storage.join(plan_uri, PLAN_FILE)
        storage.write_bytes(uri, sink.getvalue().to_pybytes())
        return uri

    def for_global_batch(self, global_batch: int) -> "SamplePlan":
        """Return the plan with its epoch lengthened to the next multiple of the global batch."""
        num_draws = rounded_up(self.num_draws, global_batch)
        return self if num_draws == self.num_draws else self.scaled_to(num_draws)

    def scaled_to(self, num_draws: int) -> "SamplePlan":
        """Return the plan for epochs of another length, the shares of all images kept."""
        scale = num_draws / float(self.expected_draws.sum())
        return SamplePlan(self.keys, self.datasets, self.expected_draws * scale)

    def restricted_to(self, kept: NDArray[np.bool_]) -> "SamplePlan":
        """Return the plan for the images where (N,) `kept` is True; the epoch keeps its length."""
        mask = pa.array(kept)
        plan = SamplePlan(
            self.keys.filter(mask), self.datasets.filter(mask), self.expected_draws[kept]
        )
        return plan.scaled_to(self.num_draws)

    def draws(self, seed: int, epoch: int) -> NDArray[np.int32]:
        """Return (N,) draws of each image in an epoch: a pure function of (seed, epoch).

        They add up to `num_draws`, and each is its expectation rounded up or down.
        """
        draws = (self._units >> FRACTION_BITS).astype(np.int32)
        fractions = self._units & (ONE - 1)
        some = np.flatnonzero(fractions).astype(np.int32)  # (F,)
        if len(some):
            draws[some] += _fraction_draws(fractions[some], seed, epoch)
        return draws

    @cached_property
    def _units(self) -> NDArray[np.int64]:
        """(N,) expected draws in units of 1/ONE; they add up to `num_draws` exactly."""
        units = np.rint(self.expected_draws * ONE).astype(np.int64)
        units[np.argmax(units)] += self.num_draws * ONE - units.sum()  # at most N/2 units
        return _without_slivers(units)


def never_drawn(expected_draws: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which of (N,) expectations are below the least fraction that a draw can keep to."""
    return np.asarray(expected_draws < LEAST_FRACTION / ONE)


def rounded_up(count: int, multiple: int) -> int:
    """Return the least multiple of `multiple` that is not below `count`."""
    return -(-count // multiple) * multiple


def keyed_generator(*key: int) -> np.random.Generator:
    """Return a counter-based generator for a key of whole numbers; equal keys give equal draws."""
    words = [word & 0xFFFF_FFFF_FFFF_FFFF for word in key]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(words)))


def _without_slivers(units: NDArray[np.int64]) -> NDArray[np.int64]:
    """Round fractions that are too near to a whole number, and keep the sum of (N,) units.

    The other images with a fraction share the difference. Where that would move one of them by as
    much as it moves the slivers, all stay as they are: then slivers are what the plan consists of.
    """
    fractions = units & (ONE - 1)
    is_free = (fractions >= LEAST_FRACTION) & (fractions <= ONE - LEAST_FRACTION)
    whole = np.where(is_free, units, (units + ONE // 2) >> FRACTION_BITS << FRACTION_BITS)
    missing = int(units.sum() - whole.sum())
    if not missing:
        return whole
    free = np.flatnonzero(is_free)
    low, high = LEAST_FRACTION, ONE - LEAST_FRACTION
    room = high - fractions[free] if missing > 0 else fractions[free] - low  # (F,)
    shared = np.floor(room * (abs(missing) / max(int(room.sum()), 1))).astype(np.int64)
    if not len(free) or shared.max() > LEAST_FRACTION:
        return units
    shared[np.argmax(room)] += abs(missing) - shared.sum()  # what rounding down left, F units
    whole[free] += np.sign(missing) * shared
    return whole


def _fraction_draws(fractions: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.uint8]:
    """Return (F,) draws of 0 or 1; the fractions add up to a whole number of draws."""
    assert len(fractions) < 1 << 25, "sums of fractions of a block must fit 63 bits"
    block, place = divmod(epoch, EPOCHS_PER_BLOCK)
    generator = keyed_generator(seed, block, EPOCHS_PER_BLOCK, 0)
    order = generator.permutation(len(fractions))
    ends = np.cumsum(fractions[order])
    ends *= EPOCHS_PER_BLOCK
    ends += generator.integers(ONE)  # systematic sampling: one random start, equal steps
    ends >>= FRACTION_BITS
    counts = np.diff(ends, prepend=0).astype(np.uint16)  # (F,) draws in the block
    span = EPOCHS_PER_BLOCK
    while span > 1:
        span //= 2
        node, half = place // (2 * span), place // span % 2
        _keep_half(counts, half, keyed_generator(seed, block, span, node))
    draws = np.empty(len(fractions), np.uint8)
    draws[order] = counts
    return draws


def _keep_half(counts: NDArray[np.uint16], half: int, generator: np.random.Generator) -> None:
    """Halve (F,) counts in place, keeping one of two halves that add up to half the sum each.

    Of two neighbours with odd counts a coin decides which has its odd one in the first half.
    """
    is_odd = (counts & 1).astype(np.bool_)  # searched five times as fast as numbers
    odd = np.flatnonzero(is_odd)  # an even number of them, as the sum is even
    odd = np.roll(odd, int(generator.integers(2)))
    pairs = odd.reshape(-1, 2)
    coins = generator.integers(0, 2, len(pairs), dtype=np.uint8)
    counts >>= 1
    counts[np.where(coins == half, pairs[:, 0], pairs[:, 1])] += 1


def _array(column: Any) -> Any:
    """Return a column as one Arrow array."""
    array = column.combine_chunks()
    return pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
