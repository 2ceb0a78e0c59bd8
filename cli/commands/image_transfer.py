"""swarmctl pull, import, load and save: images on their way in and out."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from beeyard.image.v1 import image_pb2 as pb
from cli import api, complete, terminal
from cli.command import command, with_session
from cli.errors import invalid
from cli.transfers import Transfers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.session import Session
    from cli.transport.call import Call

CHUNK_BYTES = 256 << 10


@command()
@click.option("--platform", default="", metavar="string", help="Set platform if the image has several")
@click.option("-q", "--quiet", is_flag=True, help="Suppress verbose output")
@click.argument("name", metavar="NAME[:TAG|@DIGEST]")
@with_session
def pull(session: Session, platform: str, name: str, *, quiet: bool) -> None:
    """Get an image from the nodes of the swarm or a registry."""
    from cli.commands import pulling

    last = name.rpartition("/")[2]
    if ":" not in last and "@" not in last and not quiet:
        print("Using default tag: latest")
    done = pulling.pull(session, name, platform=platform, quiet=quiet, stream=sys.stdout)
    print(done.reference)


@command("import")
@click.option("-c", "--change", "changes", multiple=True, metavar="list", help="Apply Dockerfile instruction")
@click.option("-m", "--message", default="", metavar="string", help="Set commit message for imported image")
@click.option("--platform", default="", metavar="string", help="Set platform of the image")
@click.argument("source", metavar="file|-")
@click.argument("reference", metavar="[REPOSITORY[:TAG]]", default="")
@with_session
def import_(
    session: Session, changes: tuple[str, ...], message: str, platform: str, source: str, reference: str
) -> None:
    """Import the contents from a tarball to create a filesystem image."""
    if source.startswith(("http://", "https://")):
        raise invalid("import reads files: fetch the URL first, and pipe it into `swarmctl import -`")
    spec = pb.ImportSpec(reference=reference, changes=changes, message=message, platform=platform)
    with _input("" if source == "-" else source, "import") as stream:
        call = session.start(api.Images.Import)
        call.send(pb.ImportRequest(spec=spec))
        _upload(call, stream, pb.ImportRequest)
        print(call.result().image_id)


@command()
@click.option("-i", "--input", "source", default="", metavar="string", help="Read from tar archive file")
@click.option("--platform", "platforms", default="", metavar="strings", help="Load only these platforms")
@click.option("-q", "--quiet", is_flag=True, help="Suppress the load output")
@with_session
def load(session: Session, source: str, platforms: str, *, quiet: bool) -> None:
    """Load images from a tar archive or standard input."""
    shown = Transfers(quiet=quiet)
    names: list[str] = []

    def take(response: pb.LoadResponse) -> None:
        if response.WhichOneof("event") == "progress":
            shown.update(response.progress)
        else:
            names.append(response.image.reference or response.image.image_id)

    with _input(source, "load") as stream:
        call = session.start(api.Images.Load)
        call.send(pb.LoadRequest(spec=pb.LoadSpec(platforms=[part for part in platforms.split(",") if part])))
        try:
            while data := stream.read(CHUNK_BYTES):
                call.send(pb.LoadRequest(chunk=data))
                while (response := call.take()) is not None:
                    take(response)
            call.end_requests()
            for response in call:
                take(response)
        finally:
            shown.finish()
    for name in names:
        print(f"Loaded image{' ID' if name.startswith('sha256:') else ''}: {name}")


@command()
@click.option(
    "-o", "--output", "target", default="", metavar="string", help="Write to a file, instead of STDOUT"
)
@click.option("--platform", "platforms", default="", metavar="strings", help="Save only these platforms")
@click.option(
    "--archive-format",
    type=click.Choice(["docker", "oci"]),
    default="docker",
    help="Layout: docker (readable by OCI tools too), or oci alone",
)
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, shell_complete=complete.images)
@with_session
def save(session: Session, target: str, platforms: str, archive_format: str, images: tuple[str, ...]) -> None:
    """Save one or more images to a tar archive (streamed to STDOUT by default)."""
    if not target and terminal.is_terminal(terminal.STDOUT):
        raise invalid("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    request = pb.SaveRequest(
        references=images,
        format=pb.ARCHIVE_FORMAT_OCI if archive_format == "oci" else pb.ARCHIVE_FORMAT_DOCKER,
        platforms=[part for part in platforms.split(",") if part],
    )
    with _output(target) as descriptor:
        for response in session.start(api.Images.Save, request):
            terminal.write(descriptor, response.chunk)


def _upload(call: Call[Any, Any], stream: BinaryIO, request: type[pb.ImportRequest]) -> None:
    while data := stream.read(CHUNK_BYTES):
        call.send(request(chunk=data))
    call.end_requests()


@contextlib.contextmanager
def _input(path: str, what: str) -> Iterator[BinaryIO]:
    """Open the archive: a file, or standard input unless that is a terminal."""
    if not path:
        if terminal.is_terminal(terminal.STDIN):
            raise invalid(f"requested {what} from stdin, but stdin is empty")
        yield sys.stdin.buffer
        return
    with contextlib.ExitStack() as stack:
        try:
            stream = stack.enter_context(Path(path).open("rb"))
        except (OSError, ValueError) as exc:
            raise invalid(f"open {path}: {getattr(exc, 'strerror', None) or exc}") from None
        yield stream


@contextlib.contextmanager
def _output(path: str) -> Iterator[int]:
    """Open where the archive goes. A file appears when it is complete, and never in part."""
    if not path:
        yield terminal.STDOUT
        return
    final = Path(path)
    replaces = not final.exists() or final.is_file()  # a device or pipe is written to, not replaced
    written = final.with_name(f".{final.name}.{os.getpid()}.partial") if replaces else final
    try:
        descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except (OSError, ValueError) as exc:
        raise invalid(f"failed to save image: {path}: {getattr(exc, 'strerror', None) or exc}") from None
    try:
        yield descriptor
        if replaces:
            os.fsync(descriptor)
            written.rename(final)
    except OSError as exc:
        raise invalid(f"failed to save image: {path}: {exc.strerror or exc}") from exc
    finally:
        os.close(descriptor)
        if replaces:
            written.unlink(missing_ok=True)
