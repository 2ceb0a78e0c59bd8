"""Names for the shell to complete: asked of the daemons, in a moment, and never an error on the user's prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import click

    from cli.session import Session

TIMEOUT_S = 1.0
ITEMS_MAX = 500


def session_of(ctx: click.Context) -> Session:
    """Make a session from the global options as typed so far: commands are not run while completing."""
    from cli import target
    from cli.session import Session

    given = ctx.find_root().params
    resolved = target.resolve(host=given.get("host") or "", context=given.get("context_name") or "")
    return Session(target=resolved, node=given.get("node") or "")


def _completer(names: Callable[[Session], Iterable[str]]) -> Callable[..., list[str]]:
    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        try:
            session = session_of(ctx)
            try:
                found = [name for name in names(session) if name.startswith(incomplete)]
            finally:
                session.close()
        except errors.BeeyardError:
            return []
        return sorted(dict.fromkeys(found))[:ITEMS_MAX]

    return complete


def _containers(session: Session) -> Iterable[str]:
    from beeyard.container.v1 import container_pb2 as pb
    from cli import api

    request = pb.ListContainersRequest(all=True, page_size=ITEMS_MAX)
    page = session.call(api.Containers.ListContainers, request, timeout_s=TIMEOUT_S)
    return [container.name for container in page.containers]


def _images(session: Session) -> Iterable[str]:
    from beeyard.image.v1 import image_pb2 as pb
    from cli import api

    request = pb.ListImagesRequest(page_size=ITEMS_MAX)
    page = session.call(api.Images.ListImages, request, timeout_s=TIMEOUT_S)
    return [name for image in page.images for name in image.repo_tags]


def _networks(session: Session) -> Iterable[str]:
    from beeyard.network.v1 import network_pb2 as pb
    from cli import api

    request = pb.ListNetworksRequest(page_size=ITEMS_MAX)
    page = session.call(api.Networks.ListNetworks, request, timeout_s=TIMEOUT_S)
    return [network.spec.name for network in page.networks]


def _volumes(session: Session) -> Iterable[str]:
    from beeyard.container.v1 import volume_pb2 as pb
    from cli import api

    request = pb.ListVolumesRequest(page_size=ITEMS_MAX)
    page = session.call(api.Volumes.ListVolumes, request, timeout_s=TIMEOUT_S)
    return [volume.name for volume in page.volumes]


def _services(session: Session) -> Iterable[str]:
    from beeyard.swarm.v1 import control_pb2 as pb
    from cli import api

    request = pb.ListServicesRequest(page_size=ITEMS_MAX)
    page = session.call(api.Services.ListServices, request, timeout_s=TIMEOUT_S)
    return [entry.service.spec.annotations.name for entry in page.services]


def _nodes(session: Session) -> Iterable[str]:
    from beeyard.swarm.v1 import control_pb2 as pb
    from cli import api

    page = session.call(api.Nodes.ListNodes, pb.ListNodesRequest(page_size=ITEMS_MAX), timeout_s=TIMEOUT_S)
    return [node.description.hostname or node.id for node in page.nodes]


def _contexts(_session: Session) -> Iterable[str]:
    from cli import contexts as kept
    from cli import target

    return kept.names(target.config_directory())


containers = _completer(_containers)
images = _completer(_images)
networks = _completer(_networks)
volumes = _completer(_volumes)
services = _completer(_services)
nodes = _completer(_nodes)
contexts = _completer(_contexts)
