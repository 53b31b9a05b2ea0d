"""TensorRT engines on a GPU, with whichever of NVIDIA's two packages is installed.

Buffers are torch tensors on the GPU, so torch must be its CUDA build. Both packages have the same
runtime: deserialise, name an address for every input and output, enqueue on a stream.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.errors import DamoYoloError, MissingExtraError
from damo_yolo.inference.backend import INPUT_NAME, GraphBackend
from damo_yolo.inference.info import DetectorInfo

PACKAGES = ("tensorrt", "tensorrt_rtx")


class EngineError(DamoYoloError):
    """TensorRT refused a network, or an engine cannot run here."""


def import_tensorrt(packages: Sequence[str] = PACKAGES) -> ModuleType:
    """Return the first of the packages that is installed.

    Raises:
        MissingExtraError: there is none.
    """
    for name in packages:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise MissingExtraError(
        f"no {' or '.join(packages)} is installed, so no engine can be built or run",
        fix='install an extra: pip install "damo-yolo-pipeline[tensorrt-rtx]" builds on any'
        " machine, [tensorrt] on the GPU",
    )


def engine_info(uri: str) -> DetectorInfo:
    """Return what lies beside an engine as `<engine>.json`."""
    return DetectorInfo.of_file(storage.read_text(f"{uri}.json"), source=uri)


def open_engine(uri: str) -> "EngineBackend":
    """Open an engine on the GPU of this machine.

    Raises:
        MissingExtraError: TensorRT is not installed.
        EngineError: there is no GPU, or the engine is for another one.
    """
    import torch

    info = engine_info(uri)
    trt = import_tensorrt()
    if not torch.cuda.is_available():
        raise EngineError(
            f"{uri} is a TensorRT engine, and torch sees no GPU here: it was not run",
            fix="run `damo-yolo attest` on the machine with the GPU, or use the ONNX artifact",
        )
    return EngineBackend(trt, storage.read_bytes(uri), info, source=uri)


class EngineBackend(GraphBackend):
    """A TensorRT engine on the current GPU."""

    def __init__(self, trt: Any, data: bytes, info: DetectorInfo, *, source: str) -> None:
        """Deserialise an engine."""
        import torch

        self._torch, self._trt = torch, trt
        self._logger = trt.Logger(trt.Logger.ERROR)
        engine = trt.Runtime(self._logger).deserialize_cuda_engine(data)
        if engine is None:
            raise EngineError(
                f"{Path(source).name} does not load on this GPU",
                fix="build it again for this GPU and with this TensorRT",
            )
        self._engine, self._context = engine, engine.create_execution_context()
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        self._outputs = [name for name in names if name != INPUT_NAME]
        batch = engine.get_tensor_shape(INPUT_NAME)[0]
        super().__init__(info, max_batch=batch if batch > 0 else None)
        self.device: str = torch.cuda.get_device_name()

    def _values(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        torch, context = self._torch, self._context
        given = torch.from_numpy(np.ascontiguousarray(images)).cuda()
        context.set_input_shape(INPUT_NAME, tuple(given.shape))
        context.set_tensor_address(INPUT_NAME, given.data_ptr())
        kinds = {self._trt.DataType.INT64: torch.int64, self._trt.DataType.INT32: torch.int32}
        results = {}
        for name in self._outputs:
            kind = kinds.get(self._engine.get_tensor_dtype(name), torch.float32)
            shape = tuple(context.get_tensor_shape(name))
            results[name] = torch.empty(shape, dtype=kind, device="cuda")
            context.set_tensor_address(name, results[name].data_ptr())
        stream = torch.cuda.current_stream()
        if not context.execute_async_v3(stream.cuda_stream):
            raise EngineError("TensorRT could not run the engine", fix="build the engine again")
        stream.synchronize()
        return {name: value.cpu().numpy() for name, value in results.items()}
