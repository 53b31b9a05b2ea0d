"""Who may stop a training."""

import os
import signal
import threading
from pathlib import Path

from damo_yolo.training.reporter import GO_ON, PAUSE
from damo_yolo.training.stop import (
    StopWish,
    ask_to_stop,
    forget_request,
    is_asked_to_stop,
    on_sigterm,
    stoppable,
)


def test_sigterm_asks_the_training_of_a_process_to_pause(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    wish = StopWish(str(tmp_path))
    with stoppable():
        assert wish() == GO_ON
        os.kill(os.getpid(), signal.SIGTERM)
        assert wish() == PAUSE

    assert wish() == GO_ON, "the next training of the process starts afresh"
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_file_in_the_folder_asks_rank_0_for_all(tmp_path: Path) -> None:
    ask_to_stop(str(tmp_path))

    assert StopWish(str(tmp_path), rank=0)() == PAUSE
    assert StopWish(str(tmp_path), rank=1)() == GO_ON, "it hears of it at the next meeting"

    forget_request(str(tmp_path))
    forget_request(str(tmp_path))
    assert not is_asked_to_stop(str(tmp_path))
    assert StopWish(str(tmp_path))() == GO_ON


def test_a_file_in_an_object_store_asks_too(bucket: str) -> None:
    wish = StopWish(bucket)
    assert wish() == GO_ON
    ask_to_stop(bucket)
    wish._next_look = 0.0

    assert wish() == PAUSE


def test_a_thread_that_cannot_catch_signals_trains_all_the_same() -> None:
    done: list[str] = []

    def train() -> None:
        with on_sigterm(lambda: None):
            done.append("trained")

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()

    assert done == ["trained"]
