"""swarmctl events"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from cli import clock
from cli.command import command, filter_option, parse_filters, with_session
from cli.event_streams import EventStreams, Wanted
from cli.format.output import parse_template, render_template
from cli.specs import times
from cli.views import event as view

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.event_streams import Event
    from cli.session import Session

LOST = "Warning: events were lost because this client reads too slowly: list again"


@command()
@filter_option
@click.option("--format", "style", default="", metavar="string", help="'json' or a Go template")
@click.option("--since", default="", metavar="string", help="Show all events created since timestamp")
@click.option("--until", default="", metavar="string", help="Stream events until this timestamp")
@with_session
def events(session: Session, filters: tuple[str, ...], style: str, since: str, until: str) -> None:
    """Get real time events from the engine.

    Of containers and volumes, images and networks, in the order of their times.
    """
    now = clock.now()
    wanted = Wanted(
        since=times.parse(since, "--since", now) if since else None,
        until=times.parse(until, "--until", now) if until else None,
        filters=parse_filters(filters),
    )
    render = renderer(style)
    for event in EventStreams(session, wanted).read():
        if event is None:
            print(LOST, file=sys.stderr, flush=True)
        else:
            print(render(event), flush=True)


def renderer(style: str) -> Callable[[Event], str]:
    """Return how an event is printed.

    Raises:
        errors.Invalid: FORMAT_INVALID.
    """
    if not style:
        return view.line
    if style in ("json", "{{json .}}", "{{json . }}"):
        return lambda event: json.dumps(view.document(event), ensure_ascii=False, separators=(",", ":"))
    layout = parse_template(style)
    return lambda event: render_template(layout, view.message(event))
