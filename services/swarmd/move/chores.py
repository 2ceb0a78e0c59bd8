"""The chores of a move: what is taken back after a failure, and cleaned up after a success. All may be done twice."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import volume_pb2
from beeyard.image.v1 import image_pb2
from services.kit import errors
from services.swarmd.move import steps
from services.swarmd.move.core import names
from services.swarmd.move.core.move import Chore, Stage, Step
from services.swarmd.move.remote import CALL_TIMEOUT_S, Remote, within

if TYPE_CHECKING:
    from services.swarmd.gateway.ports import NodeDialer
    from services.swarmd.move.core.move import Move

REMOVE_TIMEOUT_S: Final = 60.0
_UNKNOWN = (errors.Unavailable, errors.Internal, errors.Exhausted)
"""Errors after which a container may be there, or may still be made."""


class Chores:
    """Does chores."""

    def __init__(self, dialer: NodeDialer) -> None:
        self._dialer = dialer

    async def settle(self, move: Move, chore: Chore) -> str:
        """Do a chore; see `ports.Hands`."""
        wanted = move.wanted
        match chore:
            case Chore.REMOVE_TARGET:
                await self._remove_target(await self._reach(wanted.target), move)
            case Chore.REVIVE_SOURCE:
                return await self._revive_source(await self._reach(wanted.source), move)
            case Chore.REMOVE_TARGET_VOLUMES:
                return await _remove_new_volumes(await self._reach(wanted.target), move)
            case Chore.REMOVE_SOURCE:
                await _remove(
                    await self._reach(wanted.source), wanted.container_id, wanted.move_id, volumes=False
                )
            case Chore.REMOVE_SOURCE_VOLUMES:
                return await _remove_volumes(await self._reach(wanted.source), wanted.volumes)
            case Chore.REMOVE_CHECKPOINT:
                await self._remove_checkpoint(move)
            case Chore.REMOVE_TARGET_IMAGES:
                target = await self._reach(wanted.target)
                for digest in filter(None, (wanted.base_digest, move.facts.layer_digest)):
                    await target.remove_image(names.image(wanted.move_id, digest))
            case Chore.REMOVE_SOURCE_IMAGE:
                await _remove_source_images(await self._reach(wanted.source), move)
        return ""

    async def _reach(self, node_id: str) -> Remote:
        return await Remote.reach(self._dialer, node_id)

    async def _remove_target(self, target: Remote, move: Move) -> None:
        """Remove it. Where its making was begun and nobody knows how that went, it is first made, or made out.

        A container that is still being made cannot be found yet, but the repeated request waits for it.
        """
        container_id = move.facts.target_container_id
        if not container_id:
            try:
                container_id = await steps.create(target, move)
            except _UNKNOWN:
                raise
            except errors.BeeyardError:
                return  # it is refused: so there is none
        await _remove(target, container_id, move.wanted.move_id, volumes=True)

    async def _remove_checkpoint(self, move: Move) -> None:
        """Remove the checkpoint from the container that is left; that of the other went with it."""
        wanted = move.wanted
        if move.stage is Stage.CLEANING:
            node, container = wanted.target, move.facts.target_container_id or ""
        else:
            node, container = wanted.source, wanted.container_id
        request = pb.RemoveCheckpointRequest(container=container, checkpoint=names.checkpoint(wanted.move_id))
        remote = await self._reach(node)
        with contextlib.suppress(errors.NotFound):
            await within(remote.containers.RemoveCheckpoint(request, timeout=REMOVE_TIMEOUT_S))

    async def _revive_source(self, source: Remote, move: Move) -> str:
        """Start it again if it was stopped, and let go of it."""
        wanted = move.wanted
        note = ""
        try:
            if move.ran and move.reached(Step.STOP):
                note = await self._start_again(source, move)
            release = pb.ReleaseContainerRequest(
                container=wanted.container_id, holder=names.holder(wanted.move_id)
            )
            await within(source.containers.ReleaseContainer(release, timeout=CALL_TIMEOUT_S))
        except errors.NotFound as exc:
            if exc.reason != "CONTAINER_NOT_FOUND":
                raise
            return f"container {wanted.name} is not on its node any more"
        except errors.FailedPrecondition as exc:
            if exc.reason != "CONTAINER_HELD":
                raise
        return note

    async def _start_again(self, source: Remote, move: Move) -> str:
        """Start it, when a stop that may still be under way has ended; return why that is not possible."""
        wanted, note = move.wanted, ""
        holder = names.holder(wanted.move_id)
        try:
            if wanted.checkpoint:
                if await self._restore(source, move, holder):
                    return ""
                note = f"the state of container {wanted.name} was lost: it was started anew"
            else:
                await steps.stop(source, move)
            start = pb.StartContainerRequest(container=wanted.container_id, holder=holder)
            await within(source.containers.StartContainer(start, timeout=steps.START_TIMEOUT_S))
        except errors.FailedPrecondition as exc:
            if exc.reason == "CONTAINER_HELD" or exc.metadata.get("cause") == "NEIGHBOUR_UNAVAILABLE":
                raise
            return f"container {wanted.name} could not be started again: {exc.message}"
        return note

    async def _restore(self, source: Remote, move: Move, holder: str) -> bool:
        """Go on from the checkpoint where the container was ended by it; return whether it runs."""
        wanted = move.wanted
        # Waits for a checkpoint that is still being made.
        listed = pb.ListCheckpointsRequest(container=wanted.container_id)
        await within(source.containers.ListCheckpoints(listed, timeout=steps.CHECKPOINT_TIMEOUT_S))
        request = pb.GetContainerRequest(container=wanted.container_id)
        found = await within(source.containers.GetContainer(request, timeout=CALL_TIMEOUT_S))
        if found.container.status.state == pb.CONTAINER_STATE_RUNNING:
            return True
        restore = pb.RestoreContainerRequest(
            container=wanted.container_id,
            checkpoint=names.checkpoint(wanted.move_id),
            holder=holder,
        )
        try:
            await within(source.containers.RestoreContainer(restore, timeout=steps.START_TIMEOUT_S))
        except (errors.NotFound, errors.FailedPrecondition, errors.Unsupported):
            return False
        return True


async def _remove(node: Remote, container_id: str, move_id: str, *, volumes: bool) -> None:
    """Remove a container, with `volumes` the anonymous ones that were made with it as well."""
    request = pb.RemoveContainerRequest(
        container=container_id,
        force=True,
        volumes=volumes,
        ignore_missing=True,
        holder=names.holder(move_id),
    )
    await within(node.containers.RemoveContainer(request, timeout=REMOVE_TIMEOUT_S))


async def _remove_new_volumes(target: Remote, move: Move) -> str:
    """Remove the volumes that the move has made on the new node; whatever else has their names stays.

    Those that came along bear the move's label. The others were made with the container: only an empty one goes.
    """
    wanted, removable, kept = move.wanted, [], []
    for name in wanted.new_volumes:
        carried = name in wanted.volumes
        request = volume_pb2.GetVolumeRequest(name=name, size=not carried)
        try:
            found = await within(target.volumes.GetVolume(request, timeout=REMOVE_TIMEOUT_S))
        except errors.NotFound:
            continue
        if carried:
            ours = found.volume.labels.get(names.VOLUME_LABEL) == wanted.move_id
        else:
            ours = found.volume.size_bytes == 0
            kept += [] if ours else [name]
        removable += [name] if ours else []
    notes = [await _remove_volumes(target, tuple(removable))]
    if kept:
        notes.append(f"the volume {', '.join(kept)} stays on the other node: it is not empty")
    return "; ".join(filter(None, notes))


async def _remove_volumes(node: Remote, volumes: tuple[str, ...]) -> str:
    """Remove volumes; one that another container has stays."""
    kept: list[str] = []
    for name in volumes:
        request = volume_pb2.RemoveVolumeRequest(name=name, force=True)
        try:
            await within(node.volumes.RemoveVolume(request, timeout=REMOVE_TIMEOUT_S))
        except errors.FailedPrecondition as exc:
            if exc.reason != "VOLUME_IN_USE":
                raise
            kept.append(name)
    return f"another container still has the volume {', '.join(kept)}" if kept else ""


async def _remove_source_images(source: Remote, move: Move) -> None:
    """Remove the image of the layer, and after a success the one that the container stood on, if it has no name."""
    await source.remove_image(names.layer(move.wanted.move_id))
    if move.stage is not Stage.CLEANING:
        return
    request = image_pb2.GetImageRequest(reference=move.wanted.base_image_id)
    with contextlib.suppress(errors.NotFound, errors.FailedPrecondition):
        found = await within(source.images.GetImage(request, timeout=CALL_TIMEOUT_S))
        if not found.image.repo_tags and not found.image.repo_digests:
            remove = image_pb2.RemoveImageRequest(reference=move.wanted.base_image_id)
            await within(source.images.RemoveImage(remove, timeout=REMOVE_TIMEOUT_S))
