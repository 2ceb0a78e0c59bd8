"""Making a container: what run and create share. Its image is pulled if it is missing."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from beeyard.container.v1 import container_pb2 as pb
from cli import api, clock, outage
from cli.errors import invalid
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from beeyard.container.v1 import spec_pb2
    from cli.session import Session

CREATE_TIMEOUT_S = 120.0
IMAGE_NOT_FOUND = "IMAGE_NOT_FOUND"


def create(
    session: Session, spec: spec_pb2.ContainerSpec, *, pull: str, quiet: bool, cidfile: str
) -> pb.CreateContainerResponse:
    """Make a container.

    Args:
        session: Where.
        spec: What.
        pull: When the image is fetched: always, missing, never.
        quiet: Do not show the pull.
        cidfile: Write the id there; empty writes none.

    Raises:
        errors.BeeyardError: The image cannot be had, the daemon refuses, or the file exists already.
    """
    request = pb.CreateContainerRequest(spec=spec, request_id=clock.request_id())
    with _cidfile(cidfile) as write_id:
        if pull == "always":
            _pull(session, spec, quiet=quiet)
        try:
            made = _create(session, request)
        except errors.NotFound as exc:
            if exc.reason != IMAGE_NOT_FOUND or pull != "missing":
                raise
            if not quiet:
                print(f"Unable to find image {_tagged(spec.image)!r} locally", file=sys.stderr)
            _pull(session, spec, quiet=quiet)
            request.request_id = clock.request_id()
            made = _create(session, request)
        write_id(made.id)
    for warning in made.warnings:
        print(f"WARNING: {warning}", file=sys.stderr)
    return made


def _create(session: Session, request: pb.CreateContainerRequest) -> pb.CreateContainerResponse:
    """Ask for it; the request's id makes it one container, however often it is asked for."""

    def call() -> pb.CreateContainerResponse:
        return session.call(api.Containers.CreateContainer, request, timeout_s=CREATE_TIMEOUT_S)

    try:
        return call()
    except errors.BeeyardError as exc:
        if exc.reason != "CONNECTION_LOST":  # it was there: who was never there is not waited for
            raise
        return outage.retry(call, exc)


def _pull(session: Session, spec: spec_pb2.ContainerSpec, *, quiet: bool) -> None:
    from cli.commands.pulling import pull

    pull(session, spec.image, platform=spec.platform, quiet=quiet, stream=sys.stderr)


def _tagged(image: str) -> str:
    name = image.rpartition("/")[2]
    return image if ":" in name or "@" in name else f"{image}:latest"


@contextmanager
def _cidfile(path: str) -> Iterator[Callable[[str], object]]:
    """Claim the file for the id before anything is made, and take it away again if nothing was."""
    if not path:
        yield lambda _: None
        return
    from pathlib import Path

    file = Path(path)
    try:
        file.open("x").close()
    except FileExistsError:
        raise invalid(
            f"container ID file found, make sure the other container isn't running or delete {path}"
        ) from None
    except (OSError, ValueError) as exc:
        why = getattr(exc, "strerror", None) or exc
        raise invalid(f"failed to create the container ID file {path}: {why}") from None
    try:
        yield file.write_text
    except BaseException:
        file.unlink(missing_ok=True)
        raise
