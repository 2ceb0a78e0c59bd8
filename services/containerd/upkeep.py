"""What the daemon looks after while nothing happens: sizes of logs, users who do not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.containerd.logs import options as log_options
from services.containerd.logs.rotate import Watched
from services.containerd.model.status import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.containerd.engine import Engine
    from services.containerd.lifecycle.actor import Actor
    from services.containerd.lifecycle.bring_up import Machine
    from services.kit.seams import Clock

STALL_CHECK_S = 1.0


class Upkeep:
    """Periodic looks at the running containers."""

    def __init__(self, engine: Engine, machine: Machine, clock: Clock) -> None:
        self._engine = engine
        self._machine = machine
        self._clock = clock

    def watched_logs(self) -> Iterator[Watched]:
        """Return the logs that are being written."""
        for actor in self._engine.all():
            if actor.status.phase is Phase.UP:
                yield self._watched(actor)

    def watched_log(self, container_id: str) -> Watched | None:
        """Return the log of a container, if it is being written."""
        actor = self._engine.get(container_id)
        return self._watched(actor) if actor is not None and actor.status.phase is Phase.UP else None

    def _watched(self, actor: Actor) -> Watched:
        return Watched(
            container_id=actor.record.id,
            conmon=actor.status.run.conmon if actor.status.run is not None else None,
            path=self._machine.layout.log(actor.record.id),
            policy=log_options.resolve(actor.record.spec.log, self._machine.log_default),
            control=actor.control,
        )

    async def drop_stalled_clients(self) -> None:
        """Look at the buffers of attached users; for ever."""
        while True:
            for actor in self._engine.all():
                if actor.hub.clients:
                    actor.hub.check_stalls()
            await self._clock.sleep(STALL_CHECK_S)
