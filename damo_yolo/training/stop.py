"""Who asks a training to stop: SIGTERM to one of its processes, or a file in its folder.

The process that started Ray workers cannot call into their training; it leaves the file.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from damo_yolo import storage
from damo_yolo.training.reporter import GO_ON, PAUSE

STOP_FILE = "stop"
"""In the model folder."""
LOCAL_PERIOD_S, REMOTE_PERIOD_S = 0.5, 5.0
"""Between two looks at it."""

_signalled = threading.Event()


class StopWish:
    """What the outside wishes of this rank, asked before every step."""

    def __init__(self, folder_uri: str, *, rank: int = 0) -> None:
        """Watch the folder; rank 0 does so for all."""
        self._uri = storage.join(folder_uri, STOP_FILE)
        self._period_s = REMOTE_PERIOD_S if storage.is_remote(folder_uri) else LOCAL_PERIOD_S
        self._watches = rank == 0
        self._next_look = 0.0

    def __call__(self) -> int:
        """Return `PAUSE` once this process got SIGTERM or the file is there, else `GO_ON`."""
        if _signalled.is_set():
            return PAUSE
        now = time.monotonic()
        if self._watches and now >= self._next_look:
            self._next_look = now + self._period_s
            if storage.exists(self._uri):
                return PAUSE
        return GO_ON


def ask_to_stop(folder_uri: str) -> None:
    """Let the training in a model folder save its state and stop."""
    storage.write_text(storage.join(folder_uri, STOP_FILE), "SIGTERM\n")


def forget_request(folder_uri: str) -> None:
    """Take the file away: the training may run again."""
    storage.remove(storage.join(folder_uri, STOP_FILE))


def is_asked_to_stop(folder_uri: str) -> bool:
    """Tell whether the file is there."""
    return storage.exists(storage.join(folder_uri, STOP_FILE))


def note_sigterm() -> None:
    """Let SIGTERM ask this process's training to stop; called in the main thread."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: _signalled.set())


@contextmanager
def on_sigterm(action: Callable[[], None]) -> Iterator[None]:
    """Let SIGTERM call `action` while the block runs, where signals can be caught at all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        action()

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM ask the training of this process to stop, while the block runs."""
    _signalled.clear()
    with on_sigterm(_signalled.set):
        yield
    _signalled.clear()
