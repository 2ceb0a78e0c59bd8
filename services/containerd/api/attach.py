"""AttachContainer: a user at the streams of a container."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from beeyard.container.v1 import container_pb2 as pb
from services.containerd.api.beside import beside
from services.containerd.api.follow import exit_to_pb, is_over
from services.containerd.api.status_to_pb import timestamp
from services.containerd.logs import options as log_options
from services.containerd.logs import output as log_output
from services.containerd.logs.format import Stream
from services.containerd.model.events import Action
from services.containerd.model.status import Phase
from services.containerd.streams import detach
from services.containerd.streams.buffer import Channel
from services.kit import detach_keys, errors
from services.kit.rpc.moments import nanoseconds

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Awaitable, Callable

    from services.containerd.engine import Engine
    from services.containerd.lifecycle.actor import Actor
    from services.containerd.lifecycle.bring_up import Machine
    from services.containerd.streams.hub import Client, Hub
    from services.kit.seams import Clock

STDIN_BYTES_MAX = 1 << 20
"""Of one message."""
STREAMS = {Channel.STDOUT: pb.OUTPUT_STREAM_STDOUT, Channel.STDERR: pb.OUTPUT_STREAM_STDERR}
LOGGED = {Stream.STDOUT: pb.OUTPUT_STREAM_STDOUT, Stream.STDERR: pb.OUTPUT_STREAM_STDERR}

Typed: TypeAlias = "pb.AttachContainerRequest | pb.ExecRequest"
Resize: TypeAlias = "Callable[[pb.TerminalSize], Awaitable[None]]"


async def resize(actor: Actor, size: pb.TerminalSize) -> None:
    """Set the size of a container's terminal, and tell of it."""
    await actor.control.resize(size.rows, size.columns)
    actor.tell(Action.RESIZE, height=str(size.rows), width=str(size.columns))


class Typist:
    """Hands on what a user sends: input, its end, sizes of the terminal; and notices the detach keys.

    Args:
        hub: Takes the input.
        resize: Takes the sizes.
        client: Is ended when the detach keys are typed.
        keys: The detach keys; None for a user who only watches.
        once: The input ends with this user: when the user goes without a word, or stops sending. Not at the detach
            keys, and not when it is the daemon that goes: then the user comes back.
        draining: Is set when the daemon is going.
    """

    def __init__(
        self,
        hub: Hub,
        resize: Resize,
        client: Client,
        keys: bytes | None,
        *,
        once: bool,
        draining: asyncio.Event,
    ) -> None:
        self._hub = hub
        self._resize = resize
        self._client = client
        self._types = keys is not None
        self._once = once and self._types
        self._draining = draining
        self._watch = detach.DetachFilter(keys or b"")
        self.detached = False

    @contextlib.asynccontextmanager
    async def beside(self, requests: AsyncIterator[Typed]) -> AsyncIterator[None]:
        """Serve while the block runs, which answers the user."""
        if self._types:
            self._hub.expect_input()
        try:
            async with beside(self._serve(requests)):
                yield
        except BaseException:
            self._gone()
            raise

    def _gone(self) -> None:
        """The user sends nothing more. Without awaiting: this is also for a call that is being cancelled."""
        if self._once and not (self.detached or self._client.ended or self._draining.is_set()):
            self._hub.cut_stdin()

    async def _serve(self, requests: AsyncIterator[Typed]) -> None:
        """Serve until the user has nothing more to send, or has detached."""
        async for request in requests:
            match request.WhichOneof("part"):
                case "stdin" if self._types:
                    if len(request.stdin) > STDIN_BYTES_MAX:
                        raise errors.Invalid(f"more than {STDIN_BYTES_MAX} bytes of stdin in one message")
                    data, self.detached = self._watch.feed(request.stdin)
                    await self._hub.write_stdin(data)
                    if self.detached:
                        self._client.finish()
                        return
                case "stdin_end" if self._types:
                    await self._hub.end_stdin()
                case "resize":
                    await self._resize(request.resize)
                case _:
                    pass
        self._gone()


class Attaching:
    """Serves attached users."""

    def __init__(self, engine: Engine, machine: Machine, clock: Clock, draining: asyncio.Event) -> None:
        self._engine = engine
        self._machine = machine
        self._clock = clock
        self._draining = draining

    async def serve(
        self, requests: AsyncIterator[pb.AttachContainerRequest]
    ) -> AsyncIterator[pb.AttachContainerResponse]:
        """Serve one user, until the run ends or the user goes."""
        opening = await anext(aiter(requests), None)
        if opening is None or not opening.HasField("open"):
            raise errors.Invalid("the first request of an attach is `open`", reason="SPEC_INVALID")
        wanted = opening.open
        actor = self._engine.find(wanted.container)
        tty = actor.record.spec.tty
        keys = detach_keys.parse(
            wanted.detach_keys
        )  # refused even where there is no terminal to type them on
        keys = keys if tty else b""
        typed = keys if wanted.stdin else None
        if wanted.HasField("size"):
            await resize(actor, wanted.size)
        resumed = wanted.HasField("resume") and await self._has_all(actor, wanted.resume)
        mark = None if actor.status.phase is Phase.UP else timestamp(self._clock.now())
        async with contextlib.AsyncExitStack() as stack:
            client = await stack.enter_async_context(
                actor.hub.client(stdout=wanted.stdout and not resumed, stderr=wanted.stderr and not resumed)
            )
            typist = Typist(
                actor.hub,
                partial(resize, actor),
                client,
                typed,
                once=actor.record.spec.stdin_once and not tty,
                draining=self._draining,
            )
            await stack.enter_async_context(typist.beside(requests))
            yield pb.AttachContainerResponse(opened=pb.AttachOpened(tty=tty, mark=mark, resumed=resumed))
            actor.tell(Action.ATTACH)
            async for output in self._logged(actor, wanted, typist) if resumed else _read(client):
                yield pb.AttachContainerResponse(output=output)
        if typist.detached:
            actor.tell(Action.DETACH)
            yield pb.AttachContainerResponse(detached=pb.Detached())
        else:
            yield pb.AttachContainerResponse(exit=exit_to_pb(actor.last_exit()))

    async def _has_all(self, actor: Actor, resume: pb.AttachResume) -> bool:
        policy = log_options.resolve(actor.record.spec.log, self._machine.log_default)
        path = self._machine.layout.log(actor.record.id)
        return (
            policy.in_files
            and resume.HasField("mark")
            and await log_output.has_all_since(path, nanoseconds(resume.mark), policy.files_max)
        )

    async def _logged(self, actor: Actor, wanted: pb.AttachOpen, typist: Typist) -> AsyncIterator[pb.Output]:
        """Yield what the user has missed and what comes, both from the log: so they meet without a seam."""
        resume = wanted.resume
        seen = {
            **({Stream.STDOUT: resume.stdout_bytes} if wanted.stdout else {}),
            **({Stream.STDERR: resume.stderr_bytes} if wanted.stderr else {}),
        }
        output = log_output.since(
            self._machine.layout.log(actor.record.id),
            nanoseconds(resume.mark),
            seen,
            ended=lambda: typist.detached or is_over(actor.status),
            clock=self._clock,
        )
        async for stream, data in output:
            yield pb.Output(stream=LOGGED[stream], data=data)


async def _read(client: Client) -> AsyncIterator[pb.Output]:
    while (chunk := await client.read()) is not None:
        channel, data = chunk
        yield pb.Output(stream=STREAMS[channel], data=data)
