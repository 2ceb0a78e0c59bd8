"""swarmctl stats"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from beeyard.container.v1 import container_pb2 as pb
from cli import api, complete
from cli.command import command, format_option, no_trunc_option, with_session
from cli.format import output
from cli.redraw import Redraw
from cli.views import stats as view

if TYPE_CHECKING:
    from cli.session import Session

SHARE_SAMPLE = 2
"""The first sample has nothing before it, so no share of processor time."""


@command()
@click.option(
    "-a", "--all", "everything", is_flag=True, help="Show all containers (default shows just running)"
)
@format_option
@click.option("--no-stream", is_flag=True, help="Disable streaming stats and only pull the first result")
@no_trunc_option
@click.argument("containers", metavar="[CONTAINER...]", nargs=-1, shell_complete=complete.containers)
@with_session
def stats(
    session: Session,
    style: str,
    containers: tuple[str, ...],
    *,
    everything: bool,
    no_stream: bool,
    no_trunc: bool,
) -> None:
    """Display a live stream of container(s) resource usage statistics."""
    containers = tuple(dict.fromkeys(containers))
    request = pb.GetStatsRequest(containers=containers, all=everything)
    draws = sys.stdout.isatty() and not no_stream and style in ("", "table")
    redraw = Redraw(sys.stdout)
    for number, sample in enumerate(session.start(api.Containers.GetStats, request), start=1):
        rows = [view.row(used, full=no_trunc, asked=containers) for used in sample.stats]
        if draws:
            table = output.table(rows, view.DEFAULT, view.HEADERS).splitlines()
            redraw.draw(redraw.wrap(table)[: redraw.rows()])
        elif number >= SHARE_SAMPLE or not rows:
            output.print_rows(rows, style=style, default=view.DEFAULT, headers=view.HEADERS)
            sys.stdout.flush()
            if no_stream:
                return
