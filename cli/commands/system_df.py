"""swarmctl system df: what the node's objects take on the disk. A daemon that is down hides no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from beeyard.container.v1 import container_pb2
from beeyard.system.v1 import system_pb2
from cli import api, clock, locate
from cli.command import command, format_option, with_session
from cli.commands import image, volume
from cli.commands.system import ask_all, complain
from cli.errors import invalid
from cli.format import output
from cli.views import container as container_view
from cli.views import disk_usage as view
from cli.views import image as image_view
from cli.views import volume as volume_view
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cli.session import Session

    Rows = Sequence[Mapping[str, Any]]

TIMEOUT_S = 300.0
"""A big store is measured file by file."""


@command()
@format_option
@click.option("-v", "--verbose", is_flag=True, help="Show detailed information on space usage")
@with_session
def df(session: Session, style: str, *, verbose: bool) -> int:
    """Show disk usage.

    The size of an image is that of its layers and of its blobs, the size of a container that of its writable layer
    and of its log. RECLAIMABLE is what goes when everything goes that is not in use.
    """
    if verbose:
        return _verbose(session, style)
    request = system_pb2.GetDiskUsageRequest()
    answers, failures = ask_all(
        lambda daemon: session.start(api.System.GetDiskUsage, request, timeout_s=TIMEOUT_S, daemon=daemon),
        ("imaged", "containerd"),
    )
    usage = [*(usage for answer in answers for usage in answer.usage)]
    usage.append(system_pb2.DiskUsage(kind=view.BUILD_CACHE))
    output.print_rows(
        [view.row(each) for each in usage], style=style, default=view.DEFAULT, headers=view.HEADERS
    )
    return complain(failures)


def _verbose(session: Session, style: str) -> int:
    """Print every image, container and volume with its size."""
    if style.startswith("table "):
        raise invalid(
            "--format: with --verbose there are several tables: give json, or a template over .Images,"
            " .Containers, .Volumes and .BuildCache"
        )
    for_people = style in ("", "table")
    now = clock.now()
    failures: list[errors.BeeyardError] = []

    def read(rows: Callable[[], Rows]) -> Rows | None:
        try:
            return rows()
        except errors.BeeyardError as exc:
            failures.append(exc)
            return None

    everything = container_pb2.ListContainersRequest(all=True, size=True)
    images = read(
        lambda: [view.image_row(each, now, full=not for_people) for each in image.pages(session, {})]
    )
    containers = read(
        lambda: [
            view.container_row(each, now, full=not for_people)
            for each in locate.pages(session, everything, timeout_s=TIMEOUT_S)
        ]
    )
    volumes = read(
        lambda: [volume_view.row(each, size=True) for each in volume.pages(session, {}, size=True)]
    )
    if for_people:
        _print_table("Images space usage:\n", images, view.IMAGES, image_view.HEADERS)
        _print_table("\nContainers space usage:\n", containers, view.CONTAINERS, container_view.HEADERS)
        _print_table("\nLocal Volumes space usage:\n", volumes, view.VOLUMES, volume_view.HEADERS)
        output.print_lines(["", "Build cache usage: 0B"])
    else:
        parts = {"Images": images or (), "Containers": containers or (), "Volumes": volumes or ()}
        shown = {**{name: [*rows] for name, rows in parts.items()}, "BuildCache": []}
        output.print_object(shown, "{{json .}}" if style == "json" else style)
    return complain(failures)


def _print_table(title: str, rows: Rows | None, default: str, headers: Mapping[str, str]) -> None:
    """Print a table; nothing for what could not be read."""
    if rows is not None:
        output.print_lines([title])
        output.print_rows(rows, style="", default=default, headers=headers)
