"""swarmctl logs"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from beeyard.container.v1 import container_pb2 as pb
from cli import api, clock, complete, locate, outage, terminal
from cli.command import command, with_session
from cli.errors import invalid
from cli.specs import times
from cli.specs.options import add, switch, text
from services.kit import errors, units

if TYPE_CHECKING:
    from cli.session import Session

TAIL_MAX = (1 << 63) - 1
OPTIONS = [
    switch("-f", "--follow", help="Follow log output"),
    text("--since", help='Show logs since timestamp (e.g. "2026-01-02T13:23:37Z") or relative (e.g. "42m")'),
    text("-n", "--tail", default="all", help="Number of lines to show from the end of the logs (all)"),
    switch("-t", "--timestamps", help="Show timestamps"),
    switch("--details", help="Show extra details provided to logs"),
]
UNTIL = text(
    "--until", help='Show logs before a timestamp (e.g. "2026-01-02T13:23:37Z") or relative (e.g. "42m")'
)


def parse_tail(tail: str) -> int | None:
    """Read a --tail value; None is all lines.

    Raises:
        errors.Invalid: It is neither "all" nor a number.
    """
    if tail in ("", "all"):
        return None
    digits = tail.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > len(str(TAIL_MAX)):
        raise invalid(f"--tail {tail!r}: give a number of lines, or all")
    return None if tail.startswith("-") else min(int(tail), TAIL_MAX)


def render(line: pb.LogLine, *, timestamps: bool, details: bool) -> bytes:
    """Return a line as it is printed, with what was asked for before its text."""
    head = f"{times.rfc3339_nano(line.time)} " if timestamps else ""
    if details:
        from urllib.parse import quote_plus

        pairs = (f"{quote_plus(key)}={quote_plus(value)}" for key, value in sorted(line.attributes.items()))
        head += ",".join(pairs) + " "
    return head.encode() + line.data


@command()
@add([*OPTIONS, UNTIL])
@click.argument("container", metavar="CONTAINER", shell_complete=complete.containers)
@with_session
def logs(
    session: Session,
    container: str,
    since: str,
    until: str,
    tail: str,
    *,
    follow: bool,
    timestamps: bool,
    details: bool,
) -> None:
    """Fetch the logs of a container, or of a task of the swarm by its name."""
    now = clock.now()
    request = pb.GetLogsRequest(
        follow=follow,
        since=times.parse(since, "--since", now) if since else None,
        until=times.parse(until, "--until", now) if until not in ("", "0") else None,
        tail=parse_tail(tail),
        details=details,
    )
    session, found = locate.locate(session, container)
    request.container = found.id
    while True:
        try:
            for batch in session.start(api.Containers.GetLogs, request):
                _print(batch, timestamps=timestamps, details=details)
                _go_on_after(request, batch)
        except errors.BeeyardError as exc:
            if not (follow and outage.is_outage(exc)):
                raise
            try:
                outage.retry(partial(locate.get, session, found.id), exc)
            except errors.NotFound:
                return  # ended and removed meanwhile
        else:
            return


def _go_on_after(request: pb.GetLogsRequest, batch: pb.GetLogsResponse) -> None:
    """Have the next call begin behind these lines."""
    if batch.lines:
        request.since.FromNanoseconds(batch.lines[-1].time.ToNanoseconds() + 1)
        request.ClearField("tail")


def _print(batch: pb.GetLogsResponse, *, timestamps: bool, details: bool) -> None:
    """Print lines, those of one stream that follow each other at once."""
    if batch.lost_bytes:
        size = units.render_bytes(batch.lost_bytes)
        click.echo(f"WARNING: {size} of the log were removed by its rotation before they were read", err=True)
    text, target = bytearray(), terminal.STDOUT
    for line in batch.lines:
        wanted = terminal.STDERR if line.stream == pb.OUTPUT_STREAM_STDERR else terminal.STDOUT
        if wanted != target and text:
            terminal.write(target, bytes(text))
            text.clear()
        target = wanted
        text += render(line, timestamps=timestamps, details=details)
    if text:
        terminal.write(target, bytes(text))
