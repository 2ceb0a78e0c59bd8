"""swarmctl container move"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

import click

from beeyard.container.v1 import container_pb2 as containers
from beeyard.swarm.v1 import move_pb2 as pb
from cli import api, clock, complete
from cli.command import command, with_session
from cli.redraw import Redraw
from cli.transfers import DRAW_S, bar, label
from services.kit import errors, units

if TYPE_CHECKING:
    from cli.session import Session

GRACE_MAX_S = 3600
RELEASE_TIMEOUT_S = 30.0
_WIDTH = 16


def title(step: pb.MoveStep.ValueType) -> str:
    """Name a step: "send layer"."""
    return pb.MoveStep.Name(step).removeprefix("MOVE_STEP_").lower().replace("_", " ")


@command()
@click.option("--to", "target", metavar="node", required=True, help="Node that it goes to: ID or host name")
@click.option("--volumes", is_flag=True, help="Take its volumes along")
@click.option("--checkpoint", is_flag=True, help="Take the state of its processes along (needs CRIU)")
@click.option("-f", "--force", is_flag=True, help="Move it although the node lacks paths or devices it uses")
@click.option("-d", "--detach", is_flag=True, help="Do not wait for the move to end")
@click.option("-q", "--quiet", is_flag=True, help="Suppress the progress")
@click.option(
    "-t",
    "--time",
    "grace_s",
    type=click.IntRange(0, GRACE_MAX_S),
    metavar="int",
    help="Seconds to wait before killing the container",
)
@click.argument("container", shell_complete=complete.containers)
@with_session
def move(session: Session, container: str, target: str, grace_s: int | None, **given: bool) -> None:
    """Move a container to another node of the swarm, with what it has written.

    Until it runs there, any failure, and Ctrl-C, leaves it where it is and as it was.
    """
    request = pb.MoveContainerRequest(
        container=container,
        source_node=session.node,
        target_node=target,
        volumes=given["volumes"],
        checkpoint=given["checkpoint"],
        force=given["force"],
        grace_ms=None if grace_s is None else grace_s * 1000,
        detach=given["detach"],
    )
    display = Display(sys.stderr, quiet=given["quiet"])
    done: pb.MoveDone | None = None
    for response in session.start(api.Moves.MoveContainer, request):
        match response.WhichOneof("event"):
            case "begun":
                for warning in response.begun.warnings:
                    print(f"WARNING: {warning}", file=sys.stderr)
                if given["detach"]:
                    print(response.begun.move_id)
                    return
            case "progress":
                display.update(response.progress)
            case _:
                done = response.done
    if done is None:
        raise errors.Internal("the move ended without a result", reason="STREAM_CUT")
    display.finish()
    for warning in done.warnings:
        print(f"WARNING: {warning}", file=sys.stderr)
    if done.down_ms and not given["quiet"]:
        print(f"Status: moved; it did not run for {done.down_ms / 1000:.1f}s", file=sys.stderr)
    print(done.container_id)


@command()
@click.argument("container", shell_complete=complete.containers)
@with_session
def release(session: Session, container: str) -> None:
    """Let go of a container that is held by a move whose manager is gone for good.

    A move that goes on lets go of its container by itself.
    """
    request = containers.ReleaseContainerRequest(container=container, force=True)
    session.call(api.Containers.ReleaseContainer, request, timeout_s=RELEASE_TIMEOUT_S)
    print(container)


class Display:
    """Shows the steps: a line for each, with bytes where some move."""

    def __init__(self, stream: TextIO, *, quiet: bool) -> None:
        self._stream = stream
        self._quiet = quiet
        self._redraw = Redraw(stream) if stream.isatty() and not quiet else None
        self._lines: dict[tuple[int, str], str] = {}
        self._drawn_at = -DRAW_S

    def update(self, progress: pb.MoveProgress) -> None:
        """Take a step, or how far one is."""
        item = label(progress.item)
        key = (progress.step, item)
        known = key in self._lines
        shown = f"{title(progress.step)}: {item}" if item else title(progress.step)
        if progress.total_bytes:
            moved = bar(progress.done_bytes, progress.total_bytes)
        else:
            moved = units.render_bytes(progress.done_bytes) if progress.done_bytes else ""
        self._lines[key] = f"{shown:<{_WIDTH}} {moved}".rstrip()
        if self._redraw is not None:
            if clock.monotonic() - self._drawn_at >= DRAW_S or not known:
                self._draw(self._redraw)
        elif not self._quiet and not known:
            print(shown, file=self._stream, flush=True)

    def finish(self) -> None:
        """Show the last state."""
        if self._redraw is not None:
            self._draw(self._redraw)

    def _draw(self, redraw: Redraw) -> None:
        self._drawn_at = clock.monotonic()
        redraw.draw(list(self._lines.values())[-redraw.rows() :])
