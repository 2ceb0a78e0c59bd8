"""Exec: a user at the streams of one more process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from beeyard.container.v1 import container_pb2 as pb
from services.containerd.api.attach import STREAMS, Typist
from services.containerd.api.follow import exit_to_pb
from services.containerd.execs import ExecRequest
from services.containerd.streams.hub import Hub
from services.kit import detach_keys, errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.containerd.engine import Engine
    from services.containerd.execs import Execs, Session
    from services.kit.seams import Clock


class Executing:
    """Serves execs."""

    def __init__(self, engine: Engine, execs: Execs, clock: Clock, draining: asyncio.Event) -> None:
        self._engine = engine
        self._execs = execs
        self._clock = clock
        self._draining = draining

    async def serve(self, requests: AsyncIterator[pb.ExecRequest]) -> AsyncIterator[pb.ExecResponse]:
        """Run one process for one user, until it ends or the user goes."""
        opening = await anext(aiter(requests), None)
        if opening is None or not opening.HasField("spec"):
            raise errors.Invalid("the first request of an exec is `spec`", reason="SPEC_INVALID")
        wanted = opening.spec
        actor = self._engine.find(wanted.container)
        request = ExecRequest(
            argv=tuple(wanted.argv),
            env=tuple(wanted.env),
            user=wanted.user,
            workdir=wanted.working_dir,
            tty=wanted.tty,
            stdin=wanted.stdin and not wanted.detach,
            privileged=wanted.privileged,
        )
        keys = detach_keys.parse(
            wanted.detach_keys
        )  # refused even where there is no terminal to type them on
        keys = keys if wanted.tty else b""
        hub = Hub(self._clock)
        if wanted.detach:
            session = await self._execs.start(actor, request, hub)
            yield _started(session)
            return
        async with hub.client(stdout=True, stderr=True) as client:
            try:
                session = await self._execs.start(actor, request, hub)
            except BaseException:
                hub.give_up()  # the process may run all the same
                raise

            async def resize(size: pb.TerminalSize) -> None:
                await session.control.resize(size.rows, size.columns)

            typist = Typist(
                hub,
                resize,
                client,
                keys if wanted.stdin else None,
                once=not wanted.tty,
                draining=self._draining,
            )
            async with typist.beside(requests):
                if wanted.HasField("size"):
                    await resize(wanted.size)
                yield _started(session)
                while (chunk := await client.read()) is not None:
                    channel, data = chunk
                    yield pb.ExecResponse(output=pb.Output(stream=STREAMS[channel], data=data))
        if typist.detached:
            yield pb.ExecResponse(detached=pb.Detached())
        else:
            yield pb.ExecResponse(exit=exit_to_pb(await asyncio.shield(session.ended)))


def _started(session: Session) -> pb.ExecResponse:
    return pb.ExecResponse(started=pb.ExecStarted(exec_id=session.id, pid=session.pid))
