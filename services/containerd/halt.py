"""The end of all containers with the machine: each gets its stop signal and its grace, as when a user stops it.

    python -m services.containerd.halt [--config FILE] [--root DIR] [--run DIR]

The service manager runs it when the machine goes down, after the daemon (deploy/systemd/beeyard-halt.service). Without
it containers would learn of the end by the SIGTERM that everything gets at last: a process 1 without a handler never
sees that one, and holds up the machine for a minute and a half until SIGKILL.

Nothing is recorded. The records go on saying that the containers run, and so those that their restart policies want are
started again when the machine is back. The daemon's lock is held meanwhile: under a daemon at work, every end would be
an end to restart from.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.cgroups import hierarchy
from services.containerd.cgroups.control import Control
from services.containerd.config import ContainerdConfig
from services.containerd.kernel import mountinfo, processes
from services.containerd.lifecycle.bring_up import cgroup_path
from services.containerd.model.status import Phase
from services.containerd.ocispec import resolve
from services.containerd.records.store import Store
from services.containerd.runtime import signals
from services.containerd.runtime.layout import Layout
from services.kit import daemon, errors, lock, log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.containerd.model.status import ProcessRef, Record

NAME = "containerd"
GRACE_S_MAX = 90.0
"""A machine that goes down does not wait longer than this, whatever a container asks for."""
GONE_S_MAX = 10.0
"""How long a killed process, and conmon with what it still has to write, may take."""

_log = log.get(__name__)


def main(argv: Sequence[str]) -> int:
    """End the containers of one node; return the exit code."""
    log.setup("info", "auto")
    try:
        config = daemon.load_config(NAME, ContainerdConfig, _parse(argv))
        log.setup(config.log_level, config.log_format)
        if not (config.root / NAME).is_dir():
            return daemon.EXIT_OK
        with lock.exclusive(config.root / NAME / "lock", NAME):
            asyncio.run(_halt(config))
    except errors.BeeyardError as exc:
        _log.error("halt_failed", reason=exc.reason, error=exc.message)
        return daemon.EXIT_FAILED
    return daemon.EXIT_OK


async def _halt(config: ContainerdConfig) -> None:
    layout = Layout(state=config.root / NAME, run=config.run / NAME)
    control = Control(hierarchy.find(mountinfo.read()))
    store = await Store.open(layout.database, layout.contents)
    try:
        records, _ = await store.load()
    finally:
        await store.close()
    async with asyncio.TaskGroup() as group:
        for record in records:
            if record.status.phase in (Phase.UP, Phase.STARTING, Phase.CLEANING):
                group.create_task(_end(record, control, cgroup_path(record, config.cgroup_parent)))


async def _end(record: Record, control: Control, cgroup: str) -> None:
    """End one container; one that has ended already is fine."""
    run = record.status.run
    if run is not None:
        grace_s = resolve.stop_grace_s(record.spec)
        number = signals.number(resolve.stop_signal(record.spec, record.image))
        if not await _ended(run.init, number, control, cgroup, GRACE_S_MAX if grace_s < 0 else grace_s):
            _log.warning("container_killed", container=record.id, grace_s=grace_s)
            await _ended(run.init, signal.SIGKILL, control, cgroup, GONE_S_MAX)
        await _ended(run.conmon, 0, control, cgroup, GONE_S_MAX)
    await control.kill(cgroup)  # what shares the host's process ids outlives its init


async def _ended(process: ProcessRef, number: int, control: Control, cgroup: str, wait_s: float) -> bool:
    """Send a signal, unless it is 0, and wait; return whether the process has ended."""
    fd = processes.open_fd(process)
    if fd is None:
        return True
    try:
        if number:
            processes.send(fd, number)
            with contextlib.suppress(errors.BeeyardError):
                if control.is_frozen(cgroup):  # a frozen process takes no signal
                    await control.freeze(cgroup, frozen=False)
        async with asyncio.timeout(min(wait_s, GRACE_S_MAX)):
            await processes.wait_fd(fd)
    except TimeoutError:
        return False
    finally:
        os.close(fd)
    return True


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="halt", description="End all containers with the machine.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings of containerd")
    parser.add_argument("--root", type=Path, metavar="DIR", help="directory of persistent state")
    parser.add_argument("--run", type=Path, metavar="DIR", help="directory of sockets and runtime files")
    parser.set_defaults(log_level=None)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
