"""swarmctl system prune: everything that nothing uses, of all kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from beeyard.container.v1 import container_pb2, volume_pb2
from beeyard.image.v1 import image_pb2
from beeyard.network.v1 import network_pb2
from cli import api
from cli.command import command, parse_filters, with_session
from cli.commands import image, network
from cli.commands.container import filters
from cli.errors import invalid
from cli.format import output
from services.kit import units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.session import Session

PRUNE_TIMEOUT_S = 600.0


@command()
@click.option(
    "-a", "--all", "everything", is_flag=True, help="Remove all unused images, not just dangling ones"
)
@click.option("--filter", "given", multiple=True, metavar="filter", help='Provide filters (e.g. "until=1h")')
@click.option("-f", "--force", is_flag=True, help="Do not prompt for confirmation")
@click.option("--volumes", is_flag=True, help="Prune anonymous volumes")
@with_session
def prune(session: Session, given: tuple[str, ...], *, everything: bool, force: bool, volumes: bool) -> None:
    """Remove unused data: stopped containers, unused networks and images, and with --volumes anonymous volumes."""
    wanted = filters(given)
    if volumes and "until" in wanted:
        raise invalid(
            'the "until" filter is not supported with --volumes: volumes have no age that says anything'
        )
    if not force:
        from cli.prompt import confirm

        confirm(warning(given, everything=everything, volumes=volumes), "system prune")
    reclaimed = _containers(session, given) + _networks(session, given)
    if volumes:
        reclaimed += _volumes(session, given)
    reclaimed += _images(session, given, everything=everything)
    print(f"Total reclaimed space: {units.render_bytes(reclaimed)}")


def warning(given: Sequence[str], *, everything: bool, volumes: bool) -> str:
    """Say what would be removed."""
    kinds = [
        "all stopped containers",
        "all networks that no container uses",
        *(["all anonymous volumes that no container uses"] if volumes else []),
        "all images that no container was made from" if everything else "all dangling images",
    ]
    lines = ["This will remove:", *(f"  - {kind}" for kind in kinds)]
    if given:
        lines += ["", "  Of these only what the filters choose:", *(f"  - {text}" for text in given)]
    return "\n".join([*lines, ""])


def _containers(session: Session, given: Sequence[str]) -> int:
    request = container_pb2.PruneContainersRequest(filters=filters(given))
    done = session.call(api.Containers.PruneContainers, request, timeout_s=PRUNE_TIMEOUT_S)
    _list("Deleted Containers:", done.deleted)
    return done.reclaimed_bytes


def _networks(session: Session, given: Sequence[str]) -> int:
    request = network_pb2.PruneNetworksRequest(filters=network.on_wire(parse_filters(given)))
    done = session.call(api.Networks.PruneNetworks, request, timeout_s=PRUNE_TIMEOUT_S)
    _list("Deleted Networks:", done.deleted)
    return 0


def _volumes(session: Session, given: Sequence[str]) -> int:
    request = volume_pb2.PruneVolumesRequest(filters=filters(given))
    done = session.call(api.Volumes.PruneVolumes, request, timeout_s=PRUNE_TIMEOUT_S)
    _list("Deleted Volumes:", done.deleted)
    return done.reclaimed_bytes


def _images(session: Session, given: Sequence[str], *, everything: bool) -> int:
    request = image_pb2.PruneImagesRequest(all=everything, filters=image.filters(given))
    done = session.call(api.Images.PruneImages, request, timeout_s=PRUNE_TIMEOUT_S)
    names = [*(f"untagged: {name}" for name in done.untagged), *(f"deleted: {name}" for name in done.deleted)]
    _list("Deleted Images:", names)
    return done.reclaimed_bytes


def _list(title: str, names: Sequence[str]) -> None:
    if names:
        output.print_lines([title, *names, ""])
