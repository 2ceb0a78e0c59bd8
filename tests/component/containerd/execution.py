"""Running a further process in a container, to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from beeyard.container.v1 import container_pb2 as pb
from services.kit.rpc import client
from tests.component.containerd.yard import Yard


async def execute(
    yard: Yard, container: str, *argv: str, typed: bytes = b"", **fields: Any
) -> tuple[bytes, pb.ExecResponse]:
    """Run a process to its end; return what it wrote and the last message."""

    async def requests() -> AsyncIterator[pb.ExecRequest]:
        yield pb.ExecRequest(spec=pb.ExecSpec(container=container, argv=argv, stdin=bool(typed), **fields))
        if typed:
            yield pb.ExecRequest(stdin=typed)
            yield pb.ExecRequest(stdin_end=pb.StdinEnd())

    output, last = b"", pb.ExecResponse()
    async for response in client.stream(yard.stub.Exec(requests())):
        output += response.output.data
        last = response
    return output, last
