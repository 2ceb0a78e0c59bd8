"""Which nodes hold an image: the managers ask them all, at the same time and not for long."""

from __future__ import annotations

import asyncio
import dataclasses
import platform as platform_
from typing import TYPE_CHECKING, Final

from beeyard.image.v1 import image_pb2, image_pb2_grpc
from services.kit import errors, log
from services.kit.rpc import client
from services.swarmd.gateway.methods import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    import grpc.aio

    from services.kit.seams import Clock
    from services.swarmd.gateway.channels import LocalChannels
    from services.swarmd.gateway.nodes import Nodes
    from services.swarmd.gateway.ports import NodePlace

_log = log.get(__name__)

ASK_TIMEOUT_S: Final = 2.0
"""How long one node may take to say whether it has an image."""
ASKED_AT_ONCE_MAX: Final = 16
HOLDERS_DEFAULT: Final = 3
HOLDERS_MAX: Final = 16
REMEMBER_S: Final = 2.0
"""How long an answer is given again: tasks of one service ask all at once, on all nodes."""
REMEMBERED_MAX: Final = 256
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A node's answer."""

    place: NodePlace
    local: bool
    manifest_digest: str
    image_id: str
    tagged_at: datetime


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Who has an image."""

    manifest_digest: str
    image_id: str
    holders: tuple[NodePlace, ...]


def agree(answers: Iterable[Holder]) -> Located | None:
    """Return the image that the newest tagging means, and who has it: this node first. Pure.

    Of nodes that disagree about a name, those that were told last are right.
    """
    answers = sorted(answers, key=lambda holder: (not holder.local, holder.place.node_id))
    if not answers:
        return None
    newest = max(answers, key=lambda holder: (holder.tagged_at, holder.manifest_digest))
    return Located(
        manifest_digest=newest.manifest_digest,
        image_id=newest.image_id,
        holders=tuple(holder.place for holder in answers if holder.manifest_digest == newest.manifest_digest),
    )


def own_platform() -> str:
    """Return the platform of this machine in the names of images: "linux/amd64"."""
    return f"{platform_.system().lower()}/{architecture()}"


def architecture() -> str:
    """Return the architecture of this machine in the names of images: "amd64"."""
    return goarch(platform_.machine())


def goarch(machine: str) -> str:
    """Return an architecture as images name it, from what uname(2) calls it: "x86_64" is "amd64"."""
    return _ARCHITECTURES.get(machine, machine)


@dataclasses.dataclass(slots=True)
class _Remembered:
    located: Located
    until: float


class ImageHolders:
    """Finds images on the nodes, for a manager."""

    def __init__(self, *, self_node_id: str, nodes: Nodes, local: LocalChannels, clock: Clock) -> None:
        self._self_node_id = self_node_id
        self._nodes = nodes
        self._local = local
        self._clock = clock
        self._at_once = asyncio.Semaphore(ASKED_AT_ONCE_MAX)
        self._remembered: dict[tuple[str, str], _Remembered] = {}
        self._asking: dict[tuple[str, str], asyncio.Lock] = {}

    async def locate(self, reference: str, platform: str) -> Located:
        """Return who has an image; an empty platform is this node's own.

        Raises:
            errors.NotFound: IMAGE_NOT_FOUND: no node that answered has it.
        """
        platform = platform or own_platform()
        key = (reference, platform)
        async with self._asking.setdefault(key, asyncio.Lock()):
            try:
                remembered = self._remembered.get(key)
                if remembered is not None and remembered.until > self._clock.monotonic():
                    return remembered.located
                located = agree(await self._ask_all(reference, platform))
                if located is None:
                    raise errors.NotFound(
                        f"no node of the swarm has the image {reference}",
                        reason="IMAGE_NOT_FOUND",
                        metadata={"reference": reference},
                    )
                self._remember(key, located)
                return located
            finally:
                self._asking.pop(key, None)  # those who wait have their own hold of it

    async def resolve(self, reference: str, platform: str) -> str:
        """Return the digest of the manifest that a name stands for; see `api.ports.ImageResolver`."""
        return (await self.locate(reference, platform)).manifest_digest

    def _remember(self, key: tuple[str, str], located: Located) -> None:
        if len(self._remembered) >= REMEMBERED_MAX:
            self._remembered.clear()
        self._remembered[key] = _Remembered(located, self._clock.monotonic() + REMEMBER_S)

    async def _ask_all(self, reference: str, platform: str) -> list[Holder]:
        places = await self._nodes.lookup.all()
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(self._ask(place, reference, platform)) for place in places]
        return [holder for task in asked if (holder := task.result()) is not None]

    async def _ask(self, place: NodePlace, reference: str, platform: str) -> Holder | None:
        request = image_pb2.GetImageRequest(reference=reference, platform=platform)
        async with self._at_once:
            try:
                stub = image_pb2_grpc.ImageServiceStub(self._channel(place))
                response = await client.call(stub.GetImage(request, timeout=ASK_TIMEOUT_S))
            except errors.NotFound:
                return None
            except errors.BeeyardError as exc:
                _log.info("image_holder_silent", node_id=place.node_id, reason=exc.reason, error=exc.message)
                return None
        image = response.image
        return Holder(
            place=place,
            local=place.node_id == self._self_node_id,
            manifest_digest=image.manifest_digest,
            image_id=image.id,
            tagged_at=image.tagged_at.ToDatetime(),
        )

    def _channel(self, place: NodePlace) -> grpc.aio.Channel:
        if place.node_id == self._self_node_id:
            return self._local.channel(Daemon.IMAGED)
        return self._nodes.dial_node(place)
