"""What ranks share, in one process and in two."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from damo_yolo.training.ranks import gather_objects, mean_over_ranks, with_pooled_statistics


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes of `one_rank.py` found."""
    folder = tmp_path_factory.mktemp("ranks")
    script = Path(__file__).with_name("one_rank.py")
    ranks = [
        subprocess.Popen([sys.executable, str(script), str(rank), str(folder)]) for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in ranks] == [0, 0]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_running_statistics_of_two_ranks_become_those_of_all_images(
    answers: list[dict[str, Any]],
) -> None:
    """Means 0 and 2 and variances 1 are a mean of 1 and a variance of 1 + 1."""
    assert [answer["mean"] for answer in answers] == [[0.5], [0.5]]
    assert [answer["pooled"] for answer in answers] == [[1.0, 2.0], [1.0, 2.0]]


def test_ranks_stay_equal_though_one_has_no_object(answers: list[dict[str, Any]]) -> None:
    assert answers[0]["weights"] == answers[1]["weights"]


def test_a_failure_of_one_rank_stops_all_and_names_its_images(
    answers: list[dict[str, Any]],
) -> None:
    for answer in answers:
        assert answer["step"] == 2
        assert answer["problem"] == (
            "the loss of step 2 is not finite, with the images mosaic/0-2-rank1"
        )
        assert "kept-2-1" in answer["fix"]


def test_a_process_alone_shares_with_nobody() -> None:
    norm = nn.BatchNorm2d(1)
    tensors = norm.state_dict()

    assert with_pooled_statistics(norm, tensors) is tensors
    assert mean_over_ranks(torch.tensor(3.0)).item() == 3.0
    assert gather_objects("mine") == ["mine"]
