"""The calls of whoever carries a container to another node: hold, release, and whether this node would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.container.v1 import container_pb2 as pb
from services.containerd.api import spec_from_pb, spec_to_pb
from services.containerd.model import inline
from services.containerd.model.status import Phase, State
from services.containerd.suitability import Suitability

if TYPE_CHECKING:
    from services.containerd.engine import Engine


class Moving:
    """Serves them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._suitability = Suitability(engine)

    async def hold(self, request: pb.HoldContainerRequest) -> pb.HoldContainerResponse:
        """Hold a container; return what it takes to make it elsewhere."""
        actor = self._engine.find(request.container)
        for given in actor.record.spec.files:
            inline.content(given)  # without it nothing can be made elsewhere
        await self._engine.hold(actor, request.holder)
        record = actor.record
        spec = spec_to_pb.container(record.name, record.spec)
        for file, given in zip(spec.files, record.spec.files, strict=True):
            file.data = inline.content(given)
        status = record.status
        running = status.phase in (Phase.UP, Phase.STARTING) or status.state is State.RESTARTING
        return pb.HoldContainerResponse(id=record.id, running=running, spec=spec)

    async def release(self, request: pb.ReleaseContainerRequest) -> pb.ReleaseContainerResponse:
        """End a hold."""
        actor = self._engine.find(request.container)
        await self._engine.release(actor, request.holder, force=request.force)
        return pb.ReleaseContainerResponse()

    async def check(self, request: pb.CheckContainerRequest) -> pb.CheckContainerResponse:
        """Tell what this node lacks."""
        spec = spec_from_pb.container(request.spec)
        problems = await self._suitability.problems(request.spec.name, spec)
        return pb.CheckContainerResponse(
            problems=[
                pb.ContainerProblem(kind=problem.kind, subject=problem.subject, message=problem.message)
                for problem in problems
            ]
        )
