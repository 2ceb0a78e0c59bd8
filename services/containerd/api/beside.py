"""Something that runs beside the answers of a streaming call."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from typing import Any


@contextlib.asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` while the block runs; it is cancelled at the end of the block, and its failure ends the block.

    An error comes out as itself, not in a group: it is to become the status of the call.
    """
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            yield
            task.cancel()
    except BaseExceptionGroup as failed:
        for exc in failed.exceptions:
            if isinstance(exc, errors.BeeyardError):
                raise exc from None
        raise failed.exceptions[0] from None
