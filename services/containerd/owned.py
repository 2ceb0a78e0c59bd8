"""Work that is done to its end although whoever asked for it may go.

A cancelled write to the records happens or not, and nobody learns which: what writes is not cancelled with its caller.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from services.kit import errors, log

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from services.kit.tasks import Supervisor

T = TypeVar("T")

_log = log.get(__name__)


async def to_its_end(supervisor: Supervisor, work: Coroutine[Any, Any, T], name: str) -> T:
    """Return what `work` returns. If the caller is cancelled, the work goes on; the supervisor's end alone stops it."""
    outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        try:
            result = await work
        except Exception as exc:  # noqa: BLE001 (it is the caller's)
            if outcome.done():
                _log.warning("unwatched_work_failed", work=name, error=str(exc))
            else:
                outcome.set_exception(exc)
        else:
            if not outcome.done():
                outcome.set_result(result)
        finally:
            outcome.cancel()

    try:
        supervisor.spawn(run(), name, critical=False)
    except errors.BeeyardError:
        work.close()
        raise
    return await outcome
