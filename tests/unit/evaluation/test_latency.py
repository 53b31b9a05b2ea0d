import numpy as np
import pytest

from damo_yolo.evaluation.latency import LatencyConfig, describe_environment, measure_latency

IMAGES = np.zeros((1, 3, 32, 32), np.uint8)


class Machine:
    """A clock that moves only when a call takes time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def clock(self) -> float:
        return self.now

    def takes(self, name: str, *seconds: float) -> "Call":
        return Call(self, name, list(seconds))


class Call:
    def __init__(self, machine: Machine, name: str, seconds: list[float]) -> None:
        self.machine, self.name, self.seconds = machine, name, seconds

    def __call__(self, images: object) -> None:
        del images
        self.machine.order.append(self.name)
        seconds = self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]
        self.machine.now += seconds


def test_percentiles_are_those_of_the_counted_calls_in_milliseconds() -> None:
    machine = Machine()
    call = machine.takes("net", 9.0, *[i / 1000 for i in range(1, 12)])  # a slow first call

    record = measure_latency(
        {"net": call}, IMAGES, LatencyConfig(warmup=1, repeats=11), clock=machine.clock
    )["net"]

    assert (record.p10_ms, record.p50_ms, record.p90_ms) == pytest.approx((2.0, 6.0, 10.0))
    assert record.p99_ms == pytest.approx(10.9)
    assert record.mean_ms == pytest.approx(6.0)
    assert (record.repeats, record.warmup) == (11, 1)


def test_backends_take_turns_after_their_warm_up() -> None:
    machine = Machine()
    calls = {"a": machine.takes("a", 0.1), "b": machine.takes("b", 0.2)}

    records = measure_latency(
        calls, IMAGES, LatencyConfig(warmup=2, repeats=3), clock=machine.clock
    )

    assert machine.order == ["a", "a", "b", "b", *"ababab"]
    assert records["a"].interleaved_with == ("b",)
    assert records["b"].p50_ms == pytest.approx(200.0)


def test_slow_backends_stop_at_the_limit_but_not_before_five_rounds() -> None:
    machine = Machine()
    config = LatencyConfig(warmup=0, repeats=100, limit_s=3.0)

    slow = measure_latency({"a": machine.takes("a", 2.0)}, IMAGES, config, clock=machine.clock)
    fast = measure_latency({"a": machine.takes("a", 0.5)}, IMAGES, config, clock=machine.clock)

    assert slow["a"].repeats == 5
    assert fast["a"].repeats == 7


def test_a_record_names_shapes_threads_hardware_and_versions() -> None:
    machine = Machine()
    images = np.zeros((4, 3, 64, 64), np.uint8)

    record = measure_latency(
        {"a": machine.takes("a", 0.1)},
        images,
        LatencyConfig(repeats=1),
        threads=2,
        clock=machine.clock,
    )["a"]

    assert (record.batch_size, record.image_size, record.threads) == (4, 64, 2)
    assert record.environment == describe_environment()
    assert record.environment.cpu
    assert {"python", "torch", "openvino"} <= set(record.environment.versions)
