"""What is streamed from one node through this one to the other: volumes and checkpoints."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import volume_pb2
from services.kit import errors
from services.kit.rpc import client
from services.swarmd.move.core import names
from services.swarmd.move.remote import CALL_TIMEOUT_S, STALL_S, unstalled, within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from services.swarmd.move.ports import Report
    from services.swarmd.move.remote import Remote


async def volume(source: Remote, target: Remote, name: str, move_id: str, report: Report) -> None:
    """Make a volume on the new node with the content that it has on the old one.

    Raises:
        errors.FailedPrecondition: There is one of that name meanwhile, which is not the move's (VOLUME_EXISTS).
    """
    found = await within(
        source.volumes.GetVolume(volume_pb2.GetVolumeRequest(name=name), timeout=CALL_TIMEOUT_S)
    )
    wanted = volume_pb2.CreateVolumeRequest(
        name=name,
        driver=found.volume.driver,
        labels={**found.volume.labels, names.VOLUME_LABEL: move_id},
        options=found.volume.options,
    )
    made = await within(target.volumes.CreateVolume(wanted, timeout=CALL_TIMEOUT_S))
    if made.volume.labels.get(names.VOLUME_LABEL) != move_id:
        raise errors.FailedPrecondition(f"a volume {name} exists there already", reason="VOLUME_EXISTS")
    exported = client.stream(source.volumes.ExportVolume(volume_pb2.ExportVolumeRequest(name=name)))
    first = volume_pb2.ImportVolumeRequest(spec=volume_pb2.ImportVolumeSpec(name=name))
    await _carry(
        exported,
        target.volumes.ImportVolume,
        first,
        lambda chunk: volume_pb2.ImportVolumeRequest(chunk=chunk),
        lambda done: report(name, done, 0),
    )


async def checkpoint(
    source: Remote, target: Remote, *, source_container: str, target_container: str, name: str, report: Report
) -> None:
    """Give the container on the new node the checkpoint of the one on the old node."""
    wanted = pb.ExportCheckpointRequest(container=source_container, checkpoint=name)
    first = pb.ImportCheckpointRequest(
        spec=pb.ImportCheckpointSpec(container=target_container, checkpoint=name)
    )
    await _carry(
        client.stream(source.containers.ExportCheckpoint(wanted)),
        target.containers.ImportCheckpoint,
        first,
        lambda chunk: pb.ImportCheckpointRequest(chunk=chunk),
        lambda done: report(name, done, 0),
    )


async def _carry(
    chunks: AsyncIterator[Any],
    method: Any,
    first: Any,
    wrap: Callable[[bytes], Any],
    told: Callable[[int], None],
) -> None:
    """Send all that comes on one stream on another, chunk by chunk. A stream that stands still has failed.

    Raises:
        errors.BeeyardError: Of the side that failed; the other's call is ended.
    """
    failure: list[errors.BeeyardError] = []
    moved_at = asyncio.get_running_loop().time()

    async def requests() -> AsyncIterator[Any]:
        nonlocal moved_at
        done = 0
        yield first
        try:
            async with contextlib.aclosing(unstalled(chunks)) as parts:  # type: ignore[type-var]
                async for part in parts:
                    moved_at = asyncio.get_running_loop().time()
                    done += len(part.chunk)
                    told(done)
                    yield wrap(part.chunk)
        except errors.BeeyardError as exc:
            failure.append(exc)
            call.cancel()

    call = method(requests())
    try:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(_answer(call))
            while not waiting.done():
                await asyncio.wait([waiting], timeout=STALL_S / 4)
                if asyncio.get_running_loop().time() - moved_at > 2 * STALL_S:
                    call.cancel()
            failed = waiting.result()
    finally:
        call.cancel()
    if failure:
        raise failure[0]
    if failed is not None:
        raise failed


async def _answer(call: Any) -> errors.BeeyardError | None:
    """Return how the receiving call failed, None if it did not."""
    try:
        await client.call(call)
    except errors.BeeyardError as exc:
        return exc
    return None
