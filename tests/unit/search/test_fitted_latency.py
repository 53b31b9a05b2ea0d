"""A latency model finds the shares that made the times, and states its error honestly."""

from pathlib import Path

import numpy as np
import pytest

from damo_yolo.errors import ConfigError
from damo_yolo.models.zoo import detector_config
from damo_yolo.search.evolve import random_genes
from damo_yolo.search.fitted_latency import (
    FEATURES,
    FittedLatency,
    LatencyError,
    NetworkTimes,
    OpTime,
    conv_features,
    fit_latency,
    latency_error,
)
from damo_yolo.search.network import ONE, Array, Conv, search_convs
from damo_yolo.search.space import search_space

SHARES = {"point.arithmetic": 0.02, "depthwise.start": 0.01, "depthwise.read": 0.5, "silu": 0.3}


def _vector(shares: dict[str, float]) -> Array:
    return np.asarray([shares.get(name, 0.0) for name in FEATURES])


def _networks(count: int) -> list[list[Conv]]:
    space = search_space("mob", detector_config("damo-yolo-ns"), network="search")
    genes = random_genes(space, 4 * count, np.random.default_rng(0))
    networks = [space.networks(genes[index : index + 1]) for index in range(count)]
    return [[conv for _, conv in search_convs(network) if conv.on_path] for network in networks]


def _ms(convs: list[Conv]) -> float:
    return sum(float((c.times * (conv_features(c, "silu") @ _vector(SHARES)))[0]) for c in convs)


def test_a_convolution_amounts_to_what_can_be_counted_by_hand() -> None:
    conv = Conv(20.0 * ONE, 40.0 * ONE, ONE, size=10, stride=1, summed=True)

    (features,) = conv_features(conv, "relu")

    counted = dict(zip(FEATURES, features, strict=True))
    assert counted["point.start"] == 1
    assert counted["point.arithmetic"] == pytest.approx(32 * 48 * 100 / 1e6)  # padded to 16
    assert counted["point.read"] == pytest.approx(20 * 100 / 1e6)
    assert counted["point.written"] == counted["summed"] == counted["relu"]
    assert counted["relu"] == pytest.approx(40 * 100 / 1e6)
    assert sum(features > 0) == 6


def test_the_fit_finds_the_shares_from_whole_networks() -> None:
    networks = _networks(30)
    times = [NetworkTimes(activation="silu", ms=2.0 + _ms(convs)) for convs in networks]

    shares, base, error = fit_latency(networks, times, held_out=10)

    assert shares["point.arithmetic"] == pytest.approx(0.02, rel=0.2)
    assert base >= 0
    assert error.rank_correlation > 0.99
    assert error.worst < 0.03
    assert error.num_networks == 10


def test_operators_tell_apart_what_networks_cannot() -> None:
    networks = _networks(10)
    times = []
    for convs in networks:
        ops: dict[tuple[int, ...], float] = {}
        for conv in convs:
            numbers = (conv.cin[0], conv.cout[0], conv.kernel[0], conv.size, conv.stride)
            shape = (*(int(number) for number in numbers), int(conv.depthwise))
            ops[shape] = ops.get(shape, 0.0) + _ms([conv])
        names = ("cin", "cout", "kernel", "size", "stride", "depthwise")
        listed = [
            OpTime.model_validate({**dict(zip(names, shape, strict=True)), "ms": ms})
            for shape, ms in ops.items()
        ]
        times.append(NetworkTimes(activation="silu", ms=1.0 + _ms(convs), ops=tuple(listed)))

    shares, base, error = fit_latency(networks, times, held_out=4)

    assert base == pytest.approx(1.0, rel=0.01)
    for name, share in SHARES.items():
        assert shares[name] == pytest.approx(share, rel=0.02)
    assert error.worst < 0.001


def test_the_error_is_that_of_the_networks_held_out() -> None:
    error = latency_error(np.asarray([1.0, 2.0, 3.0, 4.0]), np.asarray([1.0, 2.5, 2.0, 8.0]))

    assert error.median == pytest.approx((0.2 + 0.5) / 2)
    assert error.worst == 0.5
    assert error.rank_correlation == pytest.approx(0.8)


def test_a_model_survives_its_file_and_knows_what_it_has_not_measured(tmp_path: Path) -> None:
    model = FittedLatency(
        target="onnx",
        base=1.5,
        shares=SHARES,
        error=LatencyError(num_networks=4, rank_correlation=1.0, median=0.01, worst=0.02),
        image_size=320,
        neck_channels=(40, 80, 160),
        activations=("silu",),
    )
    path = tmp_path / "latency.yaml"
    path.write_text(model.to_yaml())

    assert FittedLatency.load(str(path)) == model
    with pytest.raises(ConfigError, match="has not measured the activation 'relu'"):
        model.conv_ms(Conv(ONE, ONE, ONE, size=1), "relu")
