"""From the image that a user names to the one that all tasks run: the digest that the name stands for now."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from services.kit import errors, log
from services.swarmd.api.checks import image

if TYPE_CHECKING:
    from beeyard.swarm.v1 import objects_pb2
    from services.swarmd.api.ports import ImageResolver

_log = log.get(__name__)

RESOLVE_TIMEOUT_S = 10.0


async def pin(spec: objects_pb2.ServiceSpec, resolver: ImageResolver, previous: str = "") -> list[str]:
    """Write the digest of its image into a checked spec; return warnings.

    A service whose image nobody knows now is made all the same, as its nodes may get the image later. Its tasks say why
    they do not run.

    Args:
        spec: The spec.
        resolver: Knows the digests.
        previous: The image that the service has so far; if its name is the same it stays when nobody knows better.
    """
    container = spec.task.container
    if image.is_exact(container.image):
        return []
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT_S):
            digest = await resolver.resolve(container.image, container.platform)
    except TimeoutError:
        why = f"no answer within {RESOLVE_TIMEOUT_S:g} s"
    except errors.BeeyardError as exc:
        _log.info("image_unresolved", reference=container.image, reason=exc.reason, error=exc.message)
        why = exc.message
    else:
        container.image = image.pinned(container.image, digest)
        return []
    warning = f"image {container.image} could not be resolved to a digest ({why}): "
    if previous.partition("@")[0] == container.image != previous:
        container.image = previous
        return [warning + "the service keeps the one that it has"]
    return [
        warning + "each node looks for it by its name, and different nodes may run different versions of it"
    ]
