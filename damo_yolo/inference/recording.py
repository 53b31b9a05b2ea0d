"""What a detector gave on one machine, played on another.

An engine runs on a GPU only. A recording made there holds its outputs by the images it was given,
so that whoever has no GPU can follow the same comparison. A played recording proves nothing anew:
whoever plays one must say so.
"""

import hashlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.errors import DataError
from damo_yolo.inference.backend import GraphBackend
from damo_yolo.inference.info import DetectorInfo

_INFO, _DEVICE = "info", "device"


class Recorder(GraphBackend):
    """A detector whose outputs are kept as it runs, one image at a time."""

    def __init__(self, backend: GraphBackend) -> None:
        """Run a detector and keep what it gives."""
        super().__init__(backend.info, max_batch=1)
        self._backend = backend
        self._kept: dict[str, NDArray[Any]] = {}

    def save(self, uri: str, *, device: str) -> None:
        """Write the recording, and what it was made on."""
        facts = {_INFO: self.info.model_dump_json(), _DEVICE: device}
        buffer = io.BytesIO()
        texts = {name: np.array(text) for name, text in facts.items()}
        np.savez_compressed(buffer, allow_pickle=False, **self._kept, **texts)
        storage.write_bytes(uri, buffer.getvalue())

    def _values(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        values = self._backend.named(images)
        key = _digest(images)
        self._kept |= {f"{key}.{name}": value for name, value in values.items()}
        return values


class Recording(GraphBackend):
    """Plays what a `Recorder` kept."""

    def __init__(self, uri: str) -> None:
        """Read a recording.

        Raises:
            DataError: the file is none.
        """
        try:
            with np.load(io.BytesIO(storage.read_bytes(uri)), allow_pickle=False) as file:
                self._kept = dict(file)
            info = DetectorInfo.of_file(str(self._kept.pop(_INFO)), source=uri)
            self.device = str(self._kept.pop(_DEVICE))
        except (ValueError, KeyError, OSError, EOFError) as error:
            raise DataError(
                f"{uri} is no recording: {error}", fix="make one with `damo-yolo attest --record`"
            ) from None
        super().__init__(info, max_batch=1)
        self._uri = uri

    def _values(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        prefix = f"{_digest(images)}."
        found = {
            name.removeprefix(prefix): value
            for name, value in self._kept.items()
            if name.startswith(prefix)
        }
        if not found:
            raise DataError(
                f"{self._uri} holds no outputs for these images",
                fix="play it with the shards it was recorded with",
            )
        return found


def _digest(images: NDArray[Any]) -> str:
    """Return a name of the values, whatever type holds them."""
    return hashlib.sha256(np.ascontiguousarray(images, np.float32).tobytes()).hexdigest()[:16]
