"""swarmctl events"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from beeyard.container.v1 import container_pb2 as pb
from cli import api, clock
from cli.command import command, filter_option, with_session
from cli.commands.container import filters as on_wire
from cli.format.output import parse_template, render_template
from cli.specs import times
from cli.views import event as view

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.session import Session

LOST = "Warning: events were lost because this client reads too slowly: list again"


@command()
@filter_option
@click.option("--format", "style", default="", metavar="string", help="'json' or a Go template")
@click.option("--since", default="", metavar="string", help="Show all events created since timestamp")
@click.option("--until", default="", metavar="string", help="Stream events until this timestamp")
@with_session
def events(session: Session, filters: tuple[str, ...], style: str, since: str, until: str) -> None:
    """Get real time events from the engine."""
    now = clock.now()
    request = pb.WatchEventsRequest(
        since=times.parse(since, "--since", now) if since else None,
        until=times.parse(until, "--until", now) if until else None,
        filters=on_wire(filters),
    )
    render = renderer(style)
    for response in session.start(api.Containers.WatchEvents, request):
        if response.WhichOneof("item") == "resync":
            print(LOST, file=sys.stderr, flush=True)
        else:
            print(render(response.event), flush=True)


def renderer(style: str) -> Callable[[pb.Event], str]:
    """Return how an event is printed.

    Raises:
        errors.Invalid: FORMAT_INVALID.
    """
    if not style:
        return view.line
    if style in ("json", "{{json .}}", "{{json . }}"):
        return lambda event: json.dumps(
            {key: value for key, value in view.message(event).items() if key in view.JSON_FIELDS},
            ensure_ascii=False,
            separators=(",", ":"),
        )
    layout = parse_template(style)
    return lambda event: render_template(layout, view.message(event))
