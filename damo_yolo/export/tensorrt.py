"""ONNX -> TensorRT engine, with whichever of NVIDIA's two packages is installed.

`tensorrt` builds for the GPU it runs on. `tensorrt-rtx` builds ahead of time, on any machine, for
the GPU generations asked for. Networks are strongly typed: the precision is that of the ONNX file.
An engine runs on a GPU only, so whoever builds one without running it has not attested it.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from damo_yolo import storage
from damo_yolo.errors import DamoYoloError, MissingExtraError
from damo_yolo.inference.info import DetectorInfo

PACKAGES = ("tensorrt", "tensorrt_rtx")
CAPABILITIES = ("SM80", "SM86", "SM89", "SM120")
"""GPU generations an engine is built for ahead of time: Ampere, Ada and Blackwell."""


class EngineError(DamoYoloError):
    """TensorRT refused the network."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A serialised engine on disk."""

    kind: Literal["tensorrt", "tensorrt-rtx"]
    path: Path
    note: str
    """What it was built with and for."""


def build_engine(
    onnx_path: Path,
    info: DetectorInfo,
    path: Path,
    *,
    capabilities: Sequence[str] = CAPABILITIES,
) -> Engine:
    """Build an engine from an ONNX file of this project.

    Args:
        onnx_path: from `export_onnx`; its precision is the engine's.
        info: of that file; written beside the engine as `<name>.json`.
        path: the engine to write.
        capabilities: GPU generations, for `tensorrt-rtx`.

    Raises:
        MissingExtraError: neither package is installed.
        EngineError: the network was refused, or there is no GPU where one is needed.
    """
    trt = import_tensorrt()
    ahead_of_time = trt.__name__ == "tensorrt_rtx"
    network_bytes = _build(trt, onnx_path, capabilities if ahead_of_time else ())
    with storage.atomic_path(path) as draft:
        draft.write_bytes(network_bytes)
    storage.write_text(str(path) + ".json", info.model_dump_json(indent=2))
    target = ", ".join(capabilities) if ahead_of_time else "the GPU of this machine"
    kind: Literal["tensorrt", "tensorrt-rtx"] = "tensorrt-rtx" if ahead_of_time else "tensorrt"
    return Engine(kind, path, f"{kind} {trt.__version__}, built for {target}")


def import_tensorrt() -> ModuleType:
    """Return the first of the two packages that is installed.

    Raises:
        MissingExtraError: there is none.
    """
    for name in PACKAGES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise MissingExtraError(
        "no TensorRT is installed, so no engine can be built",
        fix='install an extra: pip install "damo-yolo-pipeline[tensorrt-rtx]" builds on any'
        " machine, [tensorrt] on the GPU",
    )


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
