"""The calls about checkpoints."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from beeyard.container.v1 import container_pb2 as pb
from services.containerd.api.status_to_pb import timestamp
from services.containerd.checkpoint import store
from services.containerd.model.status import Phase
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.containerd.checkpoint.support import Support
    from services.containerd.engine import Engine
    from services.containerd.lifecycle.actor import Actor
    from services.containerd.lifecycle.bring_up import Machine

SETTLE_TIMEOUT_S: Final = 600.0
REMOVE_WAIT_S: Final = 30.0
IMPORT_MEMORIES_MAX: Final = 4


class Checkpoints:
    """Serves them."""

    def __init__(self, engine: Engine, machine: Machine, support: Support) -> None:
        self._engine = engine
        self._machine = machine
        self._support = support

    async def make(self, request: pb.CheckpointContainerRequest) -> pb.CheckpointContainerResponse:
        """Write a container's processes down."""
        actor = self._engine.find(request.container)
        path = self._path(actor, request.checkpoint, request.directory)
        await self._support.require(actor.status.runtime)
        if actor.status.ids is not None:
            raise errors.Unsupported(
                f"container {actor.record.name} has a user namespace, whose network CRIU cannot restore",
                reason="CHECKPOINT_UNSUPPORTED",
            )
        ends = not request.leave_running
        if ends and not request.directory and actor.record.spec.auto_remove and not actor.status.held_by:
            raise errors.FailedPrecondition(
                f"container {actor.record.name} is removed when it ends, and its checkpoint with it:"
                " give --leave-running or --checkpoint-dir",
                reason="CHECKPOINT_WOULD_GO",
            )
        await self._engine.checkpoint(actor, path, leave_running=request.leave_running)
        return pb.CheckpointContainerResponse()

    async def restore(self, request: pb.RestoreContainerRequest) -> pb.RestoreContainerResponse:
        """Start a container from a checkpoint."""
        actor = self._engine.find(request.container)
        path = self._path(actor, request.checkpoint, request.directory)
        runtime = actor.record.spec.runtime or next(iter(self._machine.flavours))
        made_by = (await asyncio.to_thread(store.describe, path)).runtime
        if made_by != runtime:
            raise errors.FailedPrecondition(
                f"checkpoint {request.checkpoint} was made by {made_by}, and the container runs with {runtime}",
                reason="CHECKPOINT_OF_OTHER_RUNTIME",
            )
        await self._support.require(runtime)
        return pb.RestoreContainerResponse(pid=await self._engine.restore(actor, path, holder=request.holder))

    async def list(self, request: pb.ListCheckpointsRequest) -> pb.ListCheckpointsResponse:
        """List the checkpoints of a container, when none is being made."""
        actor = self._engine.find(request.container)
        try:
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                await self._engine.checkpointed(actor)
        except TimeoutError:
            raise errors.Unavailable("a checkpoint is being made", reason="CONTAINER_CHECKPOINTING") from None
        found = await asyncio.to_thread(store.found, self._directory(actor, request.directory))
        return pb.ListCheckpointsResponse(
            checkpoints=[
                pb.Checkpoint(
                    name=checkpoint.name,
                    created_at=timestamp(checkpoint.created_at),
                    size_bytes=checkpoint.size_bytes,
                )
                for checkpoint in found
            ]
        )

    async def remove(self, request: pb.RemoveCheckpointRequest) -> pb.RemoveCheckpointResponse:
        """Remove one."""
        actor = self._engine.find(request.container)
        await asyncio.to_thread(store.remove, self._path(actor, request.checkpoint, request.directory))
        return pb.RemoveCheckpointResponse()

    async def export(self, request: pb.ExportCheckpointRequest) -> AsyncIterator[pb.ExportCheckpointResponse]:
        """Yield one as tar."""
        actor = self._engine.find(request.container)
        with contextlib.closing(store.pack(self._path(actor, request.checkpoint, ""))) as parts:
            while (chunk := await asyncio.to_thread(next, parts, None)) is not None:
                yield pb.ExportCheckpointResponse(chunk=chunk)

    async def import_(
        self, requests: AsyncIterator[pb.ImportCheckpointRequest]
    ) -> pb.ImportCheckpointResponse:
        """Make one of a tar."""
        opening = await anext(aiter(requests), None)
        if opening is None or not opening.HasField("spec"):
            raise errors.Invalid("the first request is `spec`", reason="SPEC_INVALID")
        actor = self._engine.find(opening.spec.container)
        path = self._path(actor, opening.spec.checkpoint, "")
        if actor.status.phase in (Phase.PREPARING, Phase.REMOVING):
            raise _gone(actor)
        try:
            await asyncio.to_thread(path.parent.mkdir, mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path.parent) as archive:
                await self._received(requests, archive)
                await asyncio.to_thread(store.unpack, archive, path)
        except FileNotFoundError as exc:
            raise _gone(actor) from exc
        finally:
            await self._sweep(actor)
        return pb.ImportCheckpointResponse()

    async def _received(
        self, requests: AsyncIterator[pb.ImportCheckpointRequest], archive: IO[bytes]
    ) -> None:
        """Write down what is sent: the images of processes, which are no larger than what they can have."""
        limit = IMPORT_MEMORIES_MAX * self._machine.host.memory_bytes
        async for request in requests:
            if archive.tell() + len(request.chunk) > limit:
                raise errors.Exhausted(
                    f"the checkpoint is larger than {limit} bytes, {IMPORT_MEMORIES_MAX} times the memory of this node",
                    reason="ARCHIVE_TOO_LARGE",
                )
            await asyncio.to_thread(archive.write, request.chunk)
        archive.seek(0)

    async def _sweep(self, actor: Actor) -> None:
        """Take away what came for a container that was removed meanwhile.

        Raises:
            errors.NotFound: It was (CONTAINER_NOT_FOUND).
        """
        container_id = actor.record.id
        if actor.status.phase is Phase.REMOVING:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REMOVE_WAIT_S):
                    await actor.gone()
        if self._engine.get(container_id) is not actor:
            await asyncio.to_thread(
                shutil.rmtree, self._machine.layout.directory(container_id), ignore_errors=True
            )
            raise _gone(actor)

    async def support(self, request: pb.GetCheckpointSupportRequest) -> pb.GetCheckpointSupportResponse:
        """Tell what the probe found."""
        found = await self._support.verdict(request.runtime)
        return pb.GetCheckpointSupportResponse(
            supported=not found.reason, reason=found.reason, criu_version=found.criu_version
        )

    def _directory(self, actor: Actor, given: str) -> Path:
        if given and not given.startswith("/"):
            raise errors.Invalid(
                f"the checkpoint directory {given[:200]!r} is not an absolute path", reason="SPEC_INVALID"
            )
        return Path(given) if given else self._machine.layout.checkpoints(actor.record.id)

    def _path(self, actor: Actor, name: str, directory: str) -> Path:
        store.check_name(name)
        return self._directory(actor, directory) / name


def _gone(actor: Actor) -> errors.NotFound:
    return errors.NotFound(f"no such container: {actor.record.name}", reason="CONTAINER_NOT_FOUND")
