"""The supervisor of a playground: starts each node's daemons and restarts those that died, as systemd does on a host.

It is the only starter of daemons. Commands tell it what they want by files: `<daemon>.held` keeps a daemon stopped, and
it looks several times a second. It may be killed at any time: daemons run on, and a new one finds them by their pid
files.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field

from deploy.lab import groups, processes
from deploy.lab.layout import DAEMONS, REPOSITORY, Node, Playground, python

POLL_S = 0.1
RESTART_FIRST_S = 0.5
RESTART_MAX_S = 8.0
STABLE_S = 10.0
LOG_BYTES_MAX = 64 << 20


@dataclass(slots=True)
class Watched:
    """One daemon of one node, as the supervisor sees it."""

    node: Node
    daemon: str
    child: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    failures: int = 0
    not_before: float = 0.0


@dataclass(slots=True)
class Supervisor:
    """Keeps the daemons of one playground running until it is told to end."""

    playground: Playground
    ending: bool = False
    watched: list[Watched] = field(default_factory=list)

    def run(self) -> int:
        """Watch until SIGTERM. The daemons are left as they are."""
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, self._end)
        processes.write(self.playground.supervisor_pid_file, os.getpid())
        self.watched = [Watched(node, daemon) for node in self.playground.nodes() for daemon in DAEMONS]
        while not self.ending:
            for entry in self.watched:
                self._look(entry)
            time.sleep(POLL_S)
        return 0

    def _end(self, *_: object) -> None:
        self.ending = True

    def _look(self, entry: Watched) -> None:
        if entry.child is not None and entry.child.poll() is not None:
            entry.child = None
        held = self.playground.held_file(entry.node.name, entry.daemon).exists()
        if processes.read(self.playground.pid_file(entry.node.name, entry.daemon)) is not None:
            return
        now = time.monotonic()
        if held:
            entry.failures, entry.started_at = 0, 0.0
            return
        if entry.started_at:
            entry.failures = 0 if now - entry.started_at > STABLE_S else entry.failures + 1
            entry.not_before = now + min(RESTART_MAX_S, RESTART_FIRST_S * 2 ** max(0, entry.failures - 1))
            entry.started_at = 0.0
        if now >= entry.not_before:
            self._start(entry)
            entry.started_at = time.monotonic()

    def _start(self, entry: Watched) -> None:
        playground, node = self.playground, entry.node.name
        log_file = playground.log_file(node, entry.daemon)
        with contextlib.suppress(FileNotFoundError):
            if log_file.stat().st_size > LOG_BYTES_MAX:
                log_file.rename(log_file.with_suffix(".log.1"))
        environment = {
            key: value
            for key, value in os.environ.items()
            if key not in ("PYTHONDONTWRITEBYTECODE", "NOTIFY_SOCKET")
        }
        environment["PYTHONPATH"] = f"{REPOSITORY}:{REPOSITORY / 'protos'}"
        with log_file.open("ab") as log:
            entry.child = subprocess.Popen(
                [
                    "nsenter",
                    f"--net={playground.namespace_path(node)}",
                    "--",
                    *python().split(),
                    "-m",
                    f"services.{entry.daemon}",
                    "--config",
                    str(playground.config_file(node, entry.daemon)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        with contextlib.suppress(OSError):  # it may have ended already: the next look restarts it
            groups.enter(playground.cgroup(node), entry.child.pid)
        processes.write(playground.pid_file(node, entry.daemon), entry.child.pid)


def main() -> int:
    """Run the supervisor of the playground named by the only argument."""
    return Supervisor(Playground(name=sys.argv[1])).run()


if __name__ == "__main__":
    sys.exit(main())
