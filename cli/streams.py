"""A container's or exec's standard streams, joined to the caller's: the loop behind run, attach, start -a and exec.

One thread waits for everything at once: output from the daemon, keys or a pipe at standard input, signals. Standard
input is read only while the daemon takes it, so a large pipe neither fills memory nor is cut short.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from beeyard.container.v1 import container_pb2 as pb
from cli import terminal
from cli.errors import ExitWith
from cli.signals import ENDING, FORWARDED, Signals
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.transport.call import Call
    from cli.transport.channel import Channel

    Streaming: TypeAlias = (
        "Call[pb.AttachContainerRequest, pb.AttachContainerResponse] | Call[pb.ExecRequest, pb.ExecResponse]"
    )

READ_BYTES = 64 << 10
ENDING_MAX = 3
"""So many times asked to end, we do, whatever the container does."""


class Kill(Protocol):
    """How the container gets a signal."""

    def __call__(self, number: signal.Signals, /) -> Call[Any, Any]:
        """Begin to send it."""


class Joined:
    """Streams that are joined, from the open call to the end of the process.

    Args:
        channel: What the calls are on.
        call: The open attach or exec; its first request is sent, its first response taken.
        request: The class of its requests.
        stdin: Send standard input.
        tty: The process has a terminal.
        kill: Signals that come to us are sent on by this, but for the terminal's size; without it they end us.
        received: Counts the output, by stream, for one who goes on after an outage.
    """

    def __init__(
        self,
        channel: Channel,
        call: Streaming,
        request: type[pb.AttachContainerRequest | pb.ExecRequest],
        *,
        stdin: bool,
        tty: bool,
        kill: Kill | None,
        received: dict[pb.OutputStream.ValueType, int] | None = None,
    ) -> None:
        self._received = {} if received is None else received
        self._channel = channel
        self._call: Call[Any, Any] = call
        self._request: Any = request
        self._stdin = stdin
        self._tty = tty
        self._kill = kill
        self._kills: list[Call[Any, Any]] = []
        self._asked_to_end = 0
        self._held: list[signal.Signals] = []
        self._has_sent = False

    @property
    def input_at_stake(self) -> bool:
        """Whether input would be missed by a process that has lost its standard input now."""
        return self._stdin or self._has_sent

    def run(self, start: Callable[[], Call[Any, Any]] | None = None) -> pb.ExitStatus | None:
        """Copy until the process ends, and return how; None if the user detached.

        Args:
            start: Begins the call that starts the process, once everything is in place. Signals for the process wait
                until it is done, but for the second that is to end us; those for us end us at once.

        Raises:
            errors.BeeyardError: The start failed, or the streams broke.
            ExitWith: We were asked to end.
        """
        watched = [*ENDING, *((signal.SIGWINCH,) if self._tty else ()), *(FORWARDED if self._kill else ())]
        with ExitStack() as stack:
            signals = stack.enter_context(Signals(watched))
            if self._tty and self._stdin and terminal.is_terminal(terminal.STDIN):
                stack.enter_context(terminal.raw(terminal.STDIN))
            starting = start() if start is not None else None
            ending = None
            while True:
                if starting is not None and starting.done:
                    starting.result()
                    starting = None
                ending = ending or self._copy_output()
                if ending is not None and starting is None:
                    return ending.exit if ending.WhichOneof("part") == "exit" else None
                self._wait(signals, starting=starting is not None)

    def _copy_output(self) -> pb.AttachContainerResponse | pb.ExecResponse | None:
        """Write what has arrived; return the last message when it has."""
        while (response := self._call.take()) is not None:
            match response.WhichOneof("part"):
                case "output":
                    stderr = response.output.stream == pb.OUTPUT_STREAM_STDERR
                    terminal.write(terminal.STDERR if stderr else terminal.STDOUT, response.output.data)
                    so_far = self._received.get(response.output.stream, 0)
                    self._received[response.output.stream] = so_far + len(response.output.data)
                case "exit" | "detached":
                    self._stdin = False
                    last: pb.AttachContainerResponse | pb.ExecResponse = response
                    return last
                case _:
                    pass  # what later versions may add
        if self._call.done:
            raise errors.Internal("the stream ended without the exit of its process", reason="STREAM_CUT")
        return None

    def _wait(self, signals: Signals, *, starting: bool) -> None:
        """Wait for one of the three, and handle it."""
        ready = select.poll()
        ready.register(signals.fileno(), select.POLLIN)
        events = select.POLLIN | (select.POLLOUT if self._channel.wants_to_write else 0)
        ready.register(self._channel.fileno(), events)
        reads = self._stdin and not starting and not self._call.congested
        if reads:
            ready.register(terminal.STDIN, select.POLLIN)
        found = dict(ready.poll())
        if signals.fileno() in found:
            self._held += signals.take()
        if not starting:
            while self._held:
                self._take_signal(self._held.pop(0))
        elif len(ending := [number for number in self._held if number in ENDING]) > (self._kill is not None):
            raise ExitWith(128 + ending[-1])
        if reads and terminal.STDIN in found:
            self._send_input()
        self._channel.pump(0)
        self._kills = [call for call in self._kills if not call.done]

    def _send_input(self) -> None:
        try:
            data = os.read(terminal.STDIN, READ_BYTES)
        except OSError:  # closed, or the terminal went away
            data = b""
        if data:
            self._has_sent = True
            self._call.post(self._request(stdin=data))
        else:
            self._stdin = False
            self._call.post(self._request(stdin_end=pb.StdinEnd()))

    def _take_signal(self, number: signal.Signals) -> None:
        if number == signal.SIGWINCH and self._tty:
            if size := terminal.size():
                self._call.post(self._request(resize=size))
            return
        if self._kill is None:
            raise ExitWith(128 + number)
        if number in (signal.SIGINT, signal.SIGTERM):
            self._asked_to_end += 1
            if self._asked_to_end >= ENDING_MAX:
                print(f"\ngot {ENDING_MAX} SIGTERM/SIGINTs, forcefully exiting", file=sys.stderr)
                raise ExitWith(128 + number)
        self._kills.append(self._kill(number))
