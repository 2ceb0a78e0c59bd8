"""swarmctl run, and create."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from beeyard.container.v1 import container_pb2 as pb
from cli import api, complete, locate, outage, terminal
from cli.command import command, with_session
from cli.commands import creation, foreground
from cli.errors import EXIT_ENGINE, invalid
from cli.specs import container as specs
from cli.specs import container_options as options
from services.kit import detach_keys, errors

if TYPE_CHECKING:
    from cli.session import Session

START_TIMEOUT_S = 120.0


@command(positional_ends_options=True, failure_code=EXIT_ENGINE, aliases=options.ALIASES)
@options.run_options
@options.create_options
@click.argument("image", metavar="IMAGE", shell_complete=complete.images)
@click.argument("command", metavar="[COMMAND] [ARG...]", nargs=-1, type=click.UNPROCESSED)
@with_session
def run(session: Session, image: str, command: tuple[str, ...], **given: Any) -> int:
    """Create and run a new container from an image."""
    streams = specs.streams(given, detach=given["detach"])
    detach_keys.parse(given["detach_keys"])  # before there is a container to be attached to
    spec = specs.build(image, command, given)
    spec.stdin_once = spec.open_stdin and streams.stdin
    spec.attach_stdout, spec.attach_stderr = streams.stdout, streams.stderr
    if spec.tty and streams.stdin and not terminal.is_terminal(terminal.STDIN):
        raise invalid("the input device is not a TTY")
    made = creation.create(
        session,
        spec,
        pull=specs.check_pull(given["pull"]),
        quiet=given["quiet"],
        cidfile=given["cidfile"],
    )
    try:
        if not any(streams):
            try:
                _start(session, made.id)
            finally:  # after the start, which must not depend on who reads the id
                print(made.id, flush=True)
            return 0
        wanted = pb.AttachOpen(
            container=made.id,
            stdin=streams.stdin,
            stdout=streams.stdout,
            stderr=streams.stderr,
            detach_keys=given["detach_keys"],
        )
        return foreground.start(session, wanted, tty=spec.tty, sig_proxy=given["sig_proxy"])
    except errors.BeeyardError as exc:
        if spec.auto_remove and exc.reason == "START_FAILED":
            _remove(session, made.id)
        raise


@command(positional_ends_options=True, failure_code=EXIT_ENGINE, aliases=options.ALIASES)
@options.create_options
@click.argument("image", metavar="IMAGE", shell_complete=complete.images)
@click.argument("command", metavar="[COMMAND] [ARG...]", nargs=-1, type=click.UNPROCESSED)
@with_session
def create(session: Session, image: str, command: tuple[str, ...], **given: Any) -> None:
    """Create a new container."""
    streams = specs.streams(given, detach=False)
    spec = specs.build(image, command, given)
    spec.stdin_once = spec.open_stdin and streams.stdin
    spec.attach_stdout, spec.attach_stderr = streams.stdout, streams.stderr
    made = creation.create(
        session,
        spec,
        pull=specs.check_pull(given["pull"]),
        quiet=given["quiet"],
        cidfile=given["cidfile"],
    )
    print(made.id)


def _start(session: Session, container_id: str) -> None:
    """Start it, once: a daemon that dies meanwhile may have done it."""
    request = pb.StartContainerRequest(container=container_id)

    def begin() -> None:
        session.call(api.Containers.StartContainer, request, timeout_s=START_TIMEOUT_S)

    def begin_again() -> None:
        try:
            begun = locate.get(session, container_id).status.HasField("started_at")
        except errors.NotFound:
            return  # it has run, and was removed as --rm wants it
        if not begun:
            begin()

    try:
        begin()
    except errors.BeeyardError as exc:
        if not outage.is_outage(exc):
            raise
        outage.retry(begin_again, exc)


def _remove(session: Session, container_id: str) -> None:
    """Take away what --rm was to take away, if the daemon has not done it already."""
    request = pb.RemoveContainerRequest(container=container_id, force=True, volumes=True, ignore_missing=True)
    session.call(api.Containers.RemoveContainer, request, timeout_s=START_TIMEOUT_S)
