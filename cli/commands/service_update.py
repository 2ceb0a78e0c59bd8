"""swarmctl service update"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli import complete, progress
from cli.command import command, with_session
from cli.commands import service_change
from cli.commands.references import resolve_files
from cli.specs import service_options as options
from cli.specs import service_update as specs

if TYPE_CHECKING:
    from beeyard.swarm.v1 import objects_pb2 as objects
    from cli.session import Session


@command()
@options.update_options
@options.common_options
@click.argument("service", metavar="SERVICE", shell_complete=complete.services)
@with_session
def update(session: Session, service: str, **given: Any) -> None:
    """Update a service."""

    def edit(spec: objects.ServiceSpec) -> None:
        specs.change(spec, given)
        resolve_files(session, spec.task)

    changed = service_change.change(
        session, service, edit, rollback=given["rollback"], no_resolve_image=given["no_resolve_image"]
    )
    print(service, flush=True)
    if not given["detach"]:
        progress.wait(session, changed.id, quiet=given["quiet"])
