"""Taking down a run, whatever is left of it, and removing a container. Each step may find its work done already."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from typing import TYPE_CHECKING

from services.containerd.kernel import mountinfo, processes
from services.containerd.lifecycle import faults
from services.containerd.lifecycle.bring_up import cgroup_path
from services.containerd.logs import files as log_files
from services.containerd.logs import options as log_options
from services.containerd.runtime import conmon, oci_cli, scratch, sharing
from services.containerd.userns import place
from services.kit import errors, log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from services.containerd.cgroups.control import Control
    from services.containerd.lifecycle.bring_up import Machine
    from services.containerd.model.status import Record
    from services.containerd.neighbours.images import Images
    from services.containerd.neighbours.sandboxes import Sandboxes
    from services.containerd.runtime.layout import Bundle
    from services.containerd.volumes.mounts import ContainerMounts
    from services.kit.seams import Clock

_log = log.get(__name__)

DELETE_TIMEOUT_S = 30.0
CONMON_END_S = 2.0
"""conmon ends some milliseconds after its container; one that has not by then is killed."""
SETTLE_S = 10.0
_POLL_S = 0.02


class CleanUp:
    """Takes down runs and removes containers."""

    def __init__(
        self,
        machine: Machine,
        control: Control,
        images: Images,
        sandboxes: Sandboxes,
        mounts: ContainerMounts,
        clock: Clock,
    ) -> None:
        self._machine = machine
        self._control = control
        self._images = images
        self._sandboxes = sandboxes
        self._mounts = mounts
        self._clock = clock

    async def run(self, record: Record) -> None:
        """Take down a run.

        Processes go first, then what they used. A step that fails does not keep the others from being done.

        Raises:
            errors.BeeyardError: The first failure; its message lists all.
        """
        bundle = self._machine.layout.bundle(record.id)
        failures: list[errors.BeeyardError] = []
        await self._step(failures, lambda: self._delete(record, bundle))
        faults.reached("exit.deleted")
        if not failures:  # else its conmon may still write
            await self._close_log(record)
        await self._step(failures, lambda: asyncio.to_thread(_unmount, bundle))
        faults.reached("exit.unmounted")
        if record.mounts:
            await self._step(failures, lambda: self._mounts.release(record))
        if not record.spec.network.mode.startswith("container:"):
            await self._step(failures, lambda: self._sandboxes.remove(record.id))
        faults.reached("exit.sandbox")
        if not failures:  # the bundle says what is left: it goes last
            self._machine.layout.exit_file(record.id).unlink(missing_ok=True)
            await self._step(failures, lambda: asyncio.to_thread(_remove_tree, bundle.path))
        await self._step(failures, self._clear_scratch)
        _raise_first(failures)

    async def remove(self, record: Record, *, volumes: bool) -> None:
        """Remove everything of a container but its record; with `volumes` its anonymous volumes too.

        Raises:
            errors.BeeyardError: Something resisted.
        """
        failures: list[errors.BeeyardError] = []
        await self._step(failures, lambda: self._images.remove(record.id))
        faults.reached("remove.snapshot")
        directory = self._machine.layout.directory(record.id)
        await self._step(failures, lambda: asyncio.to_thread(_remove_tree, directory))
        faults.reached("remove.directory")
        if record.mounts:
            await self._step(failures, lambda: self._mounts.drop(record, volumes=volumes))
        _raise_first(failures)

    async def settle(self, record: Record, conmon_pid: int) -> None:
        """Wait for a conmon that a dead daemon left in the middle of its work: until it has created, or given up."""
        bundle = self._machine.layout.bundle(record.id)
        process = processes.reference(conmon_pid)
        give_up_at = self._clock.monotonic() + SETTLE_S
        while process is not None and processes.alive(process) and self._clock.monotonic() < give_up_at:
            if conmon.read_pid(bundle.pidfile) is not None:
                return
            await self._clock.sleep(_POLL_S)

    async def _step(self, failures: list[errors.BeeyardError], step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except errors.BeeyardError as exc:
            failures.append(exc)
        except OSError as exc:
            failures.append(errors.Internal(str(exc), reason="CLEANUP_FAILED"))

    async def _close_log(self, record: Record) -> None:
        """Bring its log within its limits: of a short life the daemon may never have looked at it."""
        try:
            policy = log_options.resolve(record.spec.log, self._machine.log_default)
            if policy.in_files:
                path = self._machine.layout.log(record.id)
                await asyncio.to_thread(log_files.close, path, policy.size_bytes_max, policy.files_max)
        except (OSError, errors.Invalid) as exc:  # of no concern to who waits for the end
            _log.warning("log_not_closed", container=record.id, error=str(exc))

    async def _clear_scratch(self) -> None:
        """Remove what a conmon or runtime left that was killed in the middle of a create or an exec."""
        scratch.clear(self._machine.layout.scratch)

    async def _delete(self, record: Record, bundle: Bundle) -> None:
        """Kill what lives and remove what the runtime keeps: its state and the control groups.

        After an ordinary end only files and empty groups are left, and we remove them ourselves: the runtime's command
        does the same for a hundred times the price. It is called where something may still live.
        """
        machine = self._machine
        cgroup = cgroup_path(record, machine.cgroup_parent)
        state = machine.layout.runtime_state(record.id)
        run = record.status.run
        if state.exists() and (run is None or processes.alive(run.init)):
            await self._delete_by_runtime(record, cgroup)
        await self._end_conmon(record, bundle)
        if not self._control.remove_empty(cgroup):
            await self._control.kill(cgroup)
            await self._control.remove(cgroup)
        if state.exists():
            await asyncio.to_thread(_remove_tree, state)

    async def _delete_by_runtime(self, record: Record, cgroup: str) -> None:
        machine = self._machine
        flavour = machine.flavours.get(record.status.runtime)
        if flavour is None:
            return  # killing the group does
        if self._control.is_frozen(cgroup):
            await self._control.freeze(cgroup, frozen=False)
        spawner = machine.spawners[flavour.private_namespace]
        command = oci_cli.delete(flavour, machine.layout.runtime_root, record.id)
        code, output = await spawner.run(command, timeout_s=DELETE_TIMEOUT_S)
        if code != 0:
            _log.warning("runtime_delete_failed", container=record.id, error=oci_cli.explain(output))

    async def _end_conmon(self, record: Record, bundle: Bundle) -> None:
        """Wait for conmon to end, and kill it if it does not: it may have lost its container without noticing."""
        process = record.status.run.conmon if record.status.run is not None else None
        if process is None:
            pid = conmon.read_pid(bundle.conmon_pidfile)
            if (
                pid is None
                or conmon.container_of(processes.command_line(pid), self._machine.layout.exits) != record.id
            ):
                return
            process = processes.reference(pid)
        fd = processes.open_fd(process) if process is not None else None
        if fd is None:
            return
        with contextlib.closing(processes.Handle(fd)) as handle:
            try:
                async with asyncio.timeout(CONMON_END_S):
                    await handle.ended()
            except TimeoutError:
                handle.kill()
                await handle.ended()


def _unmount(bundle: Bundle) -> None:
    if not bundle.path.is_dir():
        return
    for target in (bundle.rootfs, bundle.files, bundle.shared_memory):
        while sharing.unmount(target):
            pass
    if bundle.mounts.is_dir():
        for mount in mountinfo.below(mountinfo.read(), str(bundle.mounts.resolve())):
            sharing.unmount(mount.target)
    place.release(bundle)


def _remove_tree(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=False, onerror=_missing_is_fine)


def _missing_is_fine(_function: object, _path: str, info: tuple[object, BaseException, object]) -> None:
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]


def _raise_first(failures: list[errors.BeeyardError]) -> None:
    if not failures:
        return
    first = failures[0]
    message = "; ".join(failure.message for failure in failures)
    raise type(first)(message, reason=first.reason, metadata=first.metadata)
