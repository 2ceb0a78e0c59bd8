"""A worker process from the inside: one job after the other, from a packet socket, until the daemon closes it.

The module of a worker is run as `python -m MODULE FD` (`pool` does) and calls `serve`. This imports nothing of weight:
it is the start-up time of every worker.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MESSAGE_BYTES_MAX = 200_000
"""Of one packet, in either direction."""
DESCRIPTORS_MAX = 4
_PR_SET_PDEATHSIG = 1
_FAILURE = "failure"


def serve(work: Callable[[bytes, Sequence[int], Callable[[bytes], object]], bytes]) -> None:
    """Take jobs and send what `work` returns for each.

    `work` gets the packet, the descriptors that came with it, which are closed after it, and what sends packets
    meanwhile. What it raises of the kit's errors is sent as a failure; anything else ends the process.
    """
    _die_with(os.getppid())
    os.umask(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the whole group; the daemon decides
    channel = socket.socket(fileno=int(sys.argv[1]))
    while True:
        packet, descriptors, _, _ = socket.recv_fds(channel, MESSAGE_BYTES_MAX, DESCRIPTORS_MAX)
        if not packet:
            return
        try:
            answer = work(packet, descriptors, channel.send)
        except errors.BeeyardError as error:
            answer = encode_failure(error)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        try:
            channel.send(answer)
        except BrokenPipeError:  # who asked is gone
            return


def encode_failure(error: errors.BeeyardError) -> bytes:
    """Return an error as a packet."""
    return json.dumps([_FAILURE, type(error).__name__, error.message[:4096], error.reason]).encode()


def decode_failure(packet: bytes) -> errors.BeeyardError | None:
    """Return the error that a packet holds, None if it holds something else."""
    if not packet.startswith(b'["' + _FAILURE.encode() + b'"'):
        return None
    _, kind, message, reason = json.loads(packet)
    found = next((each for each in errors.BeeyardError.__subclasses__() if each.__name__ == kind), None)
    return (found or errors.Internal)(message, reason=reason)


def _die_with(parent: int) -> None:
    """End when the daemon does, however it does: its successor removes what we were at."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        signal.raise_signal(signal.SIGKILL)  # it died before we asked: as if we had been told
