"""More processes in running containers (`exec`)."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd import execs_left
from services.containerd.kernel import processes
from services.containerd.lifecycle import faults
from services.containerd.lifecycle.actor import Exit
from services.containerd.model.events import Action
from services.containerd.model.status import State
from services.containerd.ocispec import process, user
from services.containerd.ocispec.facts import Identity
from services.containerd.rootfs.inside import Inside
from services.containerd.runtime import conmon_exec, oci_cli, terminals
from services.containerd.runtime.conmon import CreateFailed
from services.containerd.runtime.conmon_exec import ExecProcess
from services.containerd.slots import Slots
from services.containerd.streams.control import ControlFifo
from services.containerd.streams.hub import Hub
from services.containerd.userns import null
from services.kit import atomic, errors

if TYPE_CHECKING:
    from types import TracebackType

    from services.containerd.lifecycle.actor import Actor
    from services.containerd.lifecycle.bring_up import Machine
    from services.containerd.model.status import Run
    from services.containerd.ocispec.facts import Section
    from services.kit.seams import Clock, NewId
    from services.kit.tasks import Supervisor

STARTS_MAX = 8
START_S_MAX = 1.5
"""A start that takes longer waits for something, and the next need not wait for it."""
STARTS_OF_ONE_MAX = 8
"""So many starts of one container, with those that take longer."""
STARTS_IN_FLIGHT_MAX = 256
"""So many of all containers."""
RUNNING_MAX = 1_000
"""Of all containers together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecRequest:
    """What is to be run."""

    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    tty: bool = False
    stdin: bool = False
    privileged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """An exec that runs."""

    id: str
    container_id: str
    pid: int
    hub: Hub
    control: ControlFifo
    ended: asyncio.Task[Exit]


class Execs:
    """Starts execs, and knows those that run.

    An exec belongs to the daemon that started it: when that dies the process runs on, and how it ends is lost. The
    next daemon takes away what is left of it (`execs_left`).
    """

    def __init__(self, machine: Machine, supervisor: Supervisor, clock: Clock, new_id: NewId) -> None:
        self._machine = machine
        self._supervisor = supervisor
        self._clock = clock
        self._new_id = new_id
        self._slots = Slots(STARTS_MAX, in_flight_max=STARTS_IN_FLIGHT_MAX, of_one_max=STARTS_OF_ONE_MAX)
        self._sessions: dict[str, Session] = {}

    def find(self, exec_id: str) -> Session:
        """Return an exec that runs.

        Raises:
            errors.NotFound: It does not (EXEC_NOT_FOUND).
        """
        session = self._sessions.get(exec_id)
        if session is None:
            raise errors.NotFound(f"no such exec runs: {exec_id[:80]}", reason="EXEC_NOT_FOUND")
        return session

    def of(self, container_id: str) -> list[str]:
        """Return the ids of those that run in a container."""
        return [session.id for session in self._sessions.values() if session.container_id == container_id]

    async def start(self, actor: Actor, request: ExecRequest, hub: Hub) -> Session:
        """Start a process.

        Args:
            actor: The container.
            request: What to run.
            hub: Its streams; who joins before this is called misses nothing.

        Raises:
            errors.FailedPrecondition: The container does not run, or the program cannot be executed (START_FAILED).
        """
        _check(actor, request)
        if len(self._sessions) >= RUNNING_MAX:
            raise errors.Exhausted(f"{RUNNING_MAX} execs run already", reason="TOO_MANY_EXECS")
        exec_id = self._new_id()
        directory = self._machine.layout.bundle(actor.record.id).path / conmon_exec.DIRECTORY / exec_id
        async with contextlib.AsyncExitStack() as opened:
            opened.push(functools.partial(self._remove, directory))
            actor.tell(Action.EXEC_CREATE, detail=" ".join(request.argv), execID=exec_id)
            async with self._slots.take(actor.record.id) as slot:
                try:
                    section = await self._described(actor, request)
                    directory.parent.mkdir(
                        mode=0o700, exist_ok=True
                    )  # never the bundle: it may just have gone
                    directory.mkdir(mode=0o700)
                    atomic.write(
                        directory / conmon_exec.PROCESS_FILE, json.dumps(section).encode(), fsync=False
                    )
                except FileNotFoundError as exc:
                    raise errors.FailedPrecondition(
                        f"container {actor.record.name}: it has just ended", reason="CONTAINER_NOT_RUNNING"
                    ) from exc
                faults.reached("exec.written")
                running = await opened.enter_async_context(ExecProcess(directory))
                with slot.left_after(START_S_MAX):
                    pid = await self._begin(actor, request, directory, running, hub)
            session = Session(
                id=exec_id,
                container_id=actor.record.id,
                pid=pid,
                hub=hub,
                control=ControlFifo(directory, self._clock),
                ended=self._supervisor.spawn(
                    self._until_end(actor, exec_id, running, hub, opened.pop_all()),
                    f"exec {exec_id[:12]}",
                    critical=False,
                ),
            )
        self._sessions[exec_id] = session
        actor.tell(Action.EXEC_START, detail=" ".join(request.argv), execID=exec_id)
        return session

    def _remove(
        self,
        directory: Path,
        _kind: type[BaseException] | None,
        exc: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Remove the directory of an exec. When its start was given up, its conmon may be writing there yet."""
        reported = exc is None or isinstance(exc, errors.FailedPrecondition)
        if reported or not (directory / conmon_exec.LOG_FILE).exists():
            shutil.rmtree(directory, ignore_errors=True)
            return
        with contextlib.suppress(errors.BeeyardError):  # the daemon ends: the next one removes it
            self._supervisor.spawn(
                execs_left.remove_when_ended(directory),
                f"remains of exec {directory.name[:12]}",
                critical=False,
            )

    async def _begin(
        self, actor: Actor, request: ExecRequest, directory: Path, running: ExecProcess, hub: Hub
    ) -> int:
        machine = self._machine
        flavour = machine.flavours.get(actor.status.runtime)
        if flavour is None:
            raise errors.FailedPrecondition(
                f"the runtime {actor.status.runtime} does not work on this node", reason="RUNTIME_MISSING"
            )
        arguments = conmon_exec.argv(
            machine.conmon,
            flavour,
            machine.layout,
            actor.record.id,
            directory,
            tty=request.tty,
            stdin=request.stdin,
        )
        bundle = machine.layout.bundle(actor.record.id)
        arguments = null.wrap(arguments, bundle, private_namespace=flavour.private_namespace)
        run = actor.status.run
        try:
            await running.prepare(machine.spawners[flavour.private_namespace], arguments)
        except errors.Internal:
            _refuse_if_ended(actor, run)
            raise
        faults.reached("exec.ready")
        await hub.begin(directory, stays=request.stdin)
        try:
            pid = await running.begin()
        except CreateFailed as exc:
            await hub.end()
            _refuse_if_ended(actor, run)
            raise _not_executed(request.argv[0], exc.message) from exc
        except errors.Internal as exc:
            # With a terminal, crun tells that alone why it cannot execute, and conmon ends without a word.
            await hub.end()
            _refuse_if_ended(actor, run)
            lack = await asyncio.to_thread(_lack, actor, directory) if request.tty else ""
            if not lack:
                raise
            raise _not_executed(request.argv[0], lack) from exc
        faults.reached("exec.begun")
        if (request.tty or request.stdin) and (monitor := conmon_exec.monitor_of(directory)) is not None:
            hub.hold(terminals.hold(monitor))
        return pid

    async def _until_end(
        self, actor: Actor, exec_id: str, running: ExecProcess, hub: Hub, opened: contextlib.AsyncExitStack
    ) -> Exit:
        async with opened:
            try:
                code = await running.ended()
                ended = Exit(exit_code=code)
            except errors.BeeyardError as exc:
                ended = Exit(exit_code=255, error=exc.message)
            faults.reached("exec.ended")
            await hub.end()
            self._sessions.pop(exec_id, None)
            actor.tell(Action.EXEC_DIE, execID=exec_id, exitCode=str(ended.exit_code))
            return ended

    async def _described(self, actor: Actor, request: ExecRequest) -> Section:
        """Return the process object; what the container lacks for it is a failure of the start, as docker has it."""
        try:
            return await asyncio.to_thread(self._section, actor, request)
        except (errors.Invalid, errors.NotFound) as exc:
            raise _cannot(exc.message) from exc

    def _section(self, actor: Actor, request: ExecRequest) -> Section:
        """Return the process object: the container's own, with what is asked."""
        bundle = self._machine.layout.bundle(actor.record.id)
        main = json.loads(bundle.config.read_bytes())["process"]
        with Inside(bundle.rootfs) as inside:
            identity = user.resolve(
                request.user,
                passwd=inside.read_text("/etc/passwd"),
                group=inside.read_text("/etc/group"),
                default=_identity(main["user"]),
                ids=actor.record.status.ids,
            )
            inside.refuse_proc(request.workdir or str(main["cwd"]))
        return process.exec_section(
            main,
            argv=request.argv,
            env=request.env,
            identity=identity,
            workdir=request.workdir,
            tty=request.tty,
            privileged=request.privileged,
            available=self._machine.host.capabilities,
        )


def _check(actor: Actor, request: ExecRequest) -> None:
    name = actor.record.name
    if not request.argv:
        raise errors.Invalid("no command is given", reason="SPEC_INVALID")
    if any("\0" in text for text in (*request.argv, *request.env, request.workdir)):
        raise errors.Invalid("a text holds a NUL byte", reason="SPEC_INVALID")
    if request.workdir and not request.workdir.startswith("/"):
        raise _cannot(f"the working directory {request.workdir!r} is not an absolute path")
    if actor.status.state is State.PAUSED:
        raise errors.FailedPrecondition(
            f"container {name}: it is paused: unpause it first", reason="CONTAINER_PAUSED"
        )
    if actor.status.state is not State.RUNNING:
        why = "it is restarting" if actor.status.state is State.RESTARTING else "it is not running"
        raise errors.FailedPrecondition(f"container {name}: {why}", reason="CONTAINER_NOT_RUNNING")
    if not request.argv[0]:
        raise _cannot("the command is empty: name a program", oci_cli.EXIT_NOT_FOUND)


def _refuse_if_ended(actor: Actor, run: Run | None) -> None:
    """Say so when the container has ended under a start: runtime and conmon fail then in a dozen ways."""
    if run is None or processes.ends(run.init):
        raise errors.FailedPrecondition(
            f"container {actor.record.name}: it has just ended", reason="CONTAINER_NOT_RUNNING"
        )


def _lack(actor: Actor, directory: Path) -> str:
    """Return why the program of an exec cannot be executed, as far as a look into the running container shows."""
    run = actor.status.run
    if run is None:
        return ""
    section = json.loads((directory / conmon_exec.PROCESS_FILE).read_bytes())
    paths = [text.partition("=")[2] for text in section["env"] if text.startswith("PATH=")]
    try:
        with Inside(Path(f"/proc/{run.init.pid}/root")) as inside:
            return inside.lack_of_program(
                section["args"][0], search="".join(paths[-1:]), workdir=section["cwd"]
            )
    except OSError:
        return ""


def _not_executed(program: str, message: str) -> errors.FailedPrecondition:
    code = oci_cli.start_exit_code(message, program)
    return errors.FailedPrecondition(
        f"cannot execute {program}: {oci_cli.explain(message)}",
        reason="START_FAILED",
        metadata={"exit_code": str(code if code != oci_cli.EXIT_DAEMON else oci_cli.EXIT_CANNOT_EXECUTE)},
    )


def _cannot(message: str, code: int = oci_cli.EXIT_CANNOT_EXECUTE) -> errors.FailedPrecondition:
    return errors.FailedPrecondition(message, reason="START_FAILED", metadata={"exit_code": str(code)})


def _identity(recorded: Section) -> Identity:
    groups = recorded.get("additionalGids")
    return Identity(
        uid=int(str(recorded["uid"])),
        gid=int(str(recorded["gid"])),
        groups=tuple(groups) if isinstance(groups, list) else (),
    )
