"""Reads what a move is decided by, from the swarm's state and from both nodes. Changes nothing."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import volume_pb2
from beeyard.image.v1 import image_pb2
from beeyard.network.v1 import network_pb2
from beeyard.swarm.v1 import move_pb2, objects_pb2
from services.kit import errors
from services.swarmd.gateway import lookup
from services.swarmd.members.images import goarch
from services.swarmd.move.core import carried, plan
from services.swarmd.move.core.move import Move, Wanted
from services.swarmd.move.hands import DOWN
from services.swarmd.move.remote import CALL_TIMEOUT_S, Remote, within
from services.swarmd.move.steps import GRACE_MAX_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from services.kit.seams import Clock
    from services.swarmd.gateway.lookup import ViewPort
    from services.swarmd.gateway.ports import NodeDialer

PROBE_TIMEOUT_S: Final = 30.0


class Planner:
    """Makes moves of requests, or refuses them."""

    def __init__(self, *, self_node_id: str, store: ViewPort, dialer: NodeDialer, clock: Clock) -> None:
        self._self_node_id = self_node_id
        self._store = store
        self._dialer = dialer
        self._clock = clock

    async def plan(self, request: move_pb2.MoveContainerRequest, move_id: str) -> tuple[Move, Sequence[str]]:
        """Return the move, and what the caller should know of it.

        Raises:
            errors.BeeyardError: It is refused; see the RPC.
        """
        _check_request(request)
        source, target = self._nodes(request)
        options = plan.Options(volumes=request.volumes, checkpoint=request.checkpoint, force=request.force)
        at_source = await Remote.reach(self._dialer, source.id)
        wanted = pb.GetContainerRequest(container=request.container)
        found = await within(at_source.containers.GetContainer(wanted, timeout=CALL_TIMEOUT_S))
        container = found.container
        plan.check_container(container, options)
        at_target = await Remote.reach(self._dialer, target.id)
        if options.checkpoint:
            plan.check_support(
                [
                    await _support(node, remote, container.runtime)
                    for node, remote in ((source, at_source), (target, at_target))
                ]
            )
        image = await _image(at_source, container)
        volumes = await _volumes(at_source, container)
        planned = plan.plan(
            container,
            options,
            await _read_target(target, at_target, container, options),
            image_platform=f"{image.os}/{image.architecture}",
            at_source=volumes,
        )
        return Move(
            wanted=Wanted(
                move_id=move_id,
                request_id=request.request_id,
                container_id=container.id,
                name=container.name,
                source=source.id,
                target=target.id,
                base_digest=image.manifest_digest,
                base_image_id=image.id,
                volumes=planned.volumes,
                volume_mounts=planned.volume_mounts,
                new_volumes=planned.new_volumes,
                checkpoint=request.checkpoint,
                grace_ms=request.grace_ms if request.HasField("grace_ms") else None,
                begun_at=self._clock.now().timestamp(),
            )
        ), planned.warnings

    def _nodes(self, request: move_pb2.MoveContainerRequest) -> tuple[objects_pb2.Node, objects_pb2.Node]:
        view = self._store.view()
        source = lookup.node_named(view, request.source_node or self._self_node_id)
        target = lookup.node_named(view, request.target_node)
        if source.id == target.id:
            raise errors.Invalid(
                f"container {request.container} is on node {_name(target)} already", reason="SAME_NODE"
            )
        for node in (source, target):
            if node.status.state in DOWN:
                raise errors.Unavailable(f"node {_name(node)} is down", reason="NODE_UNREACHABLE")
        return source, target


def _check_request(request: move_pb2.MoveContainerRequest) -> None:
    if not request.container or not request.target_node:
        raise errors.Invalid("a move names a container and the node that it goes to")
    if request.HasField("grace_ms") and not 0 <= request.grace_ms <= GRACE_MAX_S * 1000:
        raise errors.Invalid(f"the grace of a move is between 0 and {GRACE_MAX_S:g} s")


async def _read_target(
    node: objects_pb2.Node, target: Remote, container: pb.Container, options: plan.Options
) -> plan.Target:
    mounts = plan.volumes(container)
    spec = carried.with_volumes(container.spec, mounts if options.volumes else ())
    spec.name = container.name
    checked = await within(
        target.containers.CheckContainer(pb.CheckContainerRequest(spec=spec), timeout=CALL_TIMEOUT_S)
    )
    missing = [name for name in plan.networks(container.spec) if not await _has_network(target, name)]
    present = [name for name in {mount.name for mount in mounts} if await _has_volume(target, name)]
    description = node.description
    return plan.Target(
        name=_name(node),
        platform=f"{description.os}/{goarch(description.architecture)}",
        problems=checked.problems,
        missing_networks=missing,
        missing_images=[
            name for name in plan.mounted_images(container.spec) if not await _has_image(target, name)
        ],
        volumes=frozenset(present),
    )


async def _has_network(node: Remote, name: str) -> bool:
    request = network_pb2.GetNetworkRequest(network=name)
    return await _found(node.networks.GetNetwork(request, timeout=CALL_TIMEOUT_S))


async def _has_image(node: Remote, name: str) -> bool:
    request = image_pb2.GetImageRequest(reference=name)
    return await _found(node.images.GetImage(request, timeout=CALL_TIMEOUT_S))


async def _has_volume(node: Remote, name: str) -> bool:
    request = volume_pb2.GetVolumeRequest(name=name)
    return await _found(node.volumes.GetVolume(request, timeout=CALL_TIMEOUT_S))


async def _found(call: Awaitable[object]) -> bool:
    with contextlib.suppress(errors.NotFound):
        await within(call)
        return True
    return False


async def _volumes(node: Remote, container: pb.Container) -> dict[str, volume_pb2.Volume]:
    volumes: dict[str, volume_pb2.Volume] = {}
    for mount in plan.volumes(container):
        request = volume_pb2.GetVolumeRequest(name=mount.name)
        found = await within(node.volumes.GetVolume(request, timeout=CALL_TIMEOUT_S))
        volumes[mount.name] = found.volume
    return volumes


async def _image(node: Remote, container: pb.Container) -> image_pb2.Image:
    request = image_pb2.GetImageRequest(reference=container.image_id)
    return (await within(node.images.GetImage(request, timeout=CALL_TIMEOUT_S))).image


async def _support(node: objects_pb2.Node, remote: Remote, runtime: str) -> plan.Support:
    request = pb.GetCheckpointSupportRequest(runtime=runtime)
    found = await within(remote.containers.GetCheckpointSupport(request, timeout=PROBE_TIMEOUT_S))
    return plan.Support(node=_name(node), reason="" if found.supported else found.reason)


def _name(node: objects_pb2.Node) -> str:
    return node.description.hostname or node.id
