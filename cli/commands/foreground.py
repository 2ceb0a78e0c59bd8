"""A container whose streams are the caller's: what run, start -a and attach share."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from beeyard.container.v1 import container_pb2 as pb
from cli import api, terminal
from cli.streams import Joined
from services.kit import errors

if TYPE_CHECKING:
    import signal

    from cli.session import Session
    from cli.transport.call import Call

START_TIMEOUT_S = 120.0
KILL_TIMEOUT_S = 15.0


def start(session: Session, wanted: pb.AttachOpen, *, tty: bool, sig_proxy: bool) -> int:
    """Attach to a container that does not run, start it, and return its exit code; 0 if the user detached.

    Raises:
        errors.BeeyardError: It could not be attached or started.
    """
    with_size(wanted, tty=tty)
    call = open_streams(session, wanted)
    request = pb.StartContainerRequest(container=wanted.container)
    try:
        ending = join(session, call, wanted, tty=tty, sig_proxy=sig_proxy).run(
            lambda: session.start(api.Containers.StartContainer, request, timeout_s=START_TIMEOUT_S)
        )
    except errors.BeeyardError as exc:
        raise lost(exc, wanted.container) from exc
    return 0 if ending is None else exit_code(ending)


def with_size(wanted: pb.AttachOpen, *, tty: bool) -> None:
    """Add the size of the caller's terminal."""
    size = terminal.size()
    if tty and size is not None:
        wanted.size.CopyFrom(size)


def open_streams(
    session: Session, wanted: pb.AttachOpen
) -> Call[pb.AttachContainerRequest, pb.AttachContainerResponse]:
    """Attach, and return when nothing can be missed any more."""
    call = session.start(api.Containers.AttachContainer)
    call.post(pb.AttachContainerRequest(open=wanted))
    for response in call:
        if response.WhichOneof("part") == "opened":
            return call
        break
    raise errors.Internal("the daemon did not open the streams", reason="STREAM_CUT")


def join(
    session: Session,
    call: Call[pb.AttachContainerRequest, pb.AttachContainerResponse],
    wanted: pb.AttachOpen,
    *,
    tty: bool,
    sig_proxy: bool,
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
    )


def exit_code(ending: pb.ExitStatus) -> int:
    """Return the code of a container that ended; say why, if it is not its own doing."""
    if ending.error:
        print(f"Error: {ending.error}", file=sys.stderr)
    return ending.exit_code


def lost(error: errors.BeeyardError, container: str) -> errors.BeeyardError:
    """Add to the loss of a connection what the container does meanwhile: it goes on."""
    if error.reason not in ("CONNECTION_LOST", "SHUTTING_DOWN", "CANCELLED"):
        return error
    message = f"{error.message}; the container goes on: swarmctl attach {container[:12]}"
    return type(error)(message, reason=error.reason, metadata=error.metadata)
