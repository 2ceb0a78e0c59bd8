"""A container whose streams are the caller's: what run, start -a and attach share."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from beeyard.container.v1 import container_pb2 as pb
from cli import api, locate, outage, terminal
from cli.streams import Joined
from services.kit import errors

if TYPE_CHECKING:
    import signal

    from google.protobuf.timestamp_pb2 import Timestamp

    from cli.session import Session
    from cli.transport.call import Call

    Attached: TypeAlias = Call[pb.AttachContainerRequest, pb.AttachContainerResponse]

START_TIMEOUT_S = 120.0
KILL_TIMEOUT_S = 15.0
MISSED = "Warning: output may be missing here: the log does not have all that was written while the daemon was away"
GAP = "Warning: output may be missing here: what was written while the daemon was away is only in the log, if anywhere"
INPUT_GAP = "Warning: input may be missing: what was sent when the daemon went away may not have arrived"
INPUT_ENDED = (
    "Warning: the container's standard input has ended, as the daemon that held it was away: what had not arrived by"
    " then, and what follows, is lost"
)
_LIVING = frozenset({pb.CONTAINER_STATE_RUNNING, pb.CONTAINER_STATE_PAUSED, pb.CONTAINER_STATE_RESTARTING})


def start(
    session: Session,
    wanted: pb.AttachOpen,
    *,
    tty: bool,
    sig_proxy: bool,
    started_at: Timestamp | None = None,
) -> int:
    """Attach to a container that does not run, start it, and return its exit code; 0 if the user detached.

    `started_at` is its last start before this one.

    Raises:
        errors.BeeyardError: It could not be attached or started.
    """
    with_size(wanted, tty=tty)
    ending = follow(
        session, open_streams(session, wanted), wanted, tty=tty, sig_proxy=sig_proxy, start=Start(started_at)
    )
    return 0 if ending is None else exit_code(ending)


def follow(
    session: Session,
    opened: Opened,
    wanted: pb.AttachOpen,
    *,
    tty: bool,
    sig_proxy: bool,
    start: Start | None = None,
) -> pb.ExitStatus | None:
    """Join the open streams to the caller's until the process ends, and return how; None if the user detached.

    A daemon that is away for a moment is waited for. What is written meanwhile is taken from the log, if we were
    attached before the start, so that it is known how much of it has arrived. Input goes on, unless the process has
    lost it with the daemon. What may be missing is said.

    Raises:
        errors.BeeyardError: It could not be started, or the streams are lost.
    """
    request = pb.StartContainerRequest(container=wanted.container)
    call, mark = opened.call, opened.mark
    received: dict[pb.OutputStream.ValueType, int] = {}
    joined: Joined | None = None
    while True:
        begin = (
            (lambda: session.start(api.Containers.StartContainer, request, timeout_s=START_TIMEOUT_S))
            if start is not None
            else None
        )
        try:
            joined = join(session, call, wanted, tty=tty, sig_proxy=sig_proxy, received=received)
            return joined.run(begin)
        except errors.BeeyardError as exc:
            if not outage.is_outage(exc):
                raise
            error = lost(exc, wanted.container)
        if mark is not None:
            wanted.resume.CopyFrom(
                pb.AttachResume(
                    mark=mark,
                    stdout_bytes=received.get(pb.OUTPUT_STREAM_STDOUT, 0),
                    stderr_bytes=received.get(pb.OUTPUT_STREAM_STDERR, 0),
                )
            )
        had_input = wanted.stdin and (joined is None or joined.input_at_stake)
        again, start = outage.retry(partial(_again, session, wanted, start), error)
        if start is not None and again is not None:
            call, mark = again.call, again.mark
            continue
        if had_input and not (wanted.stdin and tty):
            _warn(INPUT_GAP if wanted.stdin else INPUT_ENDED)
        if again is None or not again.resumed:
            _warn(GAP if mark is None else MISSED)
            mark = None
        if again is None:
            return outage.retry(partial(_ended, session, wanted.container), error)
        call = again.call


class Opened(NamedTuple):
    """Streams that are open."""

    call: Attached
    mark: Timestamp | None = None
    """Nothing of the run to come was written before; None if it runs already."""
    resumed: bool = False
    """What was missed comes first."""


def _again(
    session: Session, wanted: pb.AttachOpen, start: Start | None
) -> tuple[Opened | None, Start | None]:
    """Open the streams of a container anew, None if it has ended; and say whether it is still to be started."""
    try:
        container = locate.get(session, wanted.container)
        status = container.status
        if start is not None and not start.done(status):
            wanted.ClearField("resume")
            return open_streams(session, wanted), start
        if container.spec.stdin_once and not container.spec.tty:
            wanted.stdin = False  # it ended with the connection of the daemon that we were attached by
        if wanted.HasField("resume"):
            opened = open_streams(session, wanted)
            if opened.resumed:
                return opened, None
            opened.call.cancel()
            wanted.ClearField("resume")
        if status.state in _LIVING:
            opened = open_streams(session, wanted)
            if locate.get(session, wanted.container).status.state in _LIVING:
                return opened, None
            opened.call.cancel()
    except errors.NotFound:
        pass  # removed, as --rm wants it
    return None, None


def _warn(text: str) -> None:
    print(text, file=sys.stderr)


def _ended(session: Session, container: str) -> pb.ExitStatus:
    """Return how a container ended that does not run any more."""
    for response in session.start(api.Containers.WaitContainer, pb.WaitContainerRequest(container=container)):
        if response.WhichOneof("event") == "exit":
            return response.exit
    raise errors.Internal(f"the wait for {container[:12]} ended without an exit code", reason="STREAM_CUT")


class Start(NamedTuple):
    """A start that is to be made."""

    before: Timestamp | None
    """The start before it."""

    def done(self, status: pb.ContainerStatus) -> bool:
        """Say whether it was made, although nobody said so."""
        return status.HasField("started_at") and status.started_at != self.before


def with_size(wanted: pb.AttachOpen, *, tty: bool) -> None:
    """Add the size of the caller's terminal."""
    size = terminal.size()
    if tty and size is not None:
        wanted.size.CopyFrom(size)


def open_streams(session: Session, wanted: pb.AttachOpen) -> Opened:
    """Attach, and return when nothing can be missed any more."""
    call = session.start(api.Containers.AttachContainer)
    call.post(pb.AttachContainerRequest(open=wanted))
    for response in call:
        if response.WhichOneof("part") == "opened":
            mark = response.opened.mark if response.opened.HasField("mark") else None
            return Opened(call, mark, response.opened.resumed)
        break
    raise errors.Internal("the daemon did not open the streams", reason="STREAM_CUT")


def join(
    session: Session,
    call: Attached,
    wanted: pb.AttachOpen,
    *,
    tty: bool,
    sig_proxy: bool,
    received: dict[pb.OutputStream.ValueType, int] | None = None,
) -> Joined:
    """Join the open streams to the caller's."""

    def kill(number: signal.Signals, /) -> Call[pb.KillContainerRequest, pb.KillContainerResponse]:
        request = pb.KillContainerRequest(container=wanted.container, signal=number.name)
        return session.start(api.Containers.KillContainer, request, timeout_s=KILL_TIMEOUT_S)

    return Joined(
        session.channel("containerd"),
        call,
        pb.AttachContainerRequest,
        stdin=wanted.stdin,
        tty=tty,
        kill=kill if sig_proxy else None,
        received=received,
    )


def exit_code(ending: pb.ExitStatus) -> int:
    """Return the code of a container that ended; say why, if it is not its own doing."""
    if ending.error:
        print(f"Error: {ending.error}", file=sys.stderr)
    return ending.exit_code


def lost(error: errors.BeeyardError, container: str) -> errors.BeeyardError:
    """Add to the loss of a connection what the container does meanwhile: it goes on."""
    message = f"{error.message}; the container goes on: swarmctl attach {container[:12]}"
    return type(error)(message, reason=error.reason, metadata=error.metadata)
