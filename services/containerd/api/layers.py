"""The calls about a container's writable layer, which imaged keeps: diff and commit."""

from __future__ import annotations

import collections
import contextlib
from typing import TYPE_CHECKING

from beeyard.container.v1 import container_pb2 as pb
from beeyard.image.v1 import snapshot_pb2
from services.containerd.lifecycle import faults
from services.containerd.lifecycle.bring_up import cgroup_path
from services.containerd.model.events import Action
from services.containerd.model.status import State
from services.containerd.neighbours import committed
from services.containerd.neighbours.images import owner_ids
from services.containerd.rootfs import mount_points
from services.kit import errors, log

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
_log = log.get(__name__)


class Layers:
    """Asks imaged about layers of containers."""

    def __init__(self, engine: Engine, images: Images, control: Control, cgroup_parent: str) -> None:
        self._engine = engine
        self._images = images
        self._control = control
        self._cgroup_parent = cgroup_parent
        self._still: collections.Counter[str] = collections.Counter()
        """How many commits hold a container still."""

    async def diff(self, request: pb.DiffContainerRequest) -> AsyncIterator[pb.DiffContainerResponse]:
        """Yield what differs from the image, in batches."""
        record = self._engine.find(request.container).record
        async for batch in self._images.diff(record.id, mount_points.of(record), record.status.ids):
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
            mount_points=mount_points.of(actor.record),
            owner_ids=owner_ids(actor.record.status.ids),
            ran=committed.configuration(actor.record.spec, actor.record.image),
        )
        if actor.status.state is State.RUNNING and not request.no_pause:
            async with self._held_still(actor):
                faults.reached("commit.frozen")
                made = await self._images.commit(wanted)
                faults.reached("commit.made")
        else:
            made = await self._images.commit(wanted)
        actor.tell(Action.COMMIT, imageID=made.image_id)
        return pb.CommitContainerResponse(image_id=made.image_id, manifest_digest=made.manifest_digest)

    @contextlib.asynccontextmanager
    async def _held_still(self, actor: Actor) -> AsyncIterator[None]:
        """Freeze its processes meanwhile; the last commit of several thaws them, however each ends.

        The container's state stays running: if the daemon dies here, recovery finds a frozen container that is not to
        be paused, and thaws it.
        """
        container_id = actor.record.id
        cgroup = cgroup_path(actor.record, self._cgroup_parent)
        self._still[container_id] += 1
        try:
            with contextlib.suppress(errors.NotFound):  # it has ended meanwhile, and is as still as can be
                await self._control.freeze(cgroup, frozen=True)
            yield
        finally:
            self._still[container_id] -= 1
            if not self._still[container_id]:
                del self._still[container_id]
                if actor.status.state is not State.PAUSED:  # somebody has paused it meanwhile
                    await self._thaw(actor, cgroup)

    async def _thaw(self, actor: Actor, cgroup: str) -> None:
        """Thaw it. The order is given before anything is awaited: whoever is cancelled here has given it."""
        try:
            await self._control.freeze(cgroup, frozen=False)
        except errors.NotFound:
            pass  # it has ended meanwhile
        except errors.BeeyardError as exc:
            _log.warning("thaw_failed", container=actor.record.id, error=exc.message)
