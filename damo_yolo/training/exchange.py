"""Short vectors from every rank to every other, in microseconds.

A collective of gloo passes four threads on each side: 0.6 to 1.5 ms for a kilobyte between two
processes of one machine, where a socket takes 0.02, and every group of gloo has a thread that wakes
a hundred times a second. Batch normalisation asks two hundred times a step.
"""

import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_RANK = struct.Struct("!i")
LAST_LOOK_S = 1.0
"""Once one rank has not answered: how long to wait for each of the others, to name all."""


class LostPeersError(RuntimeError):
    """Ranks that did not answer.

    Attributes:
        ranks: their numbers, ascending.
        reason: what was seen of the one that was missed first.
    """

    def __init__(self, ranks: Sequence[int], reason: str) -> None:
        self.ranks, self.reason = tuple(ranks), reason
        super().__init__(f"ranks {self.ranks}: {reason}")


class Exchange:
    """One connection between any two ranks of the process group."""

    def __init__(self, timeout_s: float) -> None:
        """Open it; a collective.

        Args:
            timeout_s: how long a rank waits for another's vector.
        """
        self._rank, size = dist.get_rank(), dist.get_world_size()
        with socket.create_server((_own_host(), 0), backlog=size) as server:
            server.settimeout(timeout_s)
            addresses = _gathered(server.getsockname())
            self._peers = {rank: _call(addresses[rank], self._rank) for rank in range(self._rank)}
            while len(self._peers) < size - 1:  # those of a higher rank call
                peer, _ = server.accept()
                self._peers[_RANK.unpack(_receive(peer, _RANK.size))[0]] = peer
        for peer in self._peers.values():
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wait_at_most(timeout_s)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Exchange":
        """Return itself: copies of a model talk to the same ranks."""
        return self

    def wait_at_most(self, timeout_s: float) -> None:
        """Change how long this rank waits for another's vector."""
        for peer in self._peers.values():
            peer.settimeout(timeout_s)

    def gather(self, values: Tensor) -> Tensor:
        """Return (ranks, n) the (n,) float32 values of every rank; a collective.

        Raises:
            LostPeersError: ranks that do not answer, or are gone.
        """
        own = values.contiguous().numpy().tobytes()
        found: dict[int, bytes | bytearray] = {self._rank: own}
        lost: dict[int, str] = {}
        for rank, peer in self._peers.items():
            try:
                peer.sendall(own)
            except OSError as error:
                lost[rank] = _reason(peer, error)
        for rank, peer in self._peers.items():
            if lost:
                peer.settimeout(LAST_LOOK_S)
            try:
                found[rank] = _receive(peer, len(own))
            except OSError as error:
                lost.setdefault(rank, _reason(peer, error))
        if lost:
            raise LostPeersError(sorted(lost), next(iter(lost.values())))
        joined = bytearray(b"".join(found[rank] for rank in sorted(found)))
        return torch.frombuffer(joined, dtype=torch.float32).view(len(found), -1)

    def close(self) -> None:
        """End all connections."""
        for peer in self._peers.values():
            with suppress(OSError):
                peer.close()


def _gathered(address: tuple[str, int]) -> list[Any]:
    """Return the address of every rank; a collective."""
    addresses: list[Any] = [None] * dist.get_world_size()
    group = None if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")
    dist.all_gather_object(addresses, address, group=group)
    return addresses


def _reason(peer: socket.socket, error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {peer.gettimeout():.0f} s"
    return f"connection closed: {error}"


def _own_host() -> str:
    """Return the address at which this machine is reached by the others."""
    master = os.environ.get("MASTER_ADDR", "127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((master, 9))  # sends nothing: the system only chooses the way
        return str(probe.getsockname()[0])


def _call(address: tuple[str, int], rank: int) -> socket.socket:
    peer = socket.create_connection(address)
    peer.sendall(_RANK.pack(rank))
    return peer


def _receive(peer: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        received = peer.recv_into(view)
        if not received:
            raise ConnectionError("it ended")
        view = view[received:]
    return data
