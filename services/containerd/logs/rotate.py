"""Rotating the logs of running containers.

conmon's own size limit throws away what was written before; so the daemon looks at the sizes every quarter of a second,
renames and lets conmon reopen, which loses nothing. A log can grow past its limit by what is written between two looks;
once one has, a flood is likely, and the next look comes sooner. What is too much of it is cut off when the flood is
over, so that those who follow it have time to read it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.containerd.logs import files
from services.kit import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from services.containerd.logs.options import LogPolicy
    from services.containerd.streams.control import ControlFifo
    from services.kit.seams import Clock

_log = log.get(__name__)

INTERVAL_S = 0.25
FLOOD_INTERVAL_S = 0.05
QUIET_LOOKS = 8
"""Without a rotation: then the rotated files are trimmed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """The log of one running container."""

    container_id: str
    path: Path
    policy: LogPolicy
    control: ControlFifo


class Rotator:
    """Runs for as long as the daemon does.

    Args:
        watched: Returns the logs of the containers that run now.
    """

    def __init__(self, watched: Callable[[], Iterable[Watched]], clock: Clock) -> None:
        self._watched = watched
        self._clock = clock
        self._quiet_looks: dict[str, int] = {}
        """How often nothing was to be rotated since the last rotation, of logs that are not trimmed since."""

    async def run(self) -> None:
        """Look, rotate, wait; for ever."""
        while True:
            watched = list(self._watched())
            for gone in self._quiet_looks.keys() - {entry.container_id for entry in watched}:
                del self._quiet_looks[gone]
            rotated = [await self._check(entry) for entry in watched]
            await self._clock.sleep(FLOOD_INTERVAL_S if any(rotated) else INTERVAL_S)

    async def _check(self, entry: Watched) -> bool:
        """Look at one log; return whether it was rotated."""
        limit = entry.policy.size_bytes_max
        if not limit or not entry.policy.in_files:
            return False
        files_max = entry.policy.files_max
        try:
            if entry.path.stat().st_size <= limit:  # it is there: conmon has reopened
                await self._trim_when_quiet(entry)
                return False
            await asyncio.to_thread(files.rotate, entry.path, files_max)
        except OSError as exc:
            _log.warning("log_rotation_failed", container=entry.container_id, error=str(exc))
            return False
        self._quiet_looks[entry.container_id] = 0
        await entry.control.reopen_log()
        _log.debug("log_rotated", container=entry.container_id)
        return True

    async def _trim_when_quiet(self, entry: Watched) -> None:
        looks = self._quiet_looks.get(entry.container_id)
        if looks is None:
            return
        self._quiet_looks[entry.container_id] = looks + 1
        if looks + 1 >= QUIET_LOOKS:
            del self._quiet_looks[entry.container_id]
            policy = entry.policy
            await asyncio.to_thread(files.trim, entry.path, policy.size_bytes_max, policy.files_max)
