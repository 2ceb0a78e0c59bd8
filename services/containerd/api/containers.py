"""ContainerService: the calls with one answer."""

# ruff: noqa: N802, ARG002 (the protos name the methods and their arguments)

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import container_pb2_grpc
from services.containerd.api import filters, spec_from_pb, status_to_pb, texts
from services.containerd.api.attach import Attaching
from services.containerd.api.checkpoints import Checkpoints
from services.containerd.api.exec import Executing
from services.containerd.api.files import Files
from services.containerd.api.follow import Following
from services.containerd.api.layers import Layers
from services.containerd.api.moving import Moving
from services.containerd.api.observe import Observing
from services.containerd.logs import files as log_files
from services.containerd.logs import options as log_options
from services.containerd.model import durations
from services.containerd.model.status import State
from services.containerd.ocispec.linux import closed_paths
from services.containerd.ocispec.process import apparmor_profile
from services.kit import errors

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

    from services.containerd.cgroups.control import Control
    from services.containerd.cgroups.hierarchy import Hierarchies
    from services.containerd.checkpoint.support import Support
    from services.containerd.engine import Engine
    from services.containerd.execs import Execs
    from services.containerd.files.containers import ContainerFiles
    from services.containerd.lifecycle.actor import Actor
    from services.containerd.lifecycle.bring_up import Machine
    from services.containerd.model.status import Record
    from services.containerd.neighbours.images import Images
    from services.containerd.update import Updates
    from services.kit.events import History
    from services.kit.rpc.types import Context
    from services.kit.seams import Clock

PAGE_MAX = 1_000
PAGE_BYTES_MAX = 8 << 20
"""A page ends before the container with which it would be larger."""
_SHOWN_WITHOUT_ALL = frozenset({State.RUNNING, State.PAUSED, State.RESTARTING})
_PRUNED = frozenset({State.CREATED, State.EXITED, State.DEAD})


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the calls are made of."""

    engine: Engine
    execs: Execs
    updates: Updates
    machine: Machine
    images: Images
    events: History
    hierarchies: Hierarchies
    control: Control
    files: ContainerFiles
    checkpoint_support: Support
    clock: Clock
    draining: asyncio.Event


class ContainerService(container_pb2_grpc.ContainerServiceServicer):
    """The containers of this node."""

    def __init__(self, parts: Parts) -> None:
        self._engine = parts.engine
        self._machine = parts.machine
        self._images = parts.images
        self._clock = parts.clock
        self._execs = parts.execs
        self._updates = parts.updates
        self._following = Following(parts.engine, parts.machine, parts.events, parts.clock)
        self._observing = Observing(
            parts.engine, parts.machine, parts.hierarchies, parts.control, parts.clock
        )
        self._layers = Layers(parts.engine, parts.images, parts.control, parts.machine.cgroup_parent)
        self._files = Files(parts.engine, parts.files)
        self._moving = Moving(parts.engine)
        self._checkpoints = Checkpoints(parts.engine, parts.machine, parts.checkpoint_support)
        self._attaching = Attaching(parts.engine, parts.machine, parts.clock, parts.draining)
        self._executing = Executing(parts.engine, parts.execs, parts.clock, parts.draining)

    async def CreateContainer(
        self, request: pb.CreateContainerRequest, context: Context
    ) -> pb.CreateContainerResponse:
        spec = spec_from_pb.container(request.spec)
        actor = await self._engine.create(
            request.spec.name, spec, request_id=request.request_id, image_id=request.image_id
        )
        return pb.CreateContainerResponse(
            id=actor.record.id, name=actor.record.name, warnings=self._engine.warnings(spec)
        )

    async def StartContainer(
        self, request: pb.StartContainerRequest, context: Context
    ) -> pb.StartContainerResponse:
        pid = await self._engine.start(self._engine.find(request.container), holder=request.holder)
        return pb.StartContainerResponse(pid=pid)

    async def StopContainer(
        self, request: pb.StopContainerRequest, context: Context
    ) -> pb.StopContainerResponse:
        grace_s = _grace_s(request)
        await self._engine.stop(self._engine.find(request.container), signal=request.signal, grace_s=grace_s)
        return pb.StopContainerResponse()

    async def KillContainer(
        self, request: pb.KillContainerRequest, context: Context
    ) -> pb.KillContainerResponse:
        await self._engine.kill(self._engine.find(request.container), request.signal)
        return pb.KillContainerResponse()

    async def RestartContainer(
        self, request: pb.RestartContainerRequest, context: Context
    ) -> pb.RestartContainerResponse:
        grace_s = _grace_s(request)
        await self._engine.restart(
            self._engine.find(request.container), signal=request.signal, grace_s=grace_s
        )
        return pb.RestartContainerResponse()

    async def PauseContainer(
        self, request: pb.PauseContainerRequest, context: Context
    ) -> pb.PauseContainerResponse:
        await self._engine.pause(self._engine.find(request.container))
        return pb.PauseContainerResponse()

    async def UnpauseContainer(
        self, request: pb.UnpauseContainerRequest, context: Context
    ) -> pb.UnpauseContainerResponse:
        await self._engine.unpause(self._engine.find(request.container))
        return pb.UnpauseContainerResponse()

    async def CheckHealth(self, request: pb.CheckHealthRequest, context: Context) -> pb.CheckHealthResponse:
        health = status_to_pb.health(await self._engine.check_health(self._engine.find(request.container)))
        return pb.CheckHealthResponse(result=health.log[-1], health=health)

    async def RemoveContainer(
        self, request: pb.RemoveContainerRequest, context: Context
    ) -> pb.RemoveContainerResponse:
        try:
            actor = self._engine.find(request.container)
        except errors.NotFound:
            if request.ignore_missing:
                return pb.RemoveContainerResponse()
            raise
        await self._engine.remove(actor, force=request.force, volumes=request.volumes, holder=request.holder)
        return pb.RemoveContainerResponse()

    async def RenameContainer(
        self, request: pb.RenameContainerRequest, context: Context
    ) -> pb.RenameContainerResponse:
        await self._engine.rename(self._engine.find(request.container), request.new_name)
        return pb.RenameContainerResponse()

    async def ResizeContainer(
        self, request: pb.ResizeContainerRequest, context: Context
    ) -> pb.ResizeContainerResponse:
        actor = self._engine.find(request.container)
        control = self._execs.find(request.exec_id).control if request.exec_id else actor.control
        await control.resize(request.size.rows, request.size.columns)
        return pb.ResizeContainerResponse()

    async def GetContainer(
        self, request: pb.GetContainerRequest, context: Context
    ) -> pb.GetContainerResponse:
        actor = self._engine.find(request.container)
        container = self._to_pb(actor)
        if request.size:
            await self._measure([container])
        container.exec_ids[:] = self._execs.of(container.id)
        security = actor.record.spec.security
        masked, read_only = closed_paths(security, self._machine.host)
        container.masked_paths[:], container.readonly_paths[:] = masked, read_only
        container.apparmor_profile = apparmor_profile(security, self._machine.host)
        if request.root_layers and (layers := await self._images.layers(container.id)) is not None:
            container.root_layers.CopyFrom(
                pb.RootLayers(
                    lower_dirs=layers.lower_dirs,
                    upper_dir=layers.upper_dir,
                    work_dir=layers.work_dir,
                    merged_dir=str(self._machine.layout.bundle(container.id).rootfs),
                )
            )
        return pb.GetContainerResponse(container=container)

    async def ListContainers(
        self, request: pb.ListContainersRequest, context: Context
    ) -> pb.ListContainersResponse:
        wanted = filters.from_lists((key, value.values) for key, value in request.filters.items())
        filters.check(wanted)
        everything = request.all or request.last or "status" in wanted
        chosen = [
            actor
            for actor in sorted(self._engine.all(), key=_token, reverse=True)
            if (everything or actor.status.state in _SHOWN_WITHOUT_ALL)
            and filters.matches(actor.record, wanted, self._find_record)
        ]
        if request.last:
            chosen = chosen[: request.last]
        size = min(request.page_size or PAGE_MAX, PAGE_MAX)
        if request.page_token:
            chosen = [actor for actor in chosen if _token(actor) < request.page_token]
        containers: list[pb.Container] = []
        size_bytes = 0
        for actor in chosen[:size]:
            container = self._to_pb(actor)
            size_bytes += container.ByteSize()
            if containers and size_bytes > PAGE_BYTES_MAX:
                break
            containers.append(container)
        rest = len(containers) < len(chosen)
        token = _token(chosen[len(containers) - 1]) if rest and containers else ""
        if request.size:
            await self._measure(containers)
        return pb.ListContainersResponse(containers=containers, next_page_token=token)

    async def PruneContainers(
        self, request: pb.PruneContainersRequest, context: Context
    ) -> pb.PruneContainersResponse:
        wanted = filters.from_lists((key, value.values) for key, value in request.filters.items())
        now = self._clock.now()
        filters.check_prune(wanted, now)
        response = pb.PruneContainersResponse()
        for actor in self._engine.all():
            if actor.status.state in _PRUNED and filters.matches_prune(actor.record, wanted, now):
                size_bytes = await self._images.usage_bytes(actor.record.id)
                try:
                    await self._engine.remove(actor, force=False, volumes=False)
                except (errors.FailedPrecondition, errors.NotFound):
                    continue  # started meanwhile, or removed
                response.deleted.append(actor.record.id)
                response.reclaimed_bytes += size_bytes
        return response

    async def UpdateContainer(
        self, request: pb.UpdateContainerRequest, context: Context
    ) -> pb.UpdateContainerResponse:
        actor = self._engine.find(request.container)
        texts.refuse_nul(request)
        restart = spec_from_pb.restart(request.restart) if request.HasField("restart") else None
        warnings = await self._updates.limits(actor, spec_from_pb.resources(request.resources), restart)
        if request.publish_add or request.publish_remove:
            add, remove = (
                tuple(spec_from_pb.port(port) for port in ports)
                for ports in (request.publish_add, request.publish_remove)
            )
            warnings += await self._updates.ports(actor, add, remove)
        return pb.UpdateContainerResponse(warnings=warnings)

    async def ListProcesses(
        self, request: pb.ListProcessesRequest, context: Context
    ) -> pb.ListProcessesResponse:
        return await self._observing.processes(request)

    def GetStats(self, request: pb.GetStatsRequest, context: Context) -> AsyncIterator[pb.GetStatsResponse]:
        return self._observing.stats(request)

    def CopyOut(self, request: pb.CopyOutRequest, context: Context) -> AsyncIterator[pb.CopyOutResponse]:
        return self._files.copy_out(request)

    async def CopyIn(
        self, request_iterator: AsyncIterator[pb.CopyInRequest], context: Context
    ) -> pb.CopyInResponse:
        return await self._files.copy_in(request_iterator)

    def ExportContainer(
        self, request: pb.ExportContainerRequest, context: Context
    ) -> AsyncIterator[pb.ExportContainerResponse]:
        return self._files.export(request)

    async def CommitContainer(
        self, request: pb.CommitContainerRequest, context: Context
    ) -> pb.CommitContainerResponse:
        return await self._layers.commit(request)

    def DiffContainer(
        self, request: pb.DiffContainerRequest, context: Context
    ) -> AsyncIterator[pb.DiffContainerResponse]:
        return self._layers.diff(request)

    async def CheckpointContainer(
        self, request: pb.CheckpointContainerRequest, context: Context
    ) -> pb.CheckpointContainerResponse:
        return await self._checkpoints.make(request)

    async def RestoreContainer(
        self, request: pb.RestoreContainerRequest, context: Context
    ) -> pb.RestoreContainerResponse:
        return await self._checkpoints.restore(request)

    async def ListCheckpoints(
        self, request: pb.ListCheckpointsRequest, context: Context
    ) -> pb.ListCheckpointsResponse:
        return await self._checkpoints.list(request)

    async def RemoveCheckpoint(
        self, request: pb.RemoveCheckpointRequest, context: Context
    ) -> pb.RemoveCheckpointResponse:
        return await self._checkpoints.remove(request)

    def ExportCheckpoint(
        self, request: pb.ExportCheckpointRequest, context: Context
    ) -> AsyncIterator[pb.ExportCheckpointResponse]:
        return self._checkpoints.export(request)

    async def ImportCheckpoint(
        self, request_iterator: AsyncIterator[pb.ImportCheckpointRequest], context: Context
    ) -> pb.ImportCheckpointResponse:
        return await self._checkpoints.import_(request_iterator)

    async def GetCheckpointSupport(
        self, request: pb.GetCheckpointSupportRequest, context: Context
    ) -> pb.GetCheckpointSupportResponse:
        return await self._checkpoints.support(request)

    async def HoldContainer(
        self, request: pb.HoldContainerRequest, context: Context
    ) -> pb.HoldContainerResponse:
        return await self._moving.hold(request)

    async def ReleaseContainer(
        self, request: pb.ReleaseContainerRequest, context: Context
    ) -> pb.ReleaseContainerResponse:
        return await self._moving.release(request)

    async def CheckContainer(
        self, request: pb.CheckContainerRequest, context: Context
    ) -> pb.CheckContainerResponse:
        return await self._moving.check(request)

    def WaitContainer(
        self, request: pb.WaitContainerRequest, context: Context
    ) -> AsyncIterator[pb.WaitContainerResponse]:
        return self._following.wait(request)

    def GetLogs(self, request: pb.GetLogsRequest, context: Context) -> AsyncIterator[pb.GetLogsResponse]:
        return self._following.logs(request)

    def WatchEvents(
        self, request: pb.WatchEventsRequest, context: Context
    ) -> AsyncIterator[pb.WatchEventsResponse]:
        return self._following.events(request)

    def AttachContainer(
        self, request_iterator: AsyncIterator[pb.AttachContainerRequest], context: Context
    ) -> AsyncIterator[pb.AttachContainerResponse]:
        return self._attaching.serve(request_iterator)

    def Exec(
        self, request_iterator: AsyncIterator[pb.ExecRequest], context: Context
    ) -> AsyncIterator[pb.ExecResponse]:
        return self._executing.serve(request_iterator)

    async def _measure(self, containers: list[pb.Container]) -> None:
        """Fill in the sizes: of the writable layer, and with its image's."""
        images = {key: await self._images.size_bytes(key) for key in {each.image_id for each in containers}}
        for container in containers:
            container.size_rw_bytes = await self._images.usage_bytes(container.id)
            container.size_root_bytes = container.size_rw_bytes + images[container.image_id]
            container.size_log_bytes = log_files.total_bytes(self._machine.layout.log(container.id))

    def _to_pb(self, actor: Actor) -> pb.Container:
        policy = log_options.resolve(actor.record.spec.log, self._machine.log_default)
        return status_to_pb.container(actor.record, self._machine.layout, log_in_files=policy.in_files)

    def _find_record(self, reference: str) -> Record:
        return self._engine.find(reference).record


def _token(actor: Actor) -> str:
    """Return what orders containers by age and is unique: the page goes on below it."""
    return f"{actor.record.created_at.isoformat()} {actor.record.id}"


def _grace_s(request: pb.StopContainerRequest | pb.RestartContainerRequest) -> float | None:
    """Return how long the container may take to stop, None for its own setting. Raises Invalid."""
    if not request.HasField("grace_ms"):
        return None
    durations.check("the time to stop", request.grace_ms / 1000)
    return request.grace_ms / 1000
