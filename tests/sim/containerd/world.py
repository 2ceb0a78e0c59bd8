"""A container's world in memory: what the work does to it, step by step, and what a crash leaves."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from services.containerd.lifecycle import messages as m
from services.containerd.lifecycle.core import Automaton
from services.containerd.model.image import ImageConfig
from services.containerd.model.spec import ContainerSpec, HealthAction
from services.containerd.model.status import (
    LEGAL_PHASES,
    HealthState,
    Phase,
    ProbeResult,
    ProcessRef,
    Run,
    State,
    Status,
)

RUN = Run(init=ProcessRef(pid=2, start_ticks=2), conmon=ProcessRef(pid=1, start_ticks=1), boot_id="boot")


class Crashed(Exception):
    """The daemon died here."""


@dataclass
class Kernel:
    """What outlives the daemon."""

    snapshot: bool = False
    directory: bool = False
    sandbox: bool = False
    mount: bool = False
    bundle: bool = False
    conmon: bool = False
    init: str = ""
    """"created" (waits for the start), "running", or nothing."""
    frozen: bool = False
    exit_code: int | None = None

    def of_run(self) -> list[str]:
        """What is left of a run."""
        names = ("sandbox", "mount", "bundle", "conmon", "init", "frozen")
        left = [name for name in names if getattr(self, name)]
        return left + (["exit file"] if self.exit_code is not None else [])

    def end(self, code: int) -> None:
        """The process dies; conmon, if it lives, says how."""
        self.init = ""
        self.frozen = False
        if self.conmon:
            self.exit_code = code
            self.conmon = False


@dataclass
class World:
    """One container, its disk and kernel, and a daemon that may die between any two steps."""

    spec: ContainerSpec
    rng: random.Random
    crash_rate: float
    failure_rate: float
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    kernel: Kernel = field(default_factory=Kernel)
    disk: Status | None = field(default_factory=lambda: Status(runtime="crun"))
    inbox: deque[m.Event] = field(default_factory=deque)
    work: list[Iterator[m.Event | None]] = field(default_factory=list)
    timers: dict[m.Timer, datetime] = field(default_factory=dict)
    asks: dict[int, str] = field(default_factory=dict)
    answered: set[int] = field(default_factory=set)
    published: list[str] = field(default_factory=list)
    watching: bool = False
    crashes: int = 0
    next_ask: int = 1
    sick: bool = False
    """Whether health checks fail."""
    probe: Iterator[m.Event | None] | None = None
    """The health check that runs; it is among the work too."""

    def __post_init__(self) -> None:
        self.machine = self._machine()

    @property
    def gone(self) -> bool:
        """The record is deleted."""
        return self.disk is None

    def ask(self, kind: str) -> None:
        """Somebody wants something."""
        number = self.next_ask
        self.next_ask += 1
        self.asks[number] = kind
        events: dict[str, m.Event] = {
            "create": m.CreateAsked(ask=number),
            "start": m.StartAsked(ask=number),
            "stop": m.StopAsked(ask=number, signal="SIGTERM", grace_s=5.0),
            "stop now": m.StopAsked(ask=number, signal="SIGTERM", grace_s=0.0),
            "stop patiently": m.StopAsked(ask=number, signal="SIGTERM", grace_s=-1.0),
            "restart": m.RestartAsked(ask=number, signal="SIGTERM", grace_s=1.0),
            "kill": m.KillAsked(ask=number, signal="SIGKILL", final=True),
            "hup": m.KillAsked(ask=number, signal="SIGHUP", final=False),
            "pause": m.PauseAsked(ask=number),
            "unpause": m.UnpauseAsked(ask=number),
            "check": m.CheckAsked(ask=number),
            "remove": m.RemoveAsked(ask=number, force=False, volumes=False),
            "force remove": m.RemoveAsked(ask=number, force=True, volumes=True),
            "checkpoint": m.CheckpointAsked(ask=number, directory="/c", leave_running=False),
            "checkpoint and run on": m.CheckpointAsked(ask=number, directory="/c", leave_running=True),
            "restore": m.StartAsked(ask=number, checkpoint="/c"),
            "hold": m.HoldAsked(ask=number, holder="a move"),
            "release": m.ReleaseAsked(ask=number, holder="a move", force=False),
        }
        self.inbox.append(events[kind])

    def turn(self) -> None:
        """One thing happens: an event is taken, work goes a step on, a process ends, a timer fires."""
        try:
            self._turn()
        except Crashed:
            self._recover()

    def settle(self, turns_max: int = 3000) -> None:
        """No more faults: everything goes on until nothing is left to do but the next health check."""
        self.crash_rate = self.failure_rate = 0.0
        self.sick = False
        for _ in range(turns_max):
            waiting = self.timers.keys() - {m.Timer.HEALTH}
            if self.gone or not (self.inbox or self.work or waiting or self._exit_to_tell()):
                return
            self.turn()
        raise AssertionError(f"not settled: {self.describe()}")

    def describe(self) -> str:
        """For the message of a failed check."""
        return f"{self.disk} {self.kernel} inbox={list(self.inbox)} timers={self.timers}"

    def _turn(self) -> None:
        choices = []
        if self.inbox:
            choices.append(self._take_event)
        if self.work:
            choices.append(self._work_on)
        if self._exit_to_tell():
            choices.append(self._tell_exit)
        if not choices and self.timers:
            choices.append(self._fire_next)
        if choices:
            self.rng.choice(choices)()

    def process_ends(self) -> None:
        """The program ends by itself."""
        if self.kernel.init == "running" and not self.kernel.frozen:
            self.kernel.end(self.rng.choice([0, 1]))

    def conmon_dies(self) -> None:
        """Somebody kills conmon."""
        self.kernel.conmon = False

    def time_passes(self, seconds: float) -> None:
        """Time passes; due timers fire."""
        self.now += timedelta(seconds=seconds)
        for timer, due in list(self.timers.items()):
            if due <= self.now:
                del self.timers[timer]
                self.inbox.append(m.TimerFired(timer=timer))

    def _exit_to_tell(self) -> bool:
        return self.watching and (self.kernel.exit_code is not None or not self.kernel.conmon)

    def _tell_exit(self) -> None:
        self.watching = False
        code = self.kernel.exit_code
        self.inbox.append(m.ConmonLost() if code is None else m.Exited(exit_code=code))

    def _fire_next(self) -> None:
        timer = min(self.timers, key=lambda key: self.timers[key])
        self.now = max(self.now, self.timers.pop(timer))
        self.inbox.append(m.TimerFired(timer=timer))

    def _take_event(self) -> None:
        event = self.inbox.popleft()
        for effect in self.machine.step(event, self.now):
            self._maybe_crash()
            self._perform(effect)
            self._maybe_crash()

    def _perform(self, effect: m.Effect) -> None:
        match effect:
            case m.WriteRecord():
                assert effect.status.phase in LEGAL_PHASES[effect.status.state]
                self.disk = effect.status
                self.was_held = self.was_held or bool(effect.status.held_by)
            case m.DeleteRecord():
                assert not self.kernel.of_run(), f"forgotten with {self.kernel.of_run()}"
                assert not self.kernel.snapshot
                assert not self.kernel.directory
                self.disk = None
            case m.Prepare():
                self.work.append(self._prepare())
            case m.BringUp():
                assert self.disk is not None
                assert self.disk.phase is Phase.STARTING, "brought up before it was recorded"
                assert not self.kernel.of_run(), f"started over {self.kernel.of_run()}"
                self.work.append(self._bring_up())
            case m.Watch():
                self.watching = True
            case m.Ignite():
                assert self.disk is not None
                assert self.disk.phase is Phase.UP, "executed before it was recorded"
                self.work.append(self._ignite())
            case m.SendSignal():
                self._signal(effect.signal)
            case m.Freeze():
                self._freeze(effect)
            case m.Probe():
                assert self.probe is None, "two health checks at a time"
                assert self.disk is not None
                assert self.disk.state is State.RUNNING, "checked what does not run"
                assert not self.kernel.frozen, "checked what is frozen"
                self.probe = self._probe(effect.number)
                self.work.append(self.probe)
            case m.CancelProbe():
                if self.probe is not None:
                    self.work.remove(self.probe)
                    self.probe = None
            case m.Checkpoint():
                assert self.disk is not None
                assert self.disk.checkpointing, "written down before it was recorded"
                self.checkpoint = self._checkpoint(effect)
                self.work.append(self.checkpoint)
            case m.CleanUp():
                assert self.probe is None, "a health check outlives its container"
                self.work.append(self._clean_up())
            case m.Remove():
                self.work.append(self._remove())
            case m.SetTimer():
                self.timers[effect.timer] = self.now + timedelta(seconds=effect.delay_s)
            case m.CancelTimer():
                self.timers.pop(effect.timer, None)
            case m.Publish():
                self.published.append(effect.action.value)
            case m.Reply():
                assert effect.ask not in self.answered, f"ask {self.asks[effect.ask]} answered twice"
                self.answered.add(effect.ask)

    def _work_on(self) -> None:
        work = self.rng.choice(self.work)
        self._maybe_crash()
        try:
            outcome = next(work)
        except StopIteration:
            self.work.remove(work)
            return
        if outcome is not None:
            self.work.remove(work)
            if work is self.probe:
                self.probe = None
            self.inbox.append(outcome)

    def _prepare(self) -> Iterator[m.Event | None]:
        self.kernel.directory = True
        yield None
        if self._fails():
            yield m.Prepared(failure=m.Failure(message="imaged is down"))
        self.kernel.snapshot = True
        yield m.Prepared()

    def _bring_up(self) -> Iterator[m.Event | None]:
        for part in ("bundle", "sandbox", "mount", "conmon"):
            if self._fails():
                yield m.BringUpFailed(failure=m.Failure(message=f"no {part}", exit_code=125))
                return
            setattr(self.kernel, part, True)
            yield None
        if self._fails():
            self.kernel.conmon = False
            yield m.BringUpFailed(failure=m.Failure(message="no such program", exit_code=127))
            return
        self.kernel.init = "created"
        yield None
        yield m.BroughtUp(run=RUN)

    def _ignite(self) -> Iterator[m.Event | None]:
        if self.kernel.init == "created":
            if self._fails():
                yield m.Ignited(run=RUN, failure=m.Failure(message="no fifo"))
                return
            self.kernel.init = "running"
        yield m.Ignited(run=RUN)

    checkpoint: Iterator[m.Event | None] | None = None

    def _checkpoint(self, effect: m.Checkpoint) -> Iterator[m.Event | None]:
        yield None
        if self._fails() or self.kernel.init != "running" or self.kernel.frozen:
            yield m.Checkpointed(failure=m.Failure(message="CRIU does not know the kernel"))
            return
        if not effect.leave_running:
            self.kernel.end(137)
        yield None
        yield m.Checkpointed()

    def _probe(self, number: int) -> Iterator[m.Event | None]:
        started_at = self.now
        yield None
        code = self.rng.choice([1, -1]) if self.sick else 0
        self.checked += 1
        yield m.Probed(
            number=number,
            result=ProbeResult(started_at=started_at, ended_at=self.now, exit_code=code, output="said"),
        )

    checked = 0
    was_held = False

    def _signal(self, name: str) -> None:
        kernel = self.kernel
        if not kernel.init:
            return
        if name == "SIGKILL" or (name == "SIGTERM" and self.rng.random() < 0.7):
            if kernel.frozen:
                self.pending_kill = True
            else:
                kernel.end(137 if name == "SIGKILL" else 143)

    pending_kill = False

    def _freeze(self, effect: m.Freeze) -> None:
        failure = m.Failure(message="no rest") if effect.answer and self._fails() else None
        if failure is None:
            self.kernel.frozen = effect.frozen and bool(self.kernel.init)
            if not effect.frozen and self.pending_kill:
                self.pending_kill = False
                self.kernel.end(137)
        if effect.answer:
            self.inbox.appendleft(m.FreezeDone(failure=failure))

    def _clean_up(self) -> Iterator[m.Event | None]:
        kernel = self.kernel
        failed = False
        while self.checkpoint in self.work:  # it ends the processes before it is done with what they leave
            yield None
        kernel.frozen, kernel.init = False, ""
        yield None
        kernel.conmon = False
        yield None
        for part in ("mount", "sandbox"):
            if self._fails():
                failed = True
            else:
                setattr(kernel, part, False)
            yield None
        if failed:
            yield m.CleanedUp(failure=m.Failure(message="netd is down"))
            return
        kernel.exit_code, kernel.bundle = None, False
        yield m.CleanedUp()

    def _remove(self) -> Iterator[m.Event | None]:
        if self._fails():
            yield m.Removed(failure=m.Failure(message="imaged is down"))
            return
        self.kernel.bundle = False  # the work takes down what it finds
        self.kernel.snapshot = False
        yield None
        self.kernel.directory = False
        yield m.Removed()

    def _fails(self) -> bool:
        return self.rng.random() < self.failure_rate

    def _maybe_crash(self) -> None:
        if self.rng.random() < self.crash_rate:
            raise Crashed

    def _recover(self) -> None:
        """The daemon is gone, the disk and the kernel stay. A new one finds them."""
        self.crashes += 1
        self.inbox.clear()
        self.work.clear()
        self.probe = None
        self.timers.clear()
        self.asks.clear()
        self.answered.clear()
        self.watching = False
        if self.disk is None:
            return
        kernel = self.kernel
        if self.disk.phase is Phase.IDLE and self.rng.random() < 0.1:
            kernel.bundle = True  # what a restored backup of the records, for one, can bring about
        self.machine = self._machine()
        code = kernel.exit_code
        found = m.Found(
            exit=m.Exited(exit_code=code) if code is not None else None,
            conmon_alive=kernel.conmon,
            waiting_to_execute=kernel.init == "created",
            frozen=kernel.frozen,
            remains=bool(kernel.of_run()),
        )
        self.inbox.append(m.Recovered(finding=found))

    def _machine(self) -> Automaton:
        assert self.disk is not None
        return Automaton(self.spec, ImageConfig(), self.disk, default_runtime="crun")


def check_quiet(world: World) -> None:
    """What holds when nothing is left to do."""
    status, kernel = world.disk, world.kernel
    if status is None:
        assert kernel == Kernel(), f"left behind: {kernel}"
        return
    missing = set(world.asks) - world.answered
    unanswered = [world.asks[number] for number in missing]
    match status.phase:
        case Phase.IDLE:
            assert not kernel.of_run(), f"idle with {kernel.of_run()}"
            assert not unanswered, f"never answered: {unanswered}"
            assert status.state is not State.RESTARTING or status.held_by, "nobody will restart it"
            removes_itself = world.spec.auto_remove and status.state is State.EXITED
            assert not removes_itself or world.was_held, "nobody will remove it"
            check_no_health(world)
        case Phase.UP:
            assert kernel.init == "running", world.describe()
            assert kernel.conmon
            assert kernel.frozen is (status.state is State.PAUSED), world.describe()
            assert not set(unanswered) - {"stop patiently"}, f"never answered: {unanswered}"
            check_health(world, status)
        case _:
            raise AssertionError(f"settled in {world.describe()}")


def check_no_health(world: World) -> None:
    """What holds of the health check of a container that does not run."""
    assert m.Timer.HEALTH not in world.timers, "a check is planned for what does not run"
    assert world.probe is None


def check_health(world: World, status: Status) -> None:
    """What holds of the health check of a container that runs."""
    check = world.machine.check
    if check is None:
        assert status.health is None
        return check_no_health(world)
    assert status.health is not None
    if status.state is State.PAUSED:
        return check_no_health(world)
    assert m.Timer.HEALTH in world.timers, f"nobody will check it: {world.describe()}"
    sick = status.health.state is HealthState.UNHEALTHY and check.on_failure is not HealthAction.NONE
    assert not sick or status.stop is not None, "unhealthy, and nothing was done about it"
    return None
