"""The calls about a container's writable layer, which imaged keeps: diff and commit."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from beeyard.container.v1 import container_pb2 as pb
from beeyard.image.v1 import snapshot_pb2
from services.containerd.lifecycle.bring_up import cgroup_path
from services.containerd.model.events import Action
from services.containerd.model.status import State
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.containerd.cgroups.control import Control
    from services.containerd.engine import Engine
    from services.containerd.lifecycle.actor import Actor
    from services.containerd.neighbours.images import Images

_KINDS = {
    snapshot_pb2.CHANGE_KIND_MODIFIED: pb.CHANGE_KIND_MODIFIED,
    snapshot_pb2.CHANGE_KIND_ADDED: pb.CHANGE_KIND_ADDED,
    snapshot_pb2.CHANGE_KIND_DELETED: pb.CHANGE_KIND_DELETED,
}


class Layers:
    """Asks imaged about layers of containers."""

    def __init__(self, engine: Engine, images: Images, control: Control, cgroup_parent: str) -> None:
        self._engine = engine
        self._images = images
        self._control = control
        self._cgroup_parent = cgroup_parent

    async def diff(self, request: pb.DiffContainerRequest) -> AsyncIterator[pb.DiffContainerResponse]:
        """Yield what differs from the image, in batches."""
        actor = self._engine.find(request.container)
        async for batch in self._images.diff(actor.record.id):
            yield pb.DiffContainerResponse(
                changes=[
                    pb.PathChange(kind=_KINDS[change.kind], path=change.path) for change in batch.changes
                ]
            )

    async def commit(self, request: pb.CommitContainerRequest) -> pb.CommitContainerResponse:
        """Make an image of the container, which is paused meanwhile if it runs."""
        actor = self._engine.find(request.container)
        wanted = snapshot_pb2.CommitImageRequest(
            key=actor.record.id,
            reference=request.reference,
            author=request.author,
            message=request.message,
            changes=request.changes,
        )
        if actor.status.state is State.RUNNING and not request.no_pause:
            image_id = await self._commit_frozen(actor, wanted)
        else:
            image_id = await self._images.commit(wanted)
        actor.tell(Action.COMMIT, imageID=image_id)
        return pb.CommitContainerResponse(image_id=image_id)

    async def _commit_frozen(self, actor: Actor, wanted: snapshot_pb2.CommitImageRequest) -> str:
        """Hold its processes still meanwhile.

        Its state stays running: if the daemon dies here, recovery finds a frozen container that is not to be paused,
        and thaws it.
        """
        cgroup = cgroup_path(actor.record, self._cgroup_parent)
        await self._control.freeze(cgroup, frozen=True)
        try:
            return await self._images.commit(wanted)
        finally:
            if actor.status.state is not State.PAUSED:  # somebody has paused it meanwhile
                with contextlib.suppress(errors.NotFound):
                    await self._control.freeze(cgroup, frozen=False)
