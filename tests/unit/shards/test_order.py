"""The global order: pure, complete, the same for any number of processes, repeats apart."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from damo_yolo.errors import ConfigError, DataError
from damo_yolo.mixing.plan import SamplePlan
from damo_yolo.shards.manifest import LeftOut
from damo_yolo.shards.order import EpochOrder, default_num_lanes, lanes_of
from tests.record_builders import make_manifest, make_plan


def batches_over(
    order: EpochOrder, *, world_size: int, num_workers: int, steps: range
) -> list[NDArray[np.int64]]:
    """Return global batches as so many processes would put them together, lane by lane."""
    per_lane = order.samples_per_lane
    batches = []
    for step in steps:
        parts = []
        for rank in range(world_size):
            for worker in range(max(num_workers, 1)):
                for lane in lanes_of(rank, world_size, worker, num_workers, order.num_lanes):
                    stream = order.lane(lane)
                    parts.append(stream[step * per_lane : (step + 1) * per_lane])
        batches.append(np.concatenate(parts))
    return batches


@settings(max_examples=40, deadline=None)
@given(
    expected=st.lists(st.floats(0.0, 6.0), min_size=3, max_size=80).filter(lambda e: sum(e) > 2),
    images_per_shard=st.integers(1, 30),
    global_batch=st.sampled_from([1, 4, 6, 16]),
    epoch=st.integers(0, 600),
)
def test_an_epoch_holds_every_image_exactly_as_often_as_the_plan_draws_it(
    expected: list[float], images_per_shard: int, global_batch: int, epoch: int
) -> None:
    total = -(-int(sum(expected) + 1) // global_batch) * global_batch
    plan = make_plan(np.array(expected) * total / sum(expected))
    manifest = make_manifest(len(expected), images_per_shard=images_per_shard)

    order = EpochOrder(manifest, plan, 5, epoch, global_batch)

    counts = np.bincount(order.lanes.reshape(-1), minlength=len(expected))
    assert (counts == plan.draws(5, epoch)).all()
    assert order.num_steps * global_batch == total == order.lanes.size


def test_the_order_is_a_pure_function_of_seed_and_epoch() -> None:
    manifest, plan = make_manifest(200), make_plan(np.full(200, 0.96))

    def lanes(seed: int, epoch: int) -> bytes:
        return EpochOrder(manifest, plan, seed, epoch, 16).lanes.tobytes()

    again = EpochOrder(make_manifest(200), make_plan(np.full(200, 0.96)), 1, 4, 16)
    assert lanes(1, 4) == again.lanes.tobytes()
    assert len({lanes(1, 4), lanes(1, 5), lanes(2, 4)}) == 3


@pytest.mark.parametrize(
    ("world_size", "num_workers"), [(1, 0), (1, 2), (2, 0), (2, 2), (4, 1), (8, 1), (2, 4), (8, 2)]
)
def test_any_number_of_processes_sees_the_same_global_batches(
    world_size: int, num_workers: int
) -> None:
    order = EpochOrder(make_manifest(300), make_plan(np.full(300, 1.28)), 0, 0, 32, 16)

    batches = batches_over(
        order, world_size=world_size, num_workers=num_workers, steps=range(order.num_steps)
    )

    assert order.num_steps == 12
    for step, batch in enumerate(batches):
        assert (batch == order.batch(step)).all()


def test_the_batches_of_an_epoch_are_the_epoch() -> None:
    order = EpochOrder(make_manifest(90), make_plan(np.full(90, 1.0)), 0, 0, 6)

    rows = np.concatenate([order.batch(step) for step in range(order.num_steps)])

    assert sorted(rows.tolist()) == list(range(90))


def test_the_order_of_the_shards_does_not_change_how_often_an_image_is_drawn() -> None:
    plan = make_plan(np.linspace(0.2, 1.8, 50))
    manifest = make_manifest(50)
    manifest.keys = pa.array([f"toy/{49 - i}" for i in range(50)])

    order = EpochOrder(manifest, plan, 0, 0, 10)

    counts = np.bincount(order.lanes.reshape(-1), minlength=50)
    assert (counts[::-1] == plan.draws(0, 0)).all()


def test_repeats_of_an_image_are_spread_over_the_epoch() -> None:
    # 4 draws an epoch of each of 512 images in 16 lanes of 128 steps: 32 steps apart.
    manifest, plan = make_manifest(512, images_per_shard=128), make_plan(np.full(512, 4.0))
    order = EpochOrder(manifest, plan, 0, 0, 16)

    gaps = []
    for row in range(512):
        steps = np.sort(np.nonzero(order.lanes == row)[1])
        gaps += np.diff(steps, append=steps[0] + order.num_steps).tolist()

    assert order.num_steps == 128
    assert min(gaps) >= 32 - 16  # seldom less than half a turn early or late
    assert max(gaps) <= 32 + 16


def test_every_part_of_the_epoch_has_the_same_mixture() -> None:
    # Half of the images are drawn 5 times as often: 5/6 of every quarter of the epoch are theirs.
    expected = np.repeat([1 / 3, 5 / 3], 3200)
    order = EpochOrder(make_manifest(6400), make_plan(expected), 0, 0, 64)

    quarters = np.array_split(order.lanes, 4, axis=1)

    for quarter in quarters:
        assert (quarter >= 3200).mean() == pytest.approx(5 / 6, abs=0.04)


def test_large_datasets_are_read_in_runs_of_neighbours() -> None:
    num_images = 64_000
    manifest = make_manifest(num_images, images_per_shard=1000)
    order = EpochOrder(manifest, make_plan(np.ones(num_images)), 0, 0, 16)
    lane = order.lane(3)

    in_runs = np.diff(lane) == 1

    assert len(lane) == 4000
    assert in_runs.mean() > 0.9


def test_small_datasets_are_mixed_image_by_image() -> None:
    order = EpochOrder(make_manifest(320), make_plan(np.ones(320)), 0, 0, 16)

    neighbours = np.abs(np.diff(order.lanes, axis=1)) == 1

    assert neighbours.mean() < 0.05


def test_which_samples_meet_in_a_batch_differs_from_epoch_to_epoch() -> None:
    manifest, plan = make_manifest(16_000, images_per_shard=500), make_plan(np.ones(16_000))
    pairs = []
    for epoch in (0, 1):
        batches = np.sort(EpochOrder(manifest, plan, 0, epoch, 16).lanes.T, axis=1)
        pairs.append({(a, b) for batch in batches.tolist() for a in batch for b in batch if a < b})

    assert len(pairs[0]) == 1000 * 120
    assert len(pairs[0] & pairs[1]) < 0.05 * len(pairs[0])


def test_lanes_must_divide_the_global_batch() -> None:
    with pytest.raises(ConfigError, match="5 lanes do not divide the global batch of 8") as error:
        EpochOrder(make_manifest(8), make_plan(np.ones(8)), 0, 0, 8, 5)
    assert "1, 2, 4, 8" in error.value.fix


def test_processes_must_divide_the_lanes_and_the_error_names_those_that_do() -> None:
    with pytest.raises(ConfigError, match="3 training workers x 2 loader processes = 6") as error:
        lanes_of(0, 3, 0, 2, 8)
    assert "1, 2, 4, 8" in error.value.fix


@pytest.mark.parametrize(("batch", "lanes"), [(1, 1), (8, 8), (64, 64), (96, 48), (1024, 64)])
def test_by_default_there_are_64_lanes_or_as_many_as_divide_the_batch(
    batch: int, lanes: int
) -> None:
    assert default_num_lanes(batch) == lanes


def test_a_batch_that_does_not_divide_the_epoch_lengthens_it() -> None:
    order = EpochOrder(make_manifest(10), make_plan(np.ones(10)), 0, 0, 4)

    assert order.num_steps == 3
    assert np.bincount(order.lanes.reshape(-1)).tolist().count(2) == 2


def test_images_of_the_plan_that_no_shard_holds_are_named() -> None:
    with pytest.raises(DataError, match=r"2 images of the plan are not in the shards.*toy/3"):
        EpochOrder(make_manifest(3), make_plan(np.ones(5)), 0, 0, 1)


def test_images_that_the_shards_left_out_give_their_draws_to_the_others() -> None:
    manifest = make_manifest(3)
    left_out = LeftOut(key="toy/3", reason="unreadable")
    manifest.summary = manifest.summary.model_copy(update={"left_out": (left_out,)})

    order = EpochOrder(manifest, make_plan(np.full(4, 3.0)), 0, 0, 4)

    assert np.bincount(order.lanes.reshape(-1)).tolist() == [4, 4, 4]


def test_an_epoch_of_3_6_million_images_is_drawn_and_ordered() -> None:
    num_images = 3_600_000
    expected = np.random.default_rng(0).gamma(0.7, size=num_images)
    expected *= num_images / expected.sum()
    nothing = pa.nulls(num_images, pa.string())
    plan = SamplePlan(nothing, nothing, expected)
    manifest = make_manifest(1)
    manifest.shard = np.arange(num_images, dtype=np.int32) // 1024
    shuffled = np.random.default_rng(1).permutation(num_images)
    manifest._plan_rows = (plan, plan, shuffled)  # found once a run, not once an epoch

    order = EpochOrder(manifest, plan, 0, 0, 64)  # how long it takes: benchmarks/order.py

    assert order.lanes.size == num_images
