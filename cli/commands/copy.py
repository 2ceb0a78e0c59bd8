"""swarmctl cp and export: files of containers, out and in."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

import click

from beeyard.container.v1 import container_pb2 as pb
from cli import api, archives, clock, complete, terminal
from cli.command import command, with_session
from cli.errors import invalid
from cli.files import local
from cli.files.plan import Source, Target, followed, parse, plan
from cli.locate import locate
from cli.redraw import Redraw
from services.kit import errors, units

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.locate import Located
    from cli.session import Session

DRAW_S = 0.1
LOOK_TIMEOUT_S = 60.0


@command(positional_ends_options=True)
@click.option("-a", "--archive", is_flag=True, help="Archive mode (copy all uid/gid information)")
@click.option("-L", "--follow-link", is_flag=True, help="Always follow symbol link in SRC_PATH")
@click.option(
    "-q",
    "--quiet",
    is_flag=True,
    help="Suppress progress output during copy. Progress output is automatically suppressed if no terminal is"
    " attached",
)
@click.argument("source", metavar="CONTAINER:SRC_PATH|SRC_PATH|-")
@click.argument("target", metavar="DEST_PATH|-|CONTAINER:DEST_PATH")
@with_session
def cp(session: Session, source: str, target: str, *, archive: bool, follow_link: bool, quiet: bool) -> None:
    """Copy files/folders between a container, or a task of the swarm, and the local filesystem.

    Use '-' as the source to read a tar archive from stdin and extract it to a directory destination in a container.
    Use '-' as the destination to stream a tar archive of a container source to stdout.
    """
    (from_container, from_path), (to_container, to_path) = parse(source), parse(target)
    if from_container and to_container:
        raise invalid("copying between containers is not supported")
    if not from_container and not to_container:
        raise invalid("must specify at least one container source")
    shown = from_container or to_container
    found = locate(session, shown)
    try:
        if from_container:
            _copy_out(found, from_path, to_path, archive=archive, follow=follow_link, quiet=quiet)
        else:
            _copy_in(found, shown, from_path, to_path, follow=follow_link, quiet=quiet)
    except errors.NotFound as exc:  # with the name that the user gave the container
        raise errors.NotFound(exc.message.replace(found.container.id, shown), reason=exc.reason) from None


@command()
@click.option(
    "-o", "--output", "target", default="", metavar="string", help="Write to a file, instead of STDOUT"
)
@click.argument("container", metavar="CONTAINER", shell_complete=complete.containers)
@with_session
def export(session: Session, target: str, container: str) -> None:
    """Export a container's filesystem as a tar archive."""
    if not target and terminal.is_terminal(terminal.STDOUT):
        raise invalid("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    if os.path.isdir(target):  # noqa: PTH112
        raise invalid("failed to export container: cannot write to a directory")
    session, found = locate(session, container)
    request = pb.ExportContainerRequest(container=found.id)
    with archives.opened_output(target, "export container") as descriptor:
        for response in session.start(api.Containers.ExportContainer, request):
            terminal.write(descriptor, response.chunk)


def _copy_in(found: Located, shown: str, path: str, target: str, *, follow: bool, quiet: bool) -> None:
    there = _look(found, target)
    progress = _Progress("Copying to container", quiet=quiet)
    if path == "-":
        if not there.is_directory:
            raise invalid(f'destination "{shown}:{target}" must be a directory')
        _send(found, there.path, progress, _forward)
    else:
        source = local.LocalSource(path, follow=follow)
        wanted = plan(source.describe(), there)
        _send(found, wanted.directory, progress, lambda write: source.pack(wanted.name, write))
    progress.finish(f"{shown}:{target}")


def _send(
    found: Located,
    directory: str,
    progress: _Progress,
    pack: Callable[[Callable[[bytes], object]], None],
) -> None:
    call = found.session.start(api.Containers.CopyIn)
    spec = pb.CopyInSpec(
        container=found.container.id, path=directory, archive=True, no_overwrite_dir_non_dir=True
    )
    call.send(pb.CopyInRequest(spec=spec))
    waiting = bytearray()

    def flush() -> None:
        if waiting:
            call.send(pb.CopyInRequest(chunk=bytes(waiting)))
            progress.add(len(waiting))
            waiting.clear()

    def write(data: bytes) -> None:
        if len(data) >= archives.CHUNK_BYTES:
            flush()
            for start in range(0, len(data), archives.CHUNK_BYTES):
                waiting.extend(data[start : start + archives.CHUNK_BYTES])
                flush()
            return
        waiting.extend(data)
        if len(waiting) >= archives.CHUNK_BYTES:
            flush()

    try:
        pack(write)
        flush()
    except BaseException:
        call.cancel()  # what was sent is no whole archive
        raise
    call.end_requests()
    call.result()


def _forward(write: Callable[[bytes], object]) -> None:
    while data := os.read(terminal.STDIN, archives.CHUNK_BYTES):
        write(data)


def _copy_out(found: Located, path: str, target: str, *, archive: bool, follow: bool, quiet: bool) -> None:
    there = local.look(target) if target != "-" else None
    request = pb.CopyOutRequest(container=found.container.id, path=path, follow_link=follow)
    call = found.session.start(api.Containers.CopyOut, request)
    first = next(call, None)
    if first is None or first.WhichOneof("part") != "stat":
        raise errors.Internal("the daemon did not say what it copies", reason="STREAM_CUT")
    if there is None:
        for response in call:
            terminal.write(terminal.STDOUT, response.chunk)
        return
    entry = first.stat
    asked = path.rstrip("/").rpartition("/")[2]
    own = (
        entry.name if asked in ("", ".", "..") else asked
    )  # of a link that was followed, the link's name stays
    wanted = plan(Source(name=own, is_directory=stat.S_ISDIR(entry.mode)), there)
    progress = _Progress("Copying from container", quiet=quiet)

    def next_chunk() -> bytes:
        response = next(call, None)
        chunk = response.chunk if response is not None else b""
        progress.add(len(chunk))
        return chunk

    try:
        local.unpack(
            next_chunk,
            wanted.directory,
            old=entry.name,
            new=wanted.name,
            keep_owner=archive and os.geteuid() == 0,
        )
    finally:
        call.cancel()
    progress.finish(os.path.abspath(target))  # noqa: PTH100


def _look(found: Located, path: str) -> Target:
    """Return what is at a path of the container; a link at its end is followed, also to where nothing is."""
    for _ in range(local.LINKS_MAX):
        request = pb.CopyOutRequest(container=found.container.id, path=path or "/", stat_only=True)
        try:
            response = next(found.session.start(api.Containers.CopyOut, request))
        except (errors.NotFound, errors.Invalid) as exc:
            if exc.reason not in ("PATH_NOT_FOUND", "PATH_NOT_A_DIRECTORY"):
                raise
            return Target(path=path, exists=False)
        mode = response.stat.mode
        if stat.S_ISLNK(mode):
            path = followed(path, response.stat.link_target)
            continue
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            raise invalid(
                f'destination "{found.container.name}:{path}" must be a directory or a regular file'
            )
        return Target(path=path, exists=True, is_directory=stat.S_ISDIR(mode))
    raise invalid(f"too many symlinks in {path}")


class _Progress:
    """How much was copied, on a terminal."""

    def __init__(self, what: str, *, quiet: bool) -> None:
        self._what = what
        self._redraw = Redraw(sys.stderr) if sys.stderr.isatty() and not quiet else None
        self._size_bytes = 0
        self._drawn_at = clock.monotonic()

    def add(self, count: int) -> None:
        self._size_bytes += count
        if self._redraw is not None and clock.monotonic() - self._drawn_at >= DRAW_S:
            self._drawn_at = clock.monotonic()
            self._redraw.draw([f"{self._what} - {units.render_bytes(self._size_bytes)}"])

    def finish(self, target: str) -> None:
        if self._redraw is not None:
            self._redraw.draw([])
            shown = units.render_bytes(self._size_bytes)
            print(f"Successfully copied {shown} to {target}", file=sys.stderr)
