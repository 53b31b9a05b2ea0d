from pathlib import Path

import pytest

from damo_yolo.errors import TrainingError
from damo_yolo.tuning.trial import NO_WORD, _attempt, is_finished, read_attempts


def test_every_attempt_leaves_a_word(tmp_path: Path) -> None:
    folder = str(tmp_path)

    def train(error: Exception | None = None) -> None:
        with _attempt(folder):
            assert read_attempts(folder)[-1] == NO_WORD, "one that is killed now cannot add any"
            if error:
                raise error

    with pytest.raises(TrainingError):
        train(TrainingError("the loss is not finite", fix="lower the rate"))
    with pytest.raises(MemoryError):
        train(MemoryError("no memory left"))
    train()

    assert read_attempts(folder) == ["the loss is not finite", "MemoryError: no memory left", ""]


def test_a_trial_is_finished_when_its_model_is_there(tmp_path: Path) -> None:
    assert not is_finished(str(tmp_path))
    (tmp_path / "model.pt").touch()
    assert is_finished(str(tmp_path))
