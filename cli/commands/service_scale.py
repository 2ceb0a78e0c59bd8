"""swarmctl service scale, and rollback"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli import complete, progress
from cli.command import command, for_each, with_session
from cli.commands import service_change
from cli.errors import invalid
from cli.specs import service_update as specs
from cli.specs import values

if TYPE_CHECKING:
    from beeyard.swarm.v1 import objects_pb2 as objects
    from cli.session import Session


@command()
@click.option(
    "-d", "--detach", is_flag=True, help="Exit immediately instead of waiting for the service to converge"
)
@click.argument("scales", metavar="SERVICE=REPLICAS...", nargs=-1, required=True)
@with_session
def scale(session: Session, scales: tuple[str, ...], *, detach: bool) -> int:
    """Scale one or multiple replicated services."""
    changed: list[str] = []

    def act(text: str) -> str:
        name, separator, count = text.rpartition("=")
        if not separator or not name:
            raise invalid(f"invalid scale specifier {text!r}: give SERVICE=REPLICAS")
        replicas = values.whole(count, f"{name}: replicas", most=values.INT64_MAX)

        def edit(spec: objects.ServiceSpec) -> None:
            specs.set_replicas(spec, replicas)

        changed.append(service_change.change(session, name, edit).id)
        return f"{name} scaled to {count}"

    code = for_each(scales, act)
    if not detach:
        for service_id in changed:
            progress.wait(session, service_id, quiet=False)
    return code


@command()
@click.option(
    "-d", "--detach", is_flag=True, help="Exit immediately instead of waiting for the service to converge"
)
@click.option("-q", "--quiet", is_flag=True, help="Suppress progress output")
@click.argument("service", metavar="SERVICE", shell_complete=complete.services)
@with_session
def rollback(session: Session, service: str, *, detach: bool, quiet: bool) -> None:
    """Revert changes to a service's configuration."""

    def keep(_: objects.ServiceSpec) -> None:
        return

    changed = service_change.change(session, service, keep, rollback=True)
    print(service, flush=True)
    if not detach:
        progress.wait(session, changed.id, quiet=quiet, rollback=True)
