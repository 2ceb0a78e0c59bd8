"""swarmctl service create"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from beeyard.swarm.v1 import control_pb2 as pb
from cli import api, clock, complete, progress
from cli.command import command, with_session
from cli.commands.references import resolve_files
from cli.specs import service as specs
from cli.specs import service_options as options

if TYPE_CHECKING:
    from cli.session import Session

WRITE_TIMEOUT_S = 30.0


@command(positional_ends_options=True)
@options.create_options
@options.common_options
@click.argument("image", metavar="IMAGE", shell_complete=complete.images)
@click.argument("command", metavar="[COMMAND] [ARG...]", nargs=-1, type=click.UNPROCESSED)
@with_session
def create(session: Session, image: str, command: tuple[str, ...], **given: Any) -> None:
    """Create a new service."""
    spec = specs.build(image, command, given)
    resolve_files(session, spec.task)
    request = pb.CreateServiceRequest(
        spec=spec, request_id=clock.request_id(), no_resolve_image=given["no_resolve_image"]
    )
    made = session.call(api.Services.CreateService, request, timeout_s=WRITE_TIMEOUT_S)
    for warning in made.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    print(made.service.id, flush=True)
    if not given["detach"]:
        progress.wait(session, made.service.id, quiet=given["quiet"])
