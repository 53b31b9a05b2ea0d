"""A search writes detectors that build, train and keep their budgets."""

from pathlib import Path

import pytest
import torch

from damo_yolo.errors import ConfigError
from damo_yolo.models.config import DetectorConfig
from damo_yolo.models.cost import measure_cost
from damo_yolo.models.zoo import build_detector, detector_config
from damo_yolo.search import score_structure
from damo_yolo.search.evolve import EvolutionConfig
from damo_yolo.search.fitted_latency import FittedLatency, padded_shape
from damo_yolo.search.network import Conv
from damo_yolo.stages import profile_targets
from damo_yolo.stages.profile import ProfileConfig, ProfileJob, list_convs, profile_target
from damo_yolo.stages.profile_targets import Placed, place
from damo_yolo.stages.search import RESULT_FILE, SearchConfig, SearchResult, search_backbone

SHORT = EvolutionConfig(evaluations=8_000)


@pytest.mark.parametrize(("family", "like"), [("mob", "ns"), ("res", "t"), ("csp", "m")])
def test_a_found_detector_builds_trains_and_keeps_its_budgets(
    tmp_path: Path, family: str, like: str
) -> None:
    shipped = detector_config(f"damo-yolo-{like}")
    cost = measure_cost(shipped)
    budgets = {"flops": cost.gflops * 1e9, "params": cost.params_m * 1e6, "layers": 30}
    values = {"family": family, "like": f"damo-yolo-{like}", "evolution": SHORT}
    config = SearchConfig.from_mapping(values)

    result = search_backbone(budgets=budgets, out_uri=str(tmp_path), config=config)

    found = detector_config(result.best.uri)
    counted = measure_cost(found)
    assert score_structure(result.best.uri, network="detector") == pytest.approx(result.best.score)
    assert result.best.gap < 5e-4
    assert counted.gflops <= cost.gflops
    assert counted.params_m <= cost.params_m
    assert round(counted.gflops * 1e9) == result.best.costs["flops"]
    assert found.backbone.family == family
    assert SearchResult.model_validate_json((tmp_path / RESULT_FILE).read_text()) == result
    detector = build_detector(result.best.uri, num_classes=3).train()
    output = detector(torch.rand(2, 3, 64, 64) * 255)
    output.class_logits.mean().backward()
    assert all(parameter.grad is not None for parameter in detector.backbone.parameters())


def test_equal_seeds_write_equal_files(tmp_path: Path) -> None:
    config = SearchConfig(family="mob", evolution=SHORT, alternatives=1)
    for name in ("first", "second"):
        out = str(tmp_path / name)
        search_backbone(budgets={"flops": 1.2e9, "layers": 30}, out_uri=out, config=config)

    for name in ("best.json", "alternative-1.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_even_weights_move_depth_and_width_from_the_last_level_to_the_first(tmp_path: Path) -> None:
    found = {}
    for name, weights in (("published", (0, 0, 1, 1, 16)), ("even", (0, 0, 1, 1, 1))):
        config = SearchConfig(family="mob", evolution=SHORT, weights=weights)
        budgets = {"flops": 1.2e9, "layers": 30}
        result = search_backbone(budgets=budgets, out_uri=str(tmp_path / name), config=config)
        own = score_structure(result.best.uri, network="detector", weights=weights)
        assert own == pytest.approx(result.best.score)
        found[name] = detector_config(result.best.uri).backbone

    first, last = ({n: b.rows[i] for n, b in found.items()} for i in (1, -1))  # strides 8 and 32
    assert first["even"].num_blocks > first["published"].num_blocks
    assert last["even"].num_blocks < last["published"].num_blocks
    assert last["even"].out_channels < last["published"].out_channels


def test_latency_decides_between_activations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _profiled(tmp_path, monkeypatch)
    config = SearchConfig(family="mob", activations=("silu", "relu"), evolution=SHORT)

    result = search_backbone(
        budgets={"latency_ms": 25.0, "layers": 30},
        out_uri=str(tmp_path / "found"),
        config=config,
        latency_uri=str(tmp_path / "latency.yaml"),
    )

    assert model.error.median < 0.01
    assert result.best.activation == "relu"  # the cheaper one leaves room for width
    assert result.by_activation["relu"] > result.by_activation["silu"]
    assert result.best.costs["latency_ms"] <= 25.0
    found = detector_config(result.best.uri)
    assert found.activation == "relu"
    assert _made_up_ms(list_convs(found), "relu") == pytest.approx(
        result.best.costs["latency_ms"], rel=0.01
    )


def test_latency_of_another_input_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _profiled(tmp_path, monkeypatch)
    with pytest.raises(ConfigError, match="was measured at 416 pixels"):
        search_backbone(
            budgets={"latency_ms": 12.0},
            out_uri=str(tmp_path / "found"),
            config=SearchConfig(image_size=320),
            latency_uri=str(tmp_path / "latency.yaml"),
        )


def test_a_latency_budget_needs_a_measured_target(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs measurements of the target"):
        search_backbone(budgets={"latency_ms": 5.0}, out_uri=str(tmp_path))


def test_an_unknown_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no target is called 'toaster'"):
        profile_target(ProfileJob(target="toaster"), out_uri=str(tmp_path / "x.yaml"))


@pytest.mark.parametrize("target", ["openvino-cpu", "onnx"])
def test_a_target_shows_the_convolutions_that_are_counted(target: str) -> None:
    config = detector_config("damo-yolo-ns").model_copy(update={"image_size": 64})

    placed = place(target, config, threads=1)
    placed.run()

    counted = {
        padded_shape(c.cin[0], c.cout[0], c.kernel[0], c.size, c.stride) for c in list_convs(config)
    }
    shown = {padded_shape(o.cin, o.cout, o.kernel, o.size, o.stride) for o in placed.ops}
    assert len(counted & shown) >= 0.9 * len(counted)
    assert all(op.ms >= 0 for op in placed.ops)


def _profiled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FittedLatency:
    """Profile a target whose times are made up: silu is dear there."""
    made: list[float] = []

    def fake_place(_: str, config: DetectorConfig, *, threads: int) -> Placed:
        assert threads == 1
        made.append(_made_up_ms(list_convs(config), config.activation))
        return Placed(lambda: None, ())

    monkeypatch.setattr(profile_targets, "place", fake_place)
    monkeypatch.setattr(profile_targets, "time_in_turn", lambda _, rounds: made[: rounds * 1000])
    job = ProfileJob(target="onnx", activations=("relu", "silu"))
    return profile_target(
        job,
        out_uri=str(folder / "latency.yaml"),
        config=ProfileConfig(networks=60, held_out=10),
    )


def _made_up_ms(convs: list[Conv], activation: str) -> float:
    total = 3.0
    for conv in convs:
        written = conv.times[0] * conv.cout[0] * conv.size**2 / 1e6
        activated = 2.0 if activation == "silu" and conv.activated else 0.0
        total += float(written * (1.0 + activated))
    return total
