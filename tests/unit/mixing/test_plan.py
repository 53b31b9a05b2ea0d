"""The sample plan: whole draws that keep to their expectation, a pure function of the epoch."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from damo_yolo.errors import DataError, StorageError
from damo_yolo.mixing.plan import SamplePlan, rounded_up
from tests.record_builders import make_plan


def skewed(num_images: int, *, seed: int, shape: float = 0.3) -> NDArray[np.float64]:
    """Return expected draws from thousandths to dozens that add up to `num_images`."""
    expected = np.random.default_rng(seed).gamma(shape, size=num_images)
    return np.asarray(expected * num_images / expected.sum())


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.floats(0.0, 10.0), min_size=1, max_size=60).filter(lambda w: sum(w) > 0.1),
    total=st.integers(1, 500),
    seed=st.integers(0, 2**63),
    epoch=st.integers(0, 1000),
)
def test_every_epoch_has_its_length_and_every_image_is_within_one_of_its_expectation(
    weights: list[float], total: int, seed: int, epoch: int
) -> None:
    expected = np.array(weights) * total / sum(weights)
    plan = make_plan(expected)

    draws = plan.draws(seed, epoch)

    assert draws.sum() == total
    assert (np.abs(draws - expected) < 1 + 1e-6).all()
    assert (draws[expected == 0] == 0).all()


def test_whole_expectations_are_drawn_exactly() -> None:
    plan = make_plan([3.0, 0.0, 1.0, 2.0])

    assert plan.draws(7, 3).tolist() == [3, 0, 1, 2]


def test_draws_are_a_pure_function_of_seed_and_epoch() -> None:
    expected = skewed(1000, seed=0)
    first, second = make_plan(expected), make_plan(expected.copy())

    for epoch in (300, 5, 0):  # in any order, from any object
        assert (first.draws(1, epoch) == second.draws(1, epoch)).all()
    assert (first.draws(1, 5) != first.draws(1, 6)).any()
    assert (first.draws(1, 5) != first.draws(2, 5)).any()
    assert (first.draws(1, 5) != first.draws(1, 5 + 256)).any()


def departures(plan: SamplePlan, *, seed: int) -> NDArray[np.float64]:
    """Return |draws - 200 e| in spreads over epochs 0 to 199; a whole e has none or infinity."""
    expected = plan.expected_draws
    total = sum(plan.draws(seed, epoch).astype(np.int64) for epoch in range(200))
    fraction = expected % 1.0
    spread = np.sqrt(200 * fraction * (1 - fraction))
    deviation = np.abs(total - 200 * expected)
    far = np.where(deviation > 1e-9, np.inf, 0.0)
    return np.asarray(np.divide(deviation, spread, out=far, where=spread > 0))


@pytest.mark.parametrize(("shape", "seed"), [(0.3, 1), (0.3, 2), (1.0, 3), (5.0, 4)])
def test_over_200_epochs_no_image_departs_by_more_than_six_spreads(shape: float, seed: int) -> None:
    # At shape 0.3 every tenth image is expected less than once in 7000 epochs.
    plan = make_plan(skewed(20_000, seed=seed, shape=shape))

    assert departures(plan, seed=seed).max() <= 6


def test_expectations_close_to_a_whole_number_keep_to_it_for_200_epochs() -> None:
    close = [2.00005, 0.99995, 1.00001, 0.00003] * 500
    others = np.random.default_rng(0).uniform(0.2, 3, 2000)
    expected = np.concatenate((close, others, [1.0, 4.0, 0.0]))
    expected[2000:4000] *= (round(expected.sum()) - expected.sum()) / others.sum() + 1
    plan = make_plan(expected)

    assert departures(plan, seed=5).max() <= 6
    draws = np.stack([plan.draws(5, epoch) for epoch in range(200)])
    assert draws[:, :2000].reshape(200, 500, 4).sum(axis=(0, 1)).tolist() == [
        200 * 500 * whole for whole in (2, 1, 1, 0)
    ]
    assert (draws[:, -3:] == [1, 4, 0]).all()
    assert (draws.sum(axis=1) == plan.num_draws).all()


def test_a_plan_of_nothing_but_slivers_is_drawn_as_it_is() -> None:
    plan = make_plan(np.full(20_000, 1 + 1 / 20_000))  # one draw more than images

    assert [int(plan.draws(0, epoch).sum()) for epoch in range(3)] == [20_001] * 3


def test_images_of_one_expectation_are_drawn_equally_often_over_a_block_of_epochs() -> None:
    plan = make_plan(np.full(64, 0.375))

    total = sum(plan.draws(0, epoch) for epoch in range(256))

    assert np.asarray(total).tolist() == [96] * 64


def test_which_images_are_drawn_together_changes_from_epoch_to_epoch() -> None:
    plan = make_plan(np.full(40, 0.5))

    chosen = {plan.draws(0, epoch).tobytes() for epoch in range(50)}

    assert len(chosen) == 50


def test_a_plan_reads_back_as_it_was_written_and_writes_the_same_bytes(tmp_path: Path) -> None:
    plan = make_plan(skewed(100, seed=2))
    uri = plan.write(str(tmp_path))
    written = Path(uri).read_bytes()

    again = SamplePlan.read(str(tmp_path))
    again.write(str(tmp_path))

    assert (again.expected_draws == plan.expected_draws).all()
    assert again.keys.equals(plan.keys)
    assert again.datasets.equals(plan.datasets)
    assert Path(uri).read_bytes() == written


def test_a_plan_of_no_images_or_negative_draws_is_refused() -> None:
    with pytest.raises(DataError, match="not numbers from 0 up"):
        make_plan([])
    with pytest.raises(DataError, match="not numbers from 0 up"):
        make_plan([-1.0, 3.0])
    with pytest.raises(DataError, match="not numbers from 0 up"):
        make_plan([float("nan"), 3.0])


def test_a_folder_without_a_plan_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises((DataError, StorageError), match=r"plan\.parquet"):
        SamplePlan.read(str(tmp_path))


def test_a_file_that_is_no_plan_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "plan.parquet").write_bytes(b"not parquet")

    with pytest.raises(DataError, match="is not a sample plan"):
        SamplePlan.read(str(tmp_path))


def test_another_global_batch_lengthens_the_epoch_and_keeps_the_shares() -> None:
    plan = make_plan([1.0, 3.0])

    longer = plan.for_global_batch(8)

    assert longer.num_draws == 8
    assert longer.expected_draws.tolist() == [2.0, 6.0]
    assert plan.for_global_batch(4) is plan


def test_leaving_images_out_keeps_the_length_of_the_epoch() -> None:
    plan = make_plan([1.0, 2.0, 1.0]).restricted_to(np.array([True, False, True]))

    assert plan.keys.to_pylist() == ["toy/0", "toy/2"]
    assert plan.expected_draws.tolist() == [2.0, 2.0]


def test_rounding_up_leaves_multiples_alone() -> None:
    assert [rounded_up(n, 8) for n in (1, 8, 9)] == [8, 8, 16]
