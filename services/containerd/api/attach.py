"""AttachContainer: a user at the streams of a container."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from beeyard.container.v1 import container_pb2 as pb
from services.containerd.api.beside import beside
from services.containerd.api.follow import exit_to_pb
from services.containerd.model.events import Action
from services.containerd.streams import detach
from services.containerd.streams.buffer import Channel
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from services.containerd.engine import Engine
    from services.containerd.lifecycle.actor import Actor
    from services.containerd.streams.hub import Client, Hub

STDIN_BYTES_MAX = 1 << 20
"""Of one message."""
STREAMS = {Channel.STDOUT: pb.OUTPUT_STREAM_STDOUT, Channel.STDERR: pb.OUTPUT_STREAM_STDERR}

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
    """

    def __init__(self, hub: Hub, resize: Resize, client: Client, keys: bytes | None) -> None:
        self._hub = hub
        self._resize = resize
        self._client = client
        self._types = keys is not None
        self._watch = detach.DetachFilter(keys or b"")
        self.detached = False

    async def serve(self, requests: AsyncIterator[Typed]) -> None:
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


class Attaching:
    """Serves attached users."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

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
        keys = detach.parse(wanted.detach_keys)  # refused even where there is no terminal to type them on
        keys = keys if tty else b""
        typed = keys if wanted.stdin else None
        if wanted.HasField("size"):
            await resize(actor, wanted.size)
        async with (
            actor.hub.client(stdout=wanted.stdout, stderr=wanted.stderr) as client,
            beside((typist := Typist(actor.hub, partial(resize, actor), client, typed)).serve(requests)),
        ):
            yield pb.AttachContainerResponse(opened=pb.AttachOpened(tty=tty))
            actor.tell(Action.ATTACH)
            while (chunk := await client.read()) is not None:
                channel, data = chunk
                yield pb.AttachContainerResponse(output=pb.Output(stream=STREAMS[channel], data=data))
        if typist.detached:
            actor.tell(Action.DETACH)
            yield pb.AttachContainerResponse(detached=pb.Detached())
        else:
            yield pb.AttachContainerResponse(exit=exit_to_pb(actor.last_exit()))
