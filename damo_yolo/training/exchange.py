"""Short vectors from every rank to every other, in microseconds.

A collective of gloo passes four threads on each side: 0.6 to 1.5 ms for a kilobyte between two
processes of one machine, where a socket takes 0.02, and every group of gloo has a thread that wakes
a hundred times a second. Batch normalisation asks two hundred times a step.
"""

import os
import socket
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

_RANK = struct.Struct("!i")
LEAST_S, LAST_LOOK_S = 1.0, 5.0
"""How long to wait for a rank at least, whatever the others took of the time; and at most once
another is lost, so that all who are missing get named."""


class LostPeersError(RuntimeError):
    """Ranks that did not answer.

    Attributes:
        reasons: what was seen of each, by rank.
    """

    def __init__(self, reasons: Mapping[int, str]) -> None:
        self.reasons = dict(sorted(reasons.items()))
        super().__init__(self.reasons)  # what pickle calls the class with

    def __str__(self) -> str:
        """Name them.

        >>> str(LostPeersError({2: "10.0.0.7 closed the connection"}))
        'rank 2: 10.0.0.7 closed the connection'
        """
        return "; ".join(f"rank {rank}: {reason}" for rank, reason in self.reasons.items())


class Peer(NamedTuple):
    """Another rank."""

    host: str
    connection: socket.socket


class Exchange:
    """One connection between any two ranks of the process group; `open_exchange` makes them."""

    def __init__(self, rank: int, peers: Mapping[int, Peer], timeout_s: float) -> None:
        """Take open connections.

        Args:
            rank: of this process.
            peers: all others, by rank.
            timeout_s: how long this rank waits for the vectors of the others.
        """
        self._rank, self._peers, self.timeout_s = rank, peers, timeout_s

    def __deepcopy__(self, memo: dict[int, Any]) -> "Exchange":
        """Return itself: copies of a model talk to the same ranks."""
        return self

    def gather(self, values: Tensor) -> Tensor:
        """Return (ranks, n) the (n,) float32 values of every rank; a collective.

        Raises:
            LostPeersError: ranks that do not answer, or are gone. All connections are closed then:
                the others need not wait for this rank.
        """
        own = values.contiguous().numpy().tobytes()
        found: dict[int, bytes | bytearray] = {self._rank: own}
        lost: dict[int, str] = {}
        deadline = time.monotonic() + self.timeout_s
        for rank, peer in self._peers.items():
            try:
                peer.connection.settimeout(self.timeout_s)
                peer.connection.sendall(own)
            except OSError as error:
                lost[rank] = _reason(peer, error)
        for rank, peer in self._peers.items():
            left = max(deadline - time.monotonic(), LEAST_S)
            try:
                peer.connection.settimeout(min(left, LAST_LOOK_S) if lost else left)
                found[rank] = _receive(peer.connection, len(own))
            except OSError as error:
                lost.setdefault(rank, _reason(peer, error))
        if lost:
            self.close()
            raise LostPeersError(lost)
        joined = bytearray(b"".join(found[rank] for rank in sorted(found)))
        return torch.frombuffer(joined, dtype=torch.float32).view(len(found), -1)

    def close(self) -> None:
        """End all connections."""
        for peer in self._peers.values():
            with suppress(OSError):
                peer.connection.close()


def open_exchange(timeout_s: float) -> Exchange:
    """Connect every rank of the process group with every other; a collective.

    Args:
        timeout_s: how long a rank waits for the others, here and later.

    Raises:
        LostPeersError: ranks that do not connect.
    """
    rank, size = dist.get_rank(), dist.get_world_size()
    connections: dict[int, socket.socket] = {}
    with socket.create_server((_own_host(), 0), backlog=size) as server:
        server.settimeout(timeout_s)
        addresses: list[Any] = [None] * size
        dist.all_gather_object(addresses, server.getsockname())
        try:
            for other in range(rank):
                connections[other] = _call(addresses[other], rank, timeout_s)
            while len(connections) < size - 1:  # those of a higher rank call
                connection, _ = server.accept()
                connection.settimeout(timeout_s)
                connections[_caller(connection, size)] = connection
        except OSError as error:
            missing = set(range(size)) - {rank, *connections}
            reasons = {lost: f"no connection to {addresses[lost][0]}: {error}" for lost in missing}
            raise LostPeersError(reasons) from error
    for connection in connections.values():
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peers = {other: Peer(addresses[other][0], each) for other, each in connections.items()}
    return Exchange(rank, peers, timeout_s)


def _reason(peer: Peer, error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer from {peer.host} within {peer.connection.gettimeout():.3g} s"
    return f"{peer.host} closed the connection"


def _own_host() -> str:
    """Return the address at which this machine is reached by the others."""
    master = os.environ.get("MASTER_ADDR", "127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((master, 9))  # sends nothing: the system only chooses the way
        return str(probe.getsockname()[0])


def _call(address: tuple[str, int], rank: int, timeout_s: float) -> socket.socket:
    connection = socket.create_connection(address, timeout=timeout_s)
    connection.sendall(_RANK.pack(rank))
    return connection


def _caller(connection: socket.socket, size: int) -> int:
    """Return the rank that is calling."""
    rank = int(_RANK.unpack(_receive(connection, _RANK.size))[0])
    if not 0 <= rank < size:
        raise ConnectionError("somebody else called")
    return rank


def _receive(connection: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        received = connection.recv_into(view)
        if not received:
            raise ConnectionError("it ended")
        view = view[received:]
    return data
