"""Torch, ONNX, OpenVINO and TensorRT behind one call, each opened from one location.

Every backend knows its own classes, input size and thresholds.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.artifacts import Artifact
from damo_yolo.errors import ConfigError, DataError, StorageError
from damo_yolo.inference.backend import INPUT_NAME, Backend, GraphBackend, Outputs
from damo_yolo.inference.info import METADATA_KEY, DetectorInfo
from damo_yolo.inference.openvino_runtime import import_openvino
from damo_yolo.inference.tensorrt_runtime import open_engine

ENGINE_SUFFIXES = (".engine", ".plan")


class TorchBackend(Backend):
    """The model as trained, in PyTorch on the CPU."""

    def __init__(self, detector: Any, info: DetectorInfo, *, threads: int | None = None) -> None:
        """Keep a detector in eval mode."""
        super().__init__(info)
        self._detector = detector.eval()
        self._threads = threads

    def _run(self, images: NDArray[np.float32]) -> Outputs:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self._threads or before)  # a setting of the whole process
        try:
            with torch.inference_mode():
                scores, boxes = self._detector(torch.from_numpy(images))
        finally:
            torch.set_num_threads(before)
        return scores.float().numpy(), boxes.float().numpy()


class OnnxBackend(GraphBackend):
    """An ONNX file in ONNX Runtime."""

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        """Load the file."""
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)  # errors only
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 - its errors share no narrower class
            raise _unreadable(path, error) from None
        entries = self._session.get_modelmeta().custom_metadata_map
        batch = self._session.get_inputs()[0].shape[0]
        super().__init__(
            DetectorInfo.of_file(entries.get(METADATA_KEY), source=str(path)),
            max_batch=batch if isinstance(batch, int) else None,
        )

    def _values(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        names = [output.name for output in self._session.get_outputs()]
        found = self._session.run(names, {INPUT_NAME: images})
        return dict(zip(names, found, strict=True))


class OpenVinoBackend(GraphBackend):
    """An OpenVINO IR on the CPU, tuned for one request at a time."""

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        """Compile the IR."""
        core = import_openvino().Core()
        try:
            model = core.read_model(path)
        except RuntimeError as error:
            raise _unreadable(path, error) from None
        text = (
            model.get_rt_info(METADATA_KEY).astype(str) if model.has_rt_info(METADATA_KEY) else None
        )
        batch = model.input(0).partial_shape[0]
        super().__init__(
            DetectorInfo.of_file(text, source=str(path)),
            max_batch=None if batch.is_dynamic else batch.get_length(),
        )
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            # Some processors would compute in bf16: then one file gives two answers.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()

    def _values(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        found = self._request.infer({INPUT_NAME: images})
        return {port.get_any_name(): np.array(value) for port, value in found.items()}


def open_backend(uri: str, *, threads: int | None = None) -> Backend:
    """Open an artifact by what it is.

    Args:
        uri: a model folder or its `model.pt`, an `.onnx`, an OpenVINO `.xml`, a TensorRT `.engine`,
            or the JSON of one `Artifact`; local or remote.
        threads: processor threads of a call; None: the runtime's own choice.

    Raises:
        ConfigError: the location is of no known kind.
        DataError: the file is broken or was not exported by this project.
        StorageError: nothing is at the location.
        MissingExtraError: the runtime is not installed.
        EngineError: an engine, and no GPU to run it.
    """
    suffix = Path(uri).suffix.lower()
    if suffix == ".json":
        return open_backend(_artifact_uri(uri), threads=threads)
    if suffix in ENGINE_SUFFIXES:
        return open_engine(uri)
    if suffix in {"", ".pt"}:
        return _open_torch(uri, threads=threads)
    openers: dict[str, Callable[..., Backend]] = {".onnx": OnnxBackend, ".xml": OpenVinoBackend}
    if suffix not in openers:
        raise ConfigError(
            f"{uri} is no detector this project knows",
            fix="give a model folder, a .pt, an .onnx, an .xml, or an artifact's .json",
        )
    with tempfile.TemporaryDirectory() as folder:
        path = _fetch_with_companions(uri, Path(folder))
        return openers[suffix](path, threads=threads)


def _open_torch(uri: str, *, threads: int | None) -> Backend:
    from damo_yolo.inference.model_folder import load_model

    model = load_model(uri)
    return TorchBackend(model.detector, model.info, threads=threads)


def _fetch_with_companions(uri: str, folder: Path) -> Path:
    path = storage.fetch(uri, folder) if storage.is_remote(uri) else Path(uri)
    if not path.is_file():
        raise StorageError(f"nothing is at {uri}", fix="check the location")
    if path.suffix == ".xml" and storage.is_remote(uri):
        storage.fetch(uri.removesuffix(".xml") + ".bin", folder)
    return path


def _artifact_uri(uri: str) -> str:
    artifact = Artifact.from_yaml(storage.read_text(uri), source=uri)  # JSON is YAML
    if not artifact.uri:
        raise DataError(
            f"{uri} describes an artifact that was not built: {artifact.note}",
            fix="open another artifact of the same export",
        )
    folder = uri.rpartition("/")[0]
    return storage.join(folder, artifact.uri) if folder else artifact.uri


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:300]
    return DataError(f"{path} cannot be opened: {reason}", fix="export the model again")
