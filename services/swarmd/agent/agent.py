"""The agent of a node as the daemon runs it: the worker, and its session with the swarm."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

from services.kit import log
from services.kit.tasks import Supervisor, cancel
from services.swarmd.agent.engine import Engine
from services.swarmd.agent.session import Session
from services.swarmd.agent.worker import STARTS_MAX, Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import grpc.aio

    from services.kit.seams import Clock, Rng
    from services.swarmd.agent.session import Describe
    from services.swarmd.gateway.ports import ManagerDialer, MembershipPort

_log = log.get(__name__)


class Agent:
    """Runs the tasks of this node for as long as it is a member. Made by `run`."""

    def __init__(self, worker: Worker, session: asyncio.Task[None]) -> None:
        self._worker = worker
        self._session = session

    @classmethod
    @contextlib.asynccontextmanager
    async def run(
        cls,
        directory: Path,
        *,
        containerd: grpc.aio.Channel,
        imaged: grpc.aio.Channel,
        managers: ManagerDialer,
        membership: MembershipPort,
        describe: Describe,
        clock: Clock,
        rng: Rng,
        starts_max: int = STARTS_MAX,
    ) -> AsyncIterator[Self]:
        """Run the agent for the length of the block. Leaving it stops no container.

        Args:
            directory: Its records: `<root>/swarmd/agent`.
            containerd: Channel to this node's containerd.
            imaged: Channel to this node's imaged.
            managers: Finds the leader.
            membership: Hears what the session says of the node itself.
            describe: What the node says of itself; `description.Description`.
            clock: The time.
            rng: For backoff.
            starts_max: Containers that are made or started at once.
        """
        engine = Engine(containerd, imaged)
        async with (
            Worker.open(directory, engine=engine, clock=clock, rng=rng, starts_max=starts_max) as worker,
            Supervisor() as supervisor,
        ):
            session = Session(
                managers=managers,
                membership=membership,
                worker=worker,
                describe=describe,
                clock=clock,
                rng=rng,
            )
            yield cls(worker, supervisor.spawn(session.run(), "session"))

    async def leave(self, timeout_s: float) -> bool:
        """End the session, stop and remove the containers of all tasks, and forget the tasks; for leaving a swarm.

        Returns:
            Whether nothing is left. What is left after `timeout_s` stays marked as removed, and goes when an agent runs
            on these records again.
        """
        await cancel(self._session)
        try:
            async with asyncio.timeout(timeout_s):
                await self._worker.leave()
        except TimeoutError:
            _log.warning("tasks_left_behind", task_ids=",".join(self._worker.task_ids))
            return False
        return True
