"""swarmctl volume …: the volumes of a node, with docker's commands and three of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from beeyard.container.v1 import filter_pb2
from beeyard.container.v1 import volume_pb2 as pb
from cli import api, archives, complete, terminal
from cli.command import (
    command,
    filter_option,
    for_each,
    format_option,
    inspect_format_option,
    parse_filters,
    with_session,
)
from cli.errors import invalid
from cli.format import output
from cli.natural_order import natural
from cli.specs import values
from cli.specs.options import add, many, text
from cli.views import volume as view
from services.kit import errors, units

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cli.session import Session

TIMEOUT_S = 60.0
SIZE_TIMEOUT_S = 300.0
"""Sizes are summed up file by file, and a big tree takes time to remove."""
_CLUSTER = (
    "--availability",
    "--group",
    "--limit-bytes",
    "--required-bytes",
    "--scope",
    "--secret",
    "--sharing",
    "--topology-preferred",
    "--topology-required",
    "--type",
)
"""docker's options of cluster volumes, which are CSI's."""


def on_wire(given: Mapping[str, Sequence[str]]) -> Mapping[str, filter_pb2.StringList]:
    """Filters as containerd takes them."""
    return {key: filter_pb2.StringList(values=values) for key, values in given.items()}


def pages(
    session: Session, chosen: Mapping[str, Sequence[str]], *, size: bool = False
) -> Iterator[pb.Volume]:
    """Yield all volumes that match."""
    request = pb.ListVolumesRequest(filters=on_wire(chosen), size=size)
    while True:
        page = session.call(api.Volumes.ListVolumes, request, timeout_s=SIZE_TIMEOUT_S if size else TIMEOUT_S)
        yield from page.volumes
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def get(session: Session, name: str, *, size: bool = False) -> pb.Volume:
    """Return a volume."""
    request = pb.GetVolumeRequest(name=name, size=size)
    return session.call(
        api.Volumes.GetVolume, request, timeout_s=SIZE_TIMEOUT_S if size else TIMEOUT_S
    ).volume


@command()
@add(
    [
        text("-d", "--driver", help='Specify volume driver name (default "local")'),
        many("--label", metavar="list", help="Set metadata for a volume"),
        many("-o", "--opt", metavar="map", help="Set driver specific options"),
        *(many(name, metavar="string", help="Cluster volumes (CSI) are not offered") for name in _CLUSTER),
    ]
)
@click.argument("name", metavar="[VOLUME]", default="")
@with_session
def create(session: Session, name: str, **given: Any) -> None:
    """Create a volume."""
    for option in _CLUSTER:
        if given[option[2:].replace("-", "_")]:
            raise invalid(f"{option} is not supported: cluster volumes (CSI) are not offered")
    request = pb.CreateVolumeRequest(
        name=name,
        driver=given["driver"] or "",
        labels=values.mapping(given["label"], "--label"),
        options=values.mapping(given["opt"], "--opt"),
    )
    print(session.call(api.Volumes.CreateVolume, request, timeout_s=TIMEOUT_S).volume.name)


@command()
@click.option("--cluster", is_flag=True, help="Cluster volumes (CSI) are not offered")
@filter_option
@format_option
@click.option("-q", "--quiet", is_flag=True, help="Only display volume names")
@with_session
def ls(session: Session, filters: tuple[str, ...], style: str, *, cluster: bool, quiet: bool) -> None:
    """List volumes."""
    if cluster:
        raise invalid("--cluster is not supported: cluster volumes (CSI) are not offered")
    output.print_rows(
        sorted(
            (view.row(volume) for volume in pages(session, parse_filters(filters))),
            key=lambda row: natural(row["Name"]),
        ),
        style=style,
        default=view.DEFAULT,
        headers=view.HEADERS,
        quiet_field="Name" if quiet else "",
    )


@command()
@inspect_format_option
@click.option("-s", "--size", is_flag=True, help="Display the size of the content and the number of users")
@click.argument("volumes", metavar="VOLUME...", nargs=-1, required=True, shell_complete=complete.volumes)
@with_session
def inspect(session: Session, style: str, volumes: tuple[str, ...], *, size: bool) -> int:
    """Display detailed information on one or more volumes."""
    found: list[dict[str, Any]] = []

    def look(name: str) -> None:
        found.append(view.inspect(get(session, name, size=size), size=size))

    code = for_each(volumes, look)
    output.print_inspect(found, style)
    return code


@command()
@click.option("-f", "--force", is_flag=True, help="Do not error if the volume does not exist")
@click.argument("volumes", metavar="VOLUME...", nargs=-1, required=True, shell_complete=complete.volumes)
@with_session
def rm(session: Session, volumes: tuple[str, ...], *, force: bool) -> int:
    """Remove one or more volumes."""

    def remove(name: str) -> str:
        request = pb.RemoveVolumeRequest(name=name, force=force)
        session.call(api.Volumes.RemoveVolume, request, timeout_s=SIZE_TIMEOUT_S)
        return name

    return for_each(volumes, remove)


@command()
@click.option(
    "-a", "--all", "everything", is_flag=True, help="Remove all unused volumes, not just anonymous ones"
)
@click.option(
    "--filter", "given", multiple=True, metavar="filter", help='Provide filters (e.g. "label=<label>")'
)
@click.option("-f", "--force", is_flag=True, help="Do not prompt for confirmation")
@with_session
def prune(session: Session, given: tuple[str, ...], *, everything: bool, force: bool) -> None:
    """Remove unused local volumes."""
    request = pb.PruneVolumesRequest(all=everything, filters=on_wire(parse_filters(given)))
    if not force:
        from cli.prompt import confirm

        what = "local volumes" if everything else "anonymous local volumes"
        confirm(f"This will remove {what} not used by at least one container.", "volume prune")
    done = session.call(api.Volumes.PruneVolumes, request, timeout_s=SIZE_TIMEOUT_S)
    if done.deleted:
        output.print_lines(["Deleted Volumes:", *done.deleted, ""])
    print(f"Total reclaimed space: {units.render_bytes(done.reclaimed_bytes)}")


@command()
@click.option(
    "-o", "--output", "target", default="", metavar="string", help="Write to a file, instead of STDOUT"
)
@click.argument("name", metavar="VOLUME", shell_complete=complete.volumes)
@with_session
def export(session: Session, target: str, name: str) -> None:
    """Export a volume's content as a tar archive."""
    if not target and terminal.is_terminal(terminal.STDOUT):
        raise invalid("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    with archives.opened_output(target, "export volume") as descriptor:
        for response in session.start(api.Volumes.ExportVolume, pb.ExportVolumeRequest(name=name)):
            terminal.write(descriptor, response.chunk)


@command("import")
@click.argument("name", metavar="VOLUME", shell_complete=complete.volumes)
@click.argument("source", metavar="file|-")
@with_session
def import_(session: Session, name: str, source: str) -> None:
    """Unpack a tar archive into a new or empty volume."""
    with archives.opened_input("" if source == "-" else source, "import") as stream:
        call = session.start(api.Volumes.ImportVolume)
        call.send(pb.ImportVolumeRequest(spec=pb.ImportVolumeSpec(name=name)))
        while data := stream.read(archives.CHUNK_BYTES):
            call.send(pb.ImportVolumeRequest(chunk=data))
        call.end_requests()
        call.result()
    print(name)


@command()
@click.argument("source", metavar="SOURCE", shell_complete=complete.volumes)
@click.argument("target", metavar="TARGET")
@with_session
def clone(session: Session, source: str, target: str) -> None:
    """Make a new volume with the content of another one."""
    if not target:
        raise errors.Invalid("the new volume needs a name", reason="SPEC_INVALID")
    request = pb.CloneVolumeRequest(source=source, target=target)
    print(session.call(api.Volumes.CloneVolume, request, timeout_s=None).volume.name)
