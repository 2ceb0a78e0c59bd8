"""AttachContainer: a user at the streams of a container."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from beeyard.container.v1 import container_pb2 as pb
from services.containerd.api.follow import exit_to_pb
from services.containerd.model.events import Action
from services.containerd.streams import detach
from services.containerd.streams.buffer import Channel
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.containerd.engine import Engine
    from services.containerd.lifecycle.actor import Actor
    from services.containerd.streams.hub import Client

STDIN_BYTES_MAX = 1 << 20
"""Of one message."""
_STREAMS = {Channel.STDOUT: pb.OUTPUT_STREAM_STDOUT, Channel.STDERR: pb.OUTPUT_STREAM_STDERR}


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
        keys = detach.parse(wanted.detach_keys) if tty else b""
        if wanted.HasField("size"):
            await actor.control.resize(wanted.size.rows, wanted.size.columns)
        detached = asyncio.Event()
        async with (
            actor.hub.client(stdout=wanted.stdout, stderr=wanted.stderr) as client,
            asyncio.TaskGroup() as group,
        ):
            typing = group.create_task(
                self._type(actor, client, requests, keys if wanted.stdin else None, detached)
            )
            yield pb.AttachContainerResponse(opened=pb.AttachOpened(tty=tty))
            actor.tell(Action.ATTACH)
            while (chunk := await client.read()) is not None:
                channel, data = chunk
                yield pb.AttachContainerResponse(output=pb.Output(stream=_STREAMS[channel], data=data))
            typing.cancel()
        if detached.is_set():
            actor.tell(Action.DETACH)
            yield pb.AttachContainerResponse(detached=pb.Detached())
        else:
            yield pb.AttachContainerResponse(exit=exit_to_pb(actor.last_exit()))

    async def _type(
        self,
        actor: Actor,
        client: Client,
        requests: AsyncIterator[pb.AttachContainerRequest],
        keys: bytes | None,
        detached: asyncio.Event,
    ) -> None:
        """Hand on what the user sends, until the detach keys are typed. `keys` is None for one who only watches."""
        watch = detach.DetachFilter(keys or b"")
        async for request in requests:
            match request.WhichOneof("part"):
                case "stdin" if keys is not None:
                    if len(request.stdin) > STDIN_BYTES_MAX:
                        raise errors.Invalid(f"more than {STDIN_BYTES_MAX} bytes of stdin in one message")
                    data, complete = watch.feed(request.stdin)
                    await actor.hub.write_stdin(data)
                    if complete:
                        detached.set()
                        client.finish()
                        return
                case "stdin_end" if keys is not None:
                    await actor.hub.end_stdin()
                case "resize":
                    await actor.control.resize(request.resize.rows, request.resize.columns)
                case _:
                    pass
