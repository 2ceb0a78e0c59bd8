"""swarmctl pull, import, load and save: images on their way in and out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from beeyard.image.v1 import image_pb2 as pb
from cli import api, archives, complete, terminal
from cli.command import command, with_session
from cli.errors import invalid
from cli.transfers import Transfers

if TYPE_CHECKING:
    from cli.session import Session
    from cli.transport.call import Call


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
    with archives.opened_input("" if source == "-" else source, "import") as stream:
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

    with archives.opened_input(source, "load") as stream:
        call = session.start(api.Images.Load)
        call.send(pb.LoadRequest(spec=pb.LoadSpec(platforms=[part for part in platforms.split(",") if part])))
        try:
            while data := stream.read(archives.CHUNK_BYTES):
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
    with archives.opened_output(target, "save image") as descriptor:
        for response in session.start(api.Images.Save, request):
            terminal.write(descriptor, response.chunk)


def _upload(call: Call[Any, Any], stream: BinaryIO, request: type[pb.ImportRequest]) -> None:
    while data := stream.read(archives.CHUNK_BYTES):
        call.send(request(chunk=data))
    call.end_requests()
