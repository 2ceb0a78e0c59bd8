"""The steps of a move, done on the two nodes. `chores` takes back or cleans up what they have made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2
from services.kit import errors
from services.swarmd.move import carriage
from services.swarmd.move.core import carried, names
from services.swarmd.move.core.move import Facts, Step
from services.swarmd.move.remote import CALL_TIMEOUT_S, Remote, within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.swarmd.gateway.ports import NodeDialer
    from services.swarmd.move.core.move import Move
    from services.swarmd.move.ports import Report

COMMIT_TIMEOUT_S: Final = 3600.0
CREATE_TIMEOUT_S: Final = 150.0
"""The layers may have to be unpacked first."""
START_TIMEOUT_S: Final = 150.0
STOP_MARGIN_S: Final = 30.0
GRACE_MAX_S: Final = 3600.0
CHECKPOINT_TIMEOUT_S: Final = 600.0

_LIVE = frozenset({pb.CONTAINER_STATE_RUNNING, pb.CONTAINER_STATE_PAUSED, pb.CONTAINER_STATE_RESTARTING})


class Steps:
    """Does steps."""

    def __init__(self, dialer: NodeDialer) -> None:
        self._dialer = dialer

    async def do(self, move: Move, step: Step, report: Report) -> Facts:
        """Do a step; see `ports.Hands`."""
        match step:
            case Step.HOLD:
                return await self._hold(move)
            case Step.SEND_IMAGE:
                return await self._send_image(move, move.wanted.base_digest, report)
            case Step.STOP:
                return await self._stop(move)
            case Step.CHECKPOINT:
                return await self._checkpoint(move)
            case Step.COMMIT:
                return await self._commit(move)
            case Step.SEND_LAYER:
                return await self._send_image(move, _known(move.facts.layer_digest), report)
            case Step.SEND_VOLUMES:
                source, target = await self._source(move), await self._target(move)
                for name in move.wanted.volumes:
                    await carriage.volume(source, target, name, move.wanted.move_id, report)
                return Facts()
            case Step.CREATE:
                return await self._create(move)
            case Step.SEND_CHECKPOINT:
                await carriage.checkpoint(
                    await self._source(move),
                    await self._target(move),
                    source_container=move.wanted.container_id,
                    target_container=_known(move.facts.target_container_id),
                    name=names.checkpoint(move.wanted.move_id),
                    report=report,
                )
                return Facts()
            case Step.START:
                return await self._start(move)

    async def _hold(self, move: Move) -> Facts:
        held = await self._held(move)
        spec = carried.without_contents(carried.with_volumes(held.spec, move.wanted.volume_mounts))
        return Facts(running=held.running, spec=spec.SerializeToString())

    async def _create(self, move: Move) -> Facts:
        """Make it. What is in its files is asked for again: it is secret, and in no journal."""
        files: Sequence[spec_pb2.InlineFile] = ()
        if spec_pb2.ContainerSpec.FromString(move.facts.spec or b"").files:
            files = (await self._held(move)).spec.files
        return Facts(target_container_id=await create(await self._target(move), move, files))

    async def _held(self, move: Move) -> pb.HoldContainerResponse:
        source = await self._source(move)
        held: pb.HoldContainerResponse = await within(
            source.containers.HoldContainer(
                pb.HoldContainerRequest(
                    container=move.wanted.container_id, holder=names.holder(move.wanted.move_id)
                ),
                timeout=CALL_TIMEOUT_S,
            )
        )
        return held

    async def _send_image(self, move: Move, digest: str, report: Report) -> Facts:
        target = await self._target(move)
        await target.pull(names.image(move.wanted.move_id, digest), move.wanted.source, report)
        return Facts()

    async def _stop(self, move: Move) -> Facts:
        """Stop it. One that has ended by itself meanwhile did not run, as far as its new node is concerned."""
        source = await self._source(move)
        request = pb.GetContainerRequest(container=move.wanted.container_id)
        found = await within(source.containers.GetContainer(request, timeout=CALL_TIMEOUT_S))
        if found.container.status.state not in _LIVE:
            return Facts(running=False)
        await stop(source, move)
        return Facts()

    async def _checkpoint(self, move: Move) -> Facts:
        source = await self._source(move)
        request = pb.CheckpointContainerRequest(
            container=move.wanted.container_id, checkpoint=names.checkpoint(move.wanted.move_id)
        )
        await within(source.containers.CheckpointContainer(request, timeout=CHECKPOINT_TIMEOUT_S))
        return Facts()

    async def _commit(self, move: Move) -> Facts:
        source = await self._source(move)
        made = await within(
            source.containers.CommitContainer(
                pb.CommitContainerRequest(
                    container=move.wanted.container_id, reference=names.layer(move.wanted.move_id)
                ),
                timeout=COMMIT_TIMEOUT_S,
            )
        )
        return Facts(layer_digest=made.manifest_digest, layer_image_id=made.image_id)

    async def _start(self, move: Move) -> Facts:
        target, container = await self._target(move), _known(move.facts.target_container_id)
        if move.wanted.checkpoint:
            restore = pb.RestoreContainerRequest(
                container=container, checkpoint=names.checkpoint(move.wanted.move_id)
            )
            await within(target.containers.RestoreContainer(restore, timeout=START_TIMEOUT_S))
        else:
            start = pb.StartContainerRequest(container=container)
            await within(target.containers.StartContainer(start, timeout=START_TIMEOUT_S))
        return Facts()

    async def _source(self, move: Move) -> Remote:
        return await Remote.reach(self._dialer, move.wanted.source)

    async def _target(self, move: Move) -> Remote:
        return await Remote.reach(self._dialer, move.wanted.target)


async def create(target: Remote, move: Move, files: Sequence[spec_pb2.InlineFile] = ()) -> str:
    """Make the container on its new node; return its id. May be repeated: there is one container for one move.

    Args:
        target: The node.
        move: What is known of the move, in which its files have no content.
        files: The files with their content, if the container is to be started.
    """
    spec = spec_pb2.ContainerSpec.FromString(move.facts.spec or b"")
    if files:
        del spec.files[:]
        spec.files.extend(files)
    request = pb.CreateContainerRequest(
        spec=spec,
        request_id=names.holder(move.wanted.move_id),
        image_id=_known(move.facts.layer_image_id),
    )
    made = await within(target.containers.CreateContainer(request, timeout=CREATE_TIMEOUT_S))
    return str(made.id)


async def stop(source: Remote, move: Move) -> None:
    """Stop the container on its old node; returns when it does not run."""
    request = pb.StopContainerRequest(container=move.wanted.container_id)
    spec = spec_pb2.ContainerSpec.FromString(move.facts.spec or b"")
    own_ms = spec.stop_grace_ms if spec.HasField("stop_grace_ms") else 10_000
    grace_ms = own_ms if move.wanted.grace_ms is None else move.wanted.grace_ms
    if not 0 <= grace_ms <= GRACE_MAX_S * 1000:  # a wait without end is none for a move
        grace_ms = round(GRACE_MAX_S * 1000)
    request.grace_ms = grace_ms
    timeout_s = grace_ms / 1000 + STOP_MARGIN_S
    await within(source.containers.StopContainer(request, timeout=timeout_s))


def _known(fact: str | None) -> str:
    """Return what an earlier step has found out."""
    if not fact:
        raise errors.Internal("the move has lost what an earlier step found out", reason="INTERNAL")
    return fact
