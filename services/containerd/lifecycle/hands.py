"""The real `Work`: bring-up, clean-up, signals and freezing, put together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

from services.containerd.kernel import processes
from services.containerd.lifecycle import faults
from services.containerd.lifecycle.bring_up import cgroup_path
from services.containerd.runtime import fifo, signals, stuck
from services.kit import errors, log

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.containerd.cgroups.control import Control
    from services.containerd.checkpoint.making import Checkpointer
    from services.containerd.files.containers import ContainerFiles
    from services.containerd.health.probes import Probes
    from services.containerd.lifecycle.bring_up import BringUp, Machine
    from services.containerd.lifecycle.clean_up import CleanUp
    from services.containerd.model.status import ProbeResult, Record, Run
    from services.containerd.neighbours.images import Images
    from services.containerd.volumes.mounts import ContainerMounts

_log = log.get(__name__)


class Hands:
    """Does what the automaton of a container orders; see `work.Work` for the contracts."""

    def __init__(
        self,
        machine: Machine,
        control: Control,
        images: Images,
        bring_up: BringUp,
        clean_up: CleanUp,
        mounts: ContainerMounts,
        probes: Probes,
        files: ContainerFiles,
        checkpointer: Checkpointer,
    ) -> None:
        self._machine = machine
        self._control = control
        self._images = images
        self._bring_up = bring_up
        self._clean_up = clean_up
        self._mounts = mounts
        self._probes = probes
        self._files = files
        self._checkpointer = checkpointer

    async def prepare(self, record: Record) -> None:
        """Make the volumes, the writable layer and the directory of a container."""
        self._machine.layout.directory(record.id).mkdir(mode=0o700, exist_ok=True)
        if record.mounts:
            await self._mounts.prepare(record)
        await self._images.prepare(record.id, record.image.id)
        faults.reached("create.prepared")

    async def bring_up(self, record: Record, *, checkpoint: str) -> Run:
        """Acquire a run, up to the runtime's create or restore."""
        await self._files.interrupt(record.id)
        return await self._bring_up(record, checkpoint=checkpoint)

    async def ignite(self, record: Record, run: Run) -> None:
        """Let the init execute the program."""
        flavour = self._machine.flavours.get(record.status.runtime)
        fd = processes.open_fd(run.init)
        if fd is None:
            return  # dead already: its exit is told by its exit file
        try:
            if flavour is None:
                raise errors.FailedPrecondition(
                    f"the runtime {record.status.runtime} does not work on this node"
                )
            await fifo.open_gate(flavour.kind, self._machine.layout.exec_fifo(record.id), fd)
        except (OSError, TimeoutError) as exc:
            raise errors.Internal(f"cannot start the program: {exc}", reason="RUNTIME_FAILED") from exc
        finally:
            os.close(fd)
        faults.reached("start.ignited")

    def signal(self, run: Run, name: str) -> None:
        """Send a signal to the init; one that is gone is fine."""
        fd = processes.open_fd(run.init)
        if fd is None:
            return
        try:
            processes.send(fd, signals.number(name))
        finally:
            os.close(fd)
        if signals.number(name) == signal.SIGKILL:
            asyncio.get_running_loop().call_later(stuck.PATIENCE_S, self._free, run)

    def _free(self, run: Run) -> None:
        with contextlib.suppress(OSError):  # no descriptors: the next kill tries again
            if freed := stuck.free(run, self._machine.layout):
                _log.warning("stuck_execs_killed", execs=freed)

    async def freeze(self, record: Record, *, frozen: bool) -> None:
        """Freeze or thaw all processes."""
        await self._control.freeze(cgroup_path(record, self._machine.cgroup_parent), frozen=frozen)

    async def probe(self, record: Record, tell: Callable[..., None]) -> ProbeResult:
        """Run the health check once."""
        return await self._probes.run(record, tell)

    async def checkpoint(self, record: Record, directory: str, *, leave_running: bool) -> None:
        """Write the state of its processes."""
        await self._checkpointer.make(record, directory, leave_running=leave_running)

    async def clean_up(self, record: Record) -> None:
        """Take down whatever is left of a run."""
        await self._clean_up.run(record)

    async def remove(self, record: Record, *, volumes: bool) -> None:
        """Remove the writable layer, the logs and the directory, and with `volumes` its anonymous volumes."""
        await self._files.interrupt(record.id)
        if await asyncio.to_thread(self._left, record):
            await self._clean_up.run(record)
        await self._clean_up.remove(record, volumes=volumes)

    def _left(self, record: Record) -> bool:
        """Whether something of a run is left although nothing should be."""
        layout = self._machine.layout
        with contextlib.suppress(OSError):
            return layout.bundle(record.id).path.exists() or layout.runtime_state(record.id).exists()
        return False
