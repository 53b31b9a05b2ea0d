"""What ranks share, in one process and in two."""

import json
import pickle
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from damo_yolo.training.exchange import Exchange, LostPeersError, Peer
from damo_yolo.training.ranks import (
    _FAILED,
    LostRankError,
    Meeting,
    gather_objects,
    mean_over_ranks,
)
from damo_yolo.training.reporter import GO_ON, PAUSE


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


def test_a_batch_norm_sees_the_images_of_all_ranks(answers: list[dict[str, Any]]) -> None:
    """Values, gradients and running statistics are those of one process with all three images."""
    torch.manual_seed(0)
    images, weights = torch.randn(2, 3, 4, 5, 6).mul_(3).add_(7)
    norm = nn.BatchNorm2d(4)
    nn.init.uniform_(norm.weight)
    x = images.clone().requires_grad_()
    y = norm(x)
    (y * weights).sum().backward()
    assert x.grad is not None

    assert [answer["mean"] for answer in answers] == [[0.5], [0.5]]
    for key, expected in (("values", y), ("gradient", x.grad)):
        found = torch.tensor([v for answer in answers for v in answer["norm"][key]])
        torch.testing.assert_close(found, expected.detach().flatten(), rtol=1e-5, atol=2e-5)
    for answer in answers:
        for key in ("running_mean", "running_var"):
            expected = norm.state_dict()[key]
            torch.testing.assert_close(torch.tensor(answer["norm"][key]), expected)


Pairs = dict[int, tuple[socket.socket, socket.socket]]


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    """Connections of rank 0 to others: its own end, and theirs."""
    opened = {rank: socket.socketpair() for rank in (1, 2, 4)}
    yield opened
    for end in chain.from_iterable(opened.values()):
        end.close()


def _exchange(pairs: Pairs, timeout_s: float) -> Exchange:
    peers = {rank: Peer(f"host{rank}", own) for rank, (own, _) in pairs.items()}
    return Exchange(0, peers, timeout_s)


def test_ranks_that_hang_are_all_named_and_nobody_waits_for_who_gave_up(pairs: Pairs) -> None:
    pairs[2][1].sendall(bytes(8))

    with pytest.raises(LostPeersError) as lost:
        _exchange(pairs, timeout_s=0.05).gather(torch.zeros(2))

    hung = "no answer from host{} within 1 s"
    assert lost.value.reasons == {rank: hung.format(rank) for rank in (1, 4)}
    assert pairs[2][1].recv(64) == bytes(8)
    assert pairs[2][1].recv(64) == b"", "the connection is closed"


def test_a_rank_that_is_late_is_not_blamed_for_one_that_is_gone(pairs: Pairs) -> None:
    pairs[1][1].close()
    pairs[2][1].sendall(bytes(8))
    late = threading.Timer(1.5, pairs[4][1].sendall, [bytes(8)])
    late.start()

    with pytest.raises(LostPeersError) as lost:
        _exchange(pairs, timeout_s=60.0).gather(torch.zeros(2))

    late.join()
    assert lost.value.reasons == {1: "host1 closed the connection"}
    assert pickle.loads(pickle.dumps(lost.value)).reasons == lost.value.reasons, "as Ray sends it"


def test_a_failed_step_of_another_rank_is_not_taken_for_a_wish(pairs: Pairs) -> None:
    meeting = Meeting()
    meeting._exchange = _exchange(pairs, timeout_s=5.0)
    for rank, (_, far) in pairs.items():
        far.sendall(torch.tensor([float(_FAILED if rank == 2 else GO_ON)]).numpy().tobytes())

    with pytest.raises(LostRankError, match="a rank could not end its step"):
        meeting.agree(PAUSE)


def test_a_rank_that_hangs_within_a_step_is_named(answers: list[dict[str, Any]]) -> None:
    """The other one waits for its statistics no longer than it was told to."""
    awake, asleep = (answer["hangs"] for answer in answers)
    assert re.fullmatch(
        r"rank 1 did not come to the next step \(no answer from [\d.]+ within 7 s\)", awake
    )
    assert "rank 0" in asleep


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
    assert mean_over_ranks(torch.tensor(3.0)).item() == 3.0
    assert gather_objects("mine") == ["mine"]
