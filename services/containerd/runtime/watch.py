"""Noticing how runs end: exit files by inotify, deaths of conmon and init by pidfd.

The exit file counts. A conmon that is gone without one has lost its container; the death of the init alone only says
that an exit file is about to come.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.containerd.kernel import processes
from services.containerd.kernel.inotify import Arrivals
from services.containerd.lifecycle.messages import ConmonLost, Exited
from services.containerd.runtime import conmon

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.containerd.model.status import Run
    from services.containerd.runtime.layout import Layout


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
        self._arrivals = Arrivals(layout.exits, self._arrived)

    def close(self) -> None:
        """Stop."""
        self._arrivals.close()
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
        if name is None:  # the kernel's queue overflowed
            for container_id in list(self._watched):
                self._arrived(container_id)
        elif name in self._watched and (exit_ := self.exit_of(name)) is not None:
            self._forget(name)
            self._ended(name, exit_)

    def _conmon_died(self, container_id: str) -> None:
        self._arrived(container_id)
        if container_id in self._watched:
            self._forget(container_id)
            self._ended(container_id, ConmonLost())

    def _forget(self, container_id: str) -> None:
        for deaths in self._watched.pop(container_id, ()):
            deaths.close()
