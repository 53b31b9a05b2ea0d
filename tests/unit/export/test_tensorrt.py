"""TensorRT: its API played by a stand-in, and engines that `tensorrt-rtx` really builds."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from damo_yolo.errors import MissingExtraError
from damo_yolo.export.forms import FormConfig, build_forms
from damo_yolo.export.tensorrt import build_engine
from damo_yolo.inference.info import DetectorInfo
from damo_yolo.inference.tensorrt_runtime import EngineError
from damo_yolo.models.reparam import fuse
from damo_yolo.models.zoo import build_detector

INFO = DetectorInfo(
    model="damo-yolo-ns",
    precision="fp16",
    image_size=64,
    class_names=("cat",),
    score_threshold=0.03,
    iou_threshold=0.65,
)


class Logger:
    ERROR = 1

    def __init__(self, level: int) -> None:
        del level


class BuilderConfig:
    num_compute_capabilities = 0

    def __init__(self) -> None:
        self.capabilities: dict[int, str] = {}

    def set_compute_capability(self, capability: str, index: int) -> None:
        assert index < self.num_compute_capabilities
        self.capabilities[index] = capability


class Problem:
    def desc(self) -> str:
        return "no kernel for MatMul"


class StandIn(ModuleType):
    """What the two packages have in common, noting what was asked of it."""

    def __init__(self, name: str, *, parses: bool = True, builds: bool = True) -> None:
        super().__init__(name)
        self.__version__ = "1.2"
        self.config = BuilderConfig()
        self.parsed = ""
        self._parses, self._builds = parses, builds
        self.Logger = Logger
        self.ComputeCapability = SimpleNamespace(__members__={"SM86": "sm86", "SM89": "sm89"})

    def Builder(self, logger: Logger) -> "StandIn":  # noqa: N802 - the name in their API
        assert isinstance(logger, Logger)
        return self

    def OnnxParser(self, network: object, logger: Logger) -> "StandIn":  # noqa: N802 - likewise
        assert network is self.network
        assert isinstance(logger, Logger)
        return self

    def create_network(self, flags: int) -> SimpleNamespace:
        assert flags == 0  # networks are strongly typed, no flag says so any more
        images = SimpleNamespace(name="images", shape=(1, 3, 64, 64))
        self.network = SimpleNamespace(get_input=lambda index: (images,)[index])
        return self.network

    def create_builder_config(self) -> BuilderConfig:
        return self.config

    def build_serialized_network(self, network: object, config: BuilderConfig) -> bytes | None:
        assert (network, config) == (self.network, self.config)
        return b"engine" if self._builds else None

    num_errors = 1

    def parse_from_file(self, path: str) -> bool:
        self.parsed = path
        return self._parses

    def get_error(self, index: int) -> Problem:
        assert index == 0
        return Problem()


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., StandIn]:
    """Return a function that installs one of the packages and hides the other."""
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)

    def put(name: str, **settings: Any) -> StandIn:
        module = StandIn(name, **settings)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return put


def test_without_a_package_the_extra_is_named(
    install: Callable[..., StandIn], tmp_path: Path
) -> None:
    del install
    with pytest.raises(MissingExtraError, match=r"damo-yolo-pipeline\[tensorrt-rtx\]"):
        build_engine(tmp_path / "m.onnx", INFO, tmp_path / "m.engine")
    assert not list(tmp_path.iterdir())


def test_rtx_builds_ahead_of_time_for_the_generations_asked_for(
    install: Callable[..., StandIn], tmp_path: Path
) -> None:
    module = install("tensorrt_rtx")
    path = tmp_path / "m.engine"

    engine = build_engine(tmp_path / "m.onnx", INFO, path, capabilities=("SM86", "SM89"))

    assert path.read_bytes() == b"engine"
    assert module.parsed == str(tmp_path / "m.onnx")
    assert module.config.capabilities == {0: "sm86", 1: "sm89"}
    assert (engine.kind, engine.note) == ("tensorrt-rtx", "tensorrt-rtx 1.2, built for SM86, SM89")
    beside = (tmp_path / "m.engine.json").read_text(encoding="utf-8")
    assert DetectorInfo.model_validate_json(beside) == INFO


def test_the_full_package_goes_first_and_builds_for_its_own_gpu(
    install: Callable[..., StandIn], tmp_path: Path
) -> None:
    install("tensorrt_rtx")
    full = install("tensorrt")

    engine = build_engine(tmp_path / "m.onnx", INFO, tmp_path / "m.engine")

    assert engine.kind == "tensorrt"
    assert full.config.capabilities == {}


def test_what_the_parser_refuses_is_told(install: Callable[..., StandIn], tmp_path: Path) -> None:
    install("tensorrt_rtx", parses=False)

    with pytest.raises(EngineError, match=r"cannot parse m\.onnx: no kernel for MatMul"):
        build_engine(tmp_path / "m.onnx", INFO, tmp_path / "m.engine", capabilities=("SM86",))
    assert not (tmp_path / "m.engine").exists()


def test_no_engine_and_unknown_generations_are_errors(
    install: Callable[..., StandIn], tmp_path: Path
) -> None:
    install("tensorrt_rtx", builds=False)

    with pytest.raises(EngineError, match="could not build"):
        build_engine(tmp_path / "m.onnx", INFO, tmp_path / "m.engine", capabilities=("SM86",))
    with pytest.raises(EngineError, match="does not build for SM10"):
        build_engine(tmp_path / "m.onnx", INFO, tmp_path / "m.engine", capabilities=("SM10",))


@pytest.mark.parametrize("size", ["ns", "nm", "t", "s"])
def test_rtx_builds_real_engines_in_fp32_and_fp16(size: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs the extra tensorrt-rtx")
    name = f"damo-yolo-{size}"
    detector = build_detector(name)
    info = DetectorInfo(
        model=name,
        image_size=detector.config.image_size,
        class_names=tuple(str(index) for index in range(80)),
        score_threshold=0.05,
        iou_threshold=0.7,
    )
    formats = ("tensorrt-rtx-fp32", "tensorrt-rtx-fp16")

    full, half = build_forms(
        detector,
        info,
        formats,
        tmp_path,
        load_images=lambda _: [],
        config=FormConfig(capabilities=("SM86",)),
    )

    assert full.path is not None, full.note
    assert half.path is not None, half.note
    weights = sum(parameter.numel() for parameter in fuse(detector).parameters())
    assert full.path.stat().st_size > 4 * weights
    assert 2 * weights < half.path.stat().st_size < full.path.stat().st_size
    assert "built for SM86; not run" in full.note
    assert not full.runs_here
