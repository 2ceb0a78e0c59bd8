"""Noticing how runs end: exit files by inotify, deaths of conmon and init by pidfd.

The exit file counts. A conmon that is gone without one has lost its container; the death of the init alone only says
that an exit file is about to come.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.containerd.kernel import processes
from services.containerd.kernel.inotify import Arrivals
from services.containerd.lifecycle.messages import ConmonLost, Exited
from services.containerd.runtime import conmon
from services.kit import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.containerd.model.status import Run
    from services.containerd.runtime.layout import Layout

_log = log.get(__name__)

RETRY_S = 1.0


class Watcher:
    """Watches all runs of the daemon.

    Args:
        ended: Called once per run with what happened.
        init_died: Called when a run's init is dead and its exit file may still be to come.
    """

    def __init__(
        self,
        layout: Layout,
        ended: Callable[[str, Exited | ConmonLost], None],
        init_died: Callable[[str], None],
    ) -> None:
        self._layout = layout
        self._ended = ended
        self._init_died = init_died
        self._watched: dict[str, list[processes.Deaths]] = {}
        self._unseen: dict[str, bool] = {}
        """Runs that could not be looked at, and whether their conmon is gone."""
        self._retry: asyncio.TimerHandle | None = None
        self._arrivals = Arrivals(layout.exits, self._arrived)

    def close(self) -> None:
        """Stop."""
        self._arrivals.close()
        if self._retry is not None:
            self._retry.cancel()
        for container_id in list(self._watched):
            self._forget(container_id)

    def watch(self, container_id: str, run: Run) -> None:
        """Watch a run from now on; one that has ended is told at once."""
        self._forget(container_id)
        deaths: list[processes.Deaths] = []
        self._watched[container_id] = deaths
        init_fd = processes.open_fd(run.init)
        if init_fd is not None:
            deaths.append(processes.Deaths(init_fd, lambda: self._init_died(container_id)))
        conmon_fd = processes.open_fd(run.conmon)
        if conmon_fd is not None:
            deaths.append(processes.Deaths(conmon_fd, lambda: self._conmon_died(container_id)))
        self._arrived(container_id)
        if conmon_fd is None:
            self._conmon_died(container_id)

    def exit_of(self, container_id: str) -> Exited | None:
        """Return how a run ended by its exit file, None while there is none."""
        path = self._layout.exit_file(container_id)
        code = conmon.read_exit(path)
        if code is None:
            return None
        try:
            at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except FileNotFoundError:
            at = None
        oom = self._layout.bundle(container_id).oom.exists()
        return Exited(exit_code=code, oom_killed=oom, at=at)

    def _arrived(self, name: str | None) -> None:
        if name is not None:
            self._examine(name, conmon_gone=False)
            return
        for container_id in list(self._watched):  # the kernel's queue overflowed
            self._examine(container_id, conmon_gone=False)

    def _conmon_died(self, container_id: str) -> None:
        self._examine(container_id, conmon_gone=True)

    def _examine(self, container_id: str, *, conmon_gone: bool) -> None:
        """Tell how a run ended, if it has. What cannot be seen now (no descriptor is left) is looked at again."""
        if container_id not in self._watched:
            return
        try:
            exit_ = self.exit_of(container_id)
        except OSError as exc:
            _log.error("exit_not_readable", container=container_id[:12], error=str(exc))
            self._unseen[container_id] = conmon_gone or self._unseen.get(container_id, False)
            if self._retry is None:
                self._retry = asyncio.get_running_loop().call_later(RETRY_S, self._look_again)
            return
        if exit_ is not None or conmon_gone:
            self._forget(container_id)
            self._ended(container_id, exit_ or ConmonLost())

    def _look_again(self) -> None:
        self._retry = None
        unseen, self._unseen = self._unseen, {}
        for container_id, conmon_gone in unseen.items():
            self._examine(container_id, conmon_gone=conmon_gone)

    def _forget(self, container_id: str) -> None:
        self._unseen.pop(container_id, None)
        for deaths in self._watched.pop(container_id, ()):
            deaths.close()
