"""Running health checks: the runtime's exec with a pipe for the output, and no conmon.

What can go wrong here is ordinary: a check that hangs, floods its output, leaves children, or stands in the kernel and
cannot be killed. None of it may hold up the daemon or other containers. So starts are queued, a check that takes longer
than starting does gives its place to the next, output is read at a bounded pace and mostly thrown away, and what cannot
be killed is left behind with a note: its container gets no further check until it is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.containerd.health import core, put_down
from services.containerd.lifecycle import faults
from services.containerd.lifecycle.bring_up import cgroup_path
from services.containerd.model.events import Action
from services.containerd.model.status import ProbeResult
from services.containerd.runtime import oci_cli
from services.containerd.runtime.spawn import wait
from services.containerd.slots import Slots
from services.containerd.userns import null
from services.kit import atomic, errors, log, units

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.containerd.cgroups.control import Control
    from services.containerd.lifecycle.bring_up import Machine
    from services.containerd.model.status import Record
    from services.containerd.runtime.spawn import Child
    from services.containerd.slots import Slot
    from services.kit.seams import Clock, NewId
    from services.kit.tasks import Supervisor

_log = log.get(__name__)

STARTS_MAX = 2
"""So many checks start at once on the node; the others wait for their turn, and their timeout does not run yet."""
START_S_MAX = 1.0
"""A check that runs longer than this only waits for something: it costs nothing, and the next may start."""
RUNNING_MAX = 256
EXIT_FAILED = -1
_KILLED = 137
KILL_WAIT_S = 2.0
STILL_POLL_S = 0.5
_PID_POLL_S = 0.02
_PID_POLLS_MAX = 25
_READ_BYTES = 64 << 10
_FLOOD_PAUSE_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    """A check that runs."""

    runtime: Child
    cgroup: str
    pidfile: Path


class Probes:
    """Runs the health checks of all containers."""

    def __init__(
        self, machine: Machine, control: Control, supervisor: Supervisor, clock: Clock, new_id: NewId
    ) -> None:
        self._machine = machine
        self._control = control
        self._supervisor = supervisor
        self._clock = clock
        self._new_id = new_id
        self._slots = Slots(STARTS_MAX, in_flight_max=RUNNING_MAX)
        self._stuck: set[str] = set()

    async def run(self, record: Record, tell: Callable[..., None]) -> ProbeResult:
        """Run a container's check once. Cancelled, it puts the check down before it ends.

        Args:
            record: The container.
            tell: Publishes an event about it.
        """
        check = core.check_of(record.spec, record.image)
        assert check is not None, "only what has a check is checked"
        # A commit holds it still without its state saying so: a check would hang, and count as failed.
        while self._control.is_frozen(cgroup_path(record, self._machine.cgroup_parent)):
            await self._clock.sleep(STILL_POLL_S)
        async with self._slots.take(record.id) as slot:
            started_at = self._clock.now()
            if record.id in self._stuck:
                code, output = EXIT_FAILED, "the check before this one cannot be killed"
            else:
                try:
                    code, output = await self._run(record, check, tell, slot)
                except (errors.BeeyardError, OSError, ValueError) as exc:
                    code, output = EXIT_FAILED, str(exc)
            return ProbeResult(
                started_at=started_at, ended_at=self._clock.now(), exit_code=code, output=output
            )

    async def _run(
        self, record: Record, check: core.Check, tell: Callable[..., None], slot: Slot
    ) -> tuple[int, str]:
        exec_id = self._new_id()
        command = " ".join(check.argv)
        tell(Action.EXEC_CREATE, detail=command, execID=exec_id)
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(write_fd, True)
        with contextlib.ExitStack() as opened:
            opened.callback(os.close, read_fd)
            try:
                running = await self._start(record, check, write_fd)
            finally:
                os.close(write_fd)
            faults.reached("health.started")
            tell(Action.EXEC_START, detail=command, execID=exec_id)
            output = _Output(read_fd)
            opened.callback(output.close)
            try:
                code, text = await self._until_end(running, check, output, slot)
            finally:
                if running.runtime.poll() is None:
                    await self._put_down(record.id, running)
        if running.pidfile.exists():
            tell(Action.EXEC_DIE, execID=exec_id, exitCode=str(_KILLED if code == EXIT_FAILED else code))
        return code, text

    async def _start(self, record: Record, check: core.Check, output_fd: int) -> _Running:
        machine, bundle = self._machine, self._machine.layout.bundle(record.id)
        flavour = machine.flavours.get(record.status.runtime)
        if flavour is None:
            raise errors.FailedPrecondition(
                f"the runtime {record.status.runtime} does not work on this node", reason="RUNTIME_MISSING"
            )
        process = bundle.health / "process.json"
        if not process.exists():
            bundle.health.mkdir(mode=0o700, exist_ok=True)
            main = json.loads(bundle.config.read_bytes())["process"]
            section = {**main, "terminal": False, "args": list(check.argv)}
            section.pop("oomScoreAdj", None)
            section.pop("consoleSize", None)
            atomic.write(process, json.dumps(section).encode(), fsync=False)
        bundle.health_pidfile.unlink(missing_ok=True)
        command = oci_cli.execute(
            flavour, machine.layout.runtime_root, record.id, process=process, pidfile=bundle.health_pidfile
        )
        # Not /dev/null: up to 1.14, crun gives it to the container's user, with whom it is the node's own.
        stdin, end = os.pipe2(os.O_CLOEXEC)
        os.close(end)
        try:
            runtime = await machine.spawners[flavour.private_namespace].start(
                null.wrap(command, bundle, private_namespace=flavour.private_namespace),
                stdin=stdin,
                stdout=output_fd,
                stderr=output_fd,
            )
        finally:
            os.close(stdin)
        cgroup = cgroup_path(record, machine.cgroup_parent)
        return _Running(runtime=runtime, cgroup=cgroup, pidfile=bundle.health_pidfile)

    async def _until_end(
        self, running: _Running, check: core.Check, output: _Output, slot: Slot
    ) -> tuple[int, str]:
        """Return the exit code and the output of a check."""
        try:
            with slot.left_after(START_S_MAX):
                async with asyncio.timeout(check.timeout_s):
                    code = await wait(running.runtime)
        except TimeoutError:
            said = output.text()
            message = f"Health check exceeded timeout ({units.render_duration(check.timeout_s)})"
            return EXIT_FAILED, core.cut(f"{message}: {said}".encode()) if said else message
        output.drain()
        if not running.pidfile.exists():  # the runtime has not come as far as to start it
            return EXIT_FAILED, core.cut(oci_cli.explain(output.text()).encode())
        return code, output.text()

    async def _put_down(self, container_id: str, running: _Running) -> None:
        """Kill a check with everything of its session, within bounds."""
        pid = await _read_pid(running)
        if pid is not None:
            await put_down.kill_session(self._control, running.cgroup, pid)
        running.runtime.kill()
        try:
            async with asyncio.timeout(KILL_WAIT_S):
                await wait(running.runtime)
        except TimeoutError:
            _log.warning("health_check_cannot_be_killed", container=container_id, pid=pid)
            self._stuck.add(container_id)
            self._supervisor.spawn(
                self._until_gone(container_id, running.runtime), "stuck health check", critical=False
            )

    async def _until_gone(self, container_id: str, runtime: Child) -> None:
        await wait(runtime)
        self._stuck.discard(container_id)


class _Output:
    """The read end of a check's output: what fits is kept, and the rest is read away so that the check can go on."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._kept = bytearray()
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._loop.add_reader(fd, self._readable)

    def text(self) -> str:
        """Return what was kept."""
        return core.cut(bytes(self._kept))

    def drain(self) -> None:
        """Take what is in the pipe; who still holds its other end is not waited for."""
        while len(self._kept) <= core.OUTPUT_BYTES_MAX and self._read():
            pass

    def close(self) -> None:
        """Read no more."""
        self._loop.remove_reader(self._fd)
        if self._pause is not None:
            self._pause.cancel()

    def _readable(self) -> None:
        if not self._read():
            self._loop.remove_reader(self._fd)
        elif len(self._kept) > core.OUTPUT_BYTES_MAX:
            # A flood: some megabytes a second are enough for it, and do not keep the daemon busy.
            self._loop.remove_reader(self._fd)
            self._pause = self._loop.call_later(
                _FLOOD_PAUSE_S, self._loop.add_reader, self._fd, self._readable
            )

    def _read(self) -> bool:
        """Read once; return whether there may be more."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return False
        self._kept += data[: core.OUTPUT_BYTES_MAX + 1 - len(self._kept)]
        return bool(data)


async def _read_pid(running: _Running) -> int | None:
    """Return the pid of the check itself; a start that was just interrupted is given a moment to name it."""
    for _ in range(_PID_POLLS_MAX):
        pid = put_down.read_pid(running.pidfile)
        if pid is not None or running.runtime.poll() is not None:
            return pid
        await asyncio.sleep(_PID_POLL_S)
    return None
