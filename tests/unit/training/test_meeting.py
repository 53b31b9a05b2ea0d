"""Two ranks meet before a step, and one of them stays away."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from damo_yolo.training.ranks import Meeting
from damo_yolo.training.reporter import PAUSE


@pytest.mark.parametrize("hanging_rank", [0, 1])
def test_a_rank_that_stays_away_is_named_and_wishes_are_shared(
    tmp_path: Path, hanging_rank: int
) -> None:
    script = Path(__file__).with_name("meeting_rank.py")
    ranks = [
        subprocess.Popen([sys.executable, str(script), str(rank), str(hanging_rank), str(tmp_path)])
        for rank in range(2)
    ]
    for process in ranks:
        process.wait(timeout=120)

    answers = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert [answer["agreed"] for answer in answers] == [PAUSE, PAUSE], "rank 1 wished so"
    problem = answers[1 - hanging_rank]["problem"]
    lost = f"rank {hanging_rank} did not come to the next step"
    assert problem == f"{lost} (no answer from 127.0.0.1 within 3 s)"


def test_a_process_alone_waits_for_nobody() -> None:
    assert Meeting(timeout_s=1.0).agree(PAUSE) == PAUSE
