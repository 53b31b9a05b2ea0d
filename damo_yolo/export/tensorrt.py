"""ONNX -> TensorRT engine, with whichever of NVIDIA's two packages is installed.

`tensorrt` builds for the GPU it runs on. `tensorrt-rtx` builds ahead of time, on any machine, for
the GPU generations asked for. Networks are strongly typed: the precision is that of the ONNX file.
An engine runs on a GPU only, so whoever builds one without running it has not attested it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from damo_yolo import storage
from damo_yolo.inference.info import DetectorInfo
from damo_yolo.inference.tensorrt_runtime import PACKAGES, EngineError, import_tensorrt

Package = Literal["tensorrt", "tensorrt-rtx"]

CAPABILITIES = ("SM80", "SM86", "SM89", "SM120")
"""GPU generations an engine is built for ahead of time: Ampere, Ada and Blackwell."""
BATCHES = (1, 8, 32)
"""Least, usual and most images of an engine with an open batch."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A serialised engine on disk."""

    kind: Package
    path: Path
    note: str
    """What it was built with and for."""


def build_engine(
    onnx_path: Path,
    info: DetectorInfo,
    path: Path,
    *,
    capabilities: Sequence[str] = CAPABILITIES,
    package: Package | None = None,
) -> Engine:
    """Build an engine from an ONNX file of this project.

    Args:
        onnx_path: from `export_onnx`; its precision is the engine's.
        info: of that file; written beside the engine as `<name>.json`.
        path: the engine to write.
        capabilities: GPU generations, for `tensorrt-rtx`.
        package: which of the two; None: the first that is installed.

    Raises:
        MissingExtraError: the package is not installed.
        EngineError: the network was refused, or there is no GPU where one is needed.
    """
    if info.preprocess:
        raise EngineError(
            "TensorRT's parser takes no byte images, so an engine cannot hold the preprocessing",
            fix="leave --preprocess out for engines",
        )
    trt = import_tensorrt([package.replace("-", "_")] if package else PACKAGES)
    ahead_of_time = trt.__name__ == "tensorrt_rtx"
    network_bytes = _build(trt, onnx_path, capabilities if ahead_of_time else ())
    with storage.atomic_path(path) as draft:
        draft.write_bytes(network_bytes)
    storage.write_text(str(path) + ".json", info.model_dump_json(indent=2))
    target = ", ".join(capabilities) if ahead_of_time else "the GPU of this machine"
    kind: Package = "tensorrt-rtx" if ahead_of_time else "tensorrt"
    return Engine(kind, path, f"{kind} {trt.__version__}, built for {target}")


def _build(trt: Any, onnx_path: Path, capabilities: Sequence[str]) -> bytes:
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx_path)):
        reasons = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise EngineError(
            f"TensorRT cannot parse {onnx_path.name}: {reasons}",
            fix="use the ONNX or OpenVINO artifact, and report this operator",
        )
    config = builder.create_builder_config()
    images = network.get_input(0)
    if images.shape[0] < 0:
        profile = builder.create_optimization_profile()
        shapes = [(batch, *tuple(images.shape)[1:]) for batch in BATCHES]
        profile.set_shape(images.name, *shapes)
        config.add_optimization_profile(profile)
    if capabilities:
        config.num_compute_capabilities = len(capabilities)
        for index, name in enumerate(capabilities):
            config.set_compute_capability(_capability(trt, name), index)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise EngineError(
            f"TensorRT could not build an engine from {onnx_path.name}",
            fix="build with fewer GPU generations, or on a machine with the GPU",
        )
    return bytes(engine)


def _capability(trt: Any, name: str) -> Any:
    known = trt.ComputeCapability.__members__
    if name not in known:
        raise EngineError(
            f"this TensorRT does not build for {name}", fix=f"use some of: {', '.join(known)}"
        )
    return known[name]
