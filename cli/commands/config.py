"""swarmctl config …"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from beeyard.swarm.v1 import control_pb2 as pb
from beeyard.swarm.v1 import objects_pb2 as objects
from cli import api, clock, swarm_lists
from cli.command import (
    command,
    filter_option,
    for_each,
    format_option,
    inspect_format_option,
    parse_filters,
    quiet_option,
    with_session,
)
from cli.commands.stored import READ_TIMEOUT_S, WRITE_TIMEOUT_S, read_content
from cli.format import output
from cli.specs import values
from cli.views import stored as view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.session import Session

DATA_BYTES_MAX = 1_000_000


def get(session: Session, name: str) -> objects.Config:
    """Read one config.

    Raises:
        errors.NotFound: CONFIG_NOT_FOUND.
    """
    request = pb.GetConfigRequest(config=name)
    return session.call(api.Configs.GetConfig, request, timeout_s=READ_TIMEOUT_S).config


def pages(session: Session, filters: tuple[str, ...]) -> Iterator[objects.Config]:
    """Read configs, page by page."""
    request = pb.ListConfigsRequest(filters=swarm_lists.filters(parse_filters(filters)))
    while True:
        page = session.call(api.Configs.ListConfigs, request, timeout_s=READ_TIMEOUT_S)
        yield from page.configs
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


@command()
@click.option("-l", "--label", multiple=True, metavar="list", help="Config labels")
@click.option("--template-driver", default="", metavar="string", help="Template driver (golang)")
@click.argument("name", metavar="CONFIG")
@click.argument("source", metavar="file|-")
@with_session
def create(session: Session, label: tuple[str, ...], template_driver: str, name: str, source: str) -> None:
    """Create a config from a file or STDIN as content."""
    spec = objects.ConfigSpec(
        annotations=objects.Annotations(name=name, labels=values.mapping(label, "--label")),
        data=read_content(source, "config", DATA_BYTES_MAX),
        template_driver=template_driver,
    )
    made = session.call(
        api.Configs.CreateConfig, pb.CreateConfigRequest(spec=spec), timeout_s=WRITE_TIMEOUT_S
    )
    print(made.config.id)


@command()
@filter_option
@format_option
@quiet_option
@with_session
def ls(session: Session, filters: tuple[str, ...], style: str, *, quiet: bool) -> None:
    """List configs."""
    now = clock.now()
    output.print_rows(
        [view.row(config, now) for config in pages(session, filters)],
        style=style,
        default=view.CONFIGS,
        headers=view.HEADERS,
        quiet_field="ID" if quiet else "",
    )


@command()
@inspect_format_option
@click.option("--pretty", is_flag=True, help="Print the information in a human friendly format")
@click.argument("names", metavar="CONFIG...", nargs=-1, required=True)
@with_session
def inspect(session: Session, style: str, names: tuple[str, ...], *, pretty: bool) -> int:
    """Display detailed information on one or more configs."""
    found: list[objects.Config] = []

    def look(name: str) -> None:
        found.append(get(session, name))

    code = for_each(names, look)
    if pretty:
        output.print_lines(["\n\n".join(view.pretty(config) for config in found)])
    else:
        output.print_inspect([view.inspect(config) for config in found], style)
    return code


@command()
@click.argument("names", metavar="CONFIG...", nargs=-1, required=True)
@with_session
def rm(session: Session, names: tuple[str, ...]) -> int:
    """Remove one or more configs."""

    def remove(name: str) -> str:
        session.call(api.Configs.RemoveConfig, pb.RemoveConfigRequest(config=name), timeout_s=WRITE_TIMEOUT_S)
        return name

    return for_each(names, remove)
