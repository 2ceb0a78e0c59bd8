"""One container in the running daemon: an automaton, the queue in front of it, and the performance of its effects.

Events are taken one at a time and their effects performed in order. Short effects are awaited in place, so that a
record is on disk before what follows it; long ones run as tasks whose outcome comes back as an event. There is no task
per idle container: one is started when an event comes, and ends when the queue is empty.
"""

from __future__ import annotations

import asyncio
import collections
import errno
import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

from services.containerd.lifecycle import faults, messages, refusals
from services.containerd.lifecycle.core import Automaton
from services.containerd.lifecycle.messages import Failure
from services.containerd.lifecycle.work import BringUpError
from services.containerd.model.events import Action, words
from services.containerd.model.spec import HealthAction
from services.containerd.model.status import Phase, State
from services.containerd.runtime import signals, terminals
from services.kit import errors, events, log, tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

    from services.containerd.lifecycle.messages import Effect, Event, Timer
    from services.containerd.lifecycle.work import Work
    from services.containerd.model.spec import ContainerSpec
    from services.containerd.model.status import Record, Run, Status
    from services.containerd.records.store import Store
    from services.containerd.runtime.watch import Watcher
    from services.containerd.streams.control import ControlFifo
    from services.containerd.streams.hub import Hub
    from services.kit.seams import Clock
    from services.kit.tasks import Supervisor

_log = log.get(__name__)

WRITE_RETRY_S = 1.0
INBOX_MAX = 1024
DETAIL_CHARS_MAX = 1024
_ask_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a run ended, for those who wait for it."""

    exit_code: int
    oom_killed: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all actors share."""

    work: Work
    store: Store
    watcher: Watcher
    supervisor: Supervisor
    clock: Clock
    publish: Callable[[events.Event], None]
    forget: Callable[[str], None]
    """Called when a container is gone."""
    default_runtime: str


class Actor:
    """A container.

    Args:
        record: As it is on disk.
        hub: Its streams.
        control: Its terminal's control.
    """

    def __init__(self, record: Record, around: Surroundings, hub: Hub, control: ControlFifo) -> None:
        self.record = record
        self.hub = hub
        self.control = control
        self.changing = asyncio.Lock()
        """Held by whoever changes name or specification."""
        self._around = around
        self._automaton = Automaton(
            record.spec, record.image, record.status, default_runtime=around.default_runtime
        )
        self._inbox: collections.deque[Event] = collections.deque()
        self._busy = False
        self._idle = asyncio.Event()
        self._asks: dict[int, asyncio.Future[None]] = {}
        self._timers: dict[Timer, asyncio.Task[None]] = {}
        self._probe: asyncio.Task[None] | None = None
        self._checkpoint: asyncio.Task[None] | None = None
        self._exit_waiters: list[asyncio.Future[Exit]] = []
        self._gone: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

    @property
    def status(self) -> Status:
        """What is on disk of its status."""
        return self.record.status

    @property
    def visible(self) -> bool:
        """Whether its creation was acknowledged."""
        return self._automaton.announced

    def last_exit(self) -> Exit:
        """Return how its last run ended."""
        status = self.status
        return Exit(exit_code=status.exit_code, oom_killed=status.oom_killed, error=status.error)

    async def ask(self, make: Callable[[int], Event]) -> None:
        """Send an event that wants an answer, and return when it was done.

        Raises:
            errors.BeeyardError: It was refused, or failed.
        """
        if len(self._inbox) >= INBOX_MAX:
            raise errors.Exhausted(f"container {self.record.name} has {INBOX_MAX} requests waiting")
        number = next(_ask_numbers)
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asks[number] = answered
        try:
            self.post(make(number))
            await answered
        finally:
            self._asks.pop(number, None)

    def post(self, event: Event) -> None:
        """Send an event. There is always room for it: what has happened cannot be turned away as a request can."""
        self._inbox.append(event)
        if not self._busy:
            self._busy = True
            self._idle.clear()
            try:
                self._spawn(self._drain(), "events")
            except errors.BeeyardError:
                self._busy = False
                raise

    async def idle(self) -> None:
        """Return when every event that was sent has been taken. Work that they have begun may be under way."""
        if self._busy:
            await self._idle.wait()

    def next_exit(self) -> asyncio.Future[Exit]:
        """Return a future of the next end of a run."""
        waiter: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._exit_waiters.append(waiter)
        waiter.add_done_callback(self._exit_waiters.remove)
        return waiter

    def gone(self) -> asyncio.Future[Exit]:
        """Return a future of the container's removal."""
        return asyncio.shield(self._gone)

    async def rewrite(self, name: str, spec: ContainerSpec) -> None:
        """Give it another name or specification; on disk when this returns."""
        await self._around.store.write_spec(self.record.id, name, spec)
        self.record = replace(self.record, name=name, spec=spec)
        self.post(messages.SpecChanged(spec=spec))

    def tell(self, action: Action, *, detail: str = "", **attributes: str) -> None:
        """Publish an event about it; `detail` goes with the action's name."""
        labels = {**self.record.image.labels, **self.record.spec.labels}
        self._around.publish(
            events.Event(
                at=self._around.clock.now(),
                type="container",
                action=words(action, detail[:DETAIL_CHARS_MAX]),
                id=self.record.id,
                attributes={
                    **labels,
                    "name": self.record.name,
                    "image": self.record.spec.image,
                    **attributes,
                },
            )
        )

    def _step(self, event: Event) -> list[Effect]:
        try:
            return self._automaton.step(event, self._around.clock.now())
        except Exception as exc:
            if not isinstance(event, messages.Recovered):
                raise
            # One record that cannot be gone on with must not keep the daemon from ever starting again.
            _log.exception("recovery_faulted", error=repr(exc))
            return []

    async def _drain(self) -> None:
        """Take events until there are none.

        A broken invariant stops the daemon: what is on disk is sound, and the next one goes on from that.
        """
        try:
            with log.context(container=self.record.id[:12]):
                while self._inbox:
                    event = self._inbox.popleft()
                    for effect in self._step(event):
                        await self._perform(effect)
                if self._automaton.gone:  # no event comes any more that would answer them
                    self._fail_all(refusals.error(self.record.name, messages.Refusal.REMOVING, None))
        except Exception as exc:  # noqa: BLE001 (raised again by the daemon)
            self._around.supervisor.spawn(
                _raise(exc), f"fault of container {self.record.id[:12]}", critical=True
            )
        finally:
            self._busy = False
            self._idle.set()

    async def _perform(self, effect: Effect) -> None:
        match effect:
            case messages.WriteRecord():
                await self._write(effect.status)
            case messages.DeleteRecord():
                await self._delete()
            case messages.SendSignal():
                await self._insist(lambda: self._signal(effect.signal))
                faults.reached("stop.signalled")
            case messages.Freeze():
                await self._freeze(effect)
            case messages.Watch():
                await self._insist(lambda: self._begin_streams(start_cut=effect.start_cut))
                if self.record.spec.stdin_open:
                    self.hub.hold(terminals.hold(effect.run.conmon))
                await self._insist(self.control.begin)
                await self._insist(lambda: self._watch(effect.run))
            case messages.SetTimer():
                self._set_timer(effect.timer, effect.delay_s)
            case messages.CancelTimer():
                self._cancel_timer(effect.timer)
            case messages.Probe():
                self._probe = self._spawn(self._run_probe(effect.number), "health check")
            case messages.CancelProbe():
                await self._cancel_probe()
            case messages.Publish():
                told = dict(effect.attributes)
                if effect.action is Action.KILL:  # docker has its number
                    told["signal"] = str(signals.number(told["signal"]))
                self.tell(effect.action, **told)
                if effect.action is Action.DIE:
                    self._tell_exit()
            case messages.Reply():
                self._answer(effect)
            case _:
                self._begin(effect)

    async def _begin_streams(self, *, start_cut: bool) -> None:
        spec = self.record.spec
        over = start_cut and spec.stdin_once and not spec.tty
        await self.hub.begin(self.control.directory, stays=spec.stdin_open, input_over=over)

    def _begin(
        self,
        effect: messages.Prepare
        | messages.BringUp
        | messages.Ignite
        | messages.Checkpoint
        | messages.CleanUp
        | messages.Remove,
    ) -> None:
        """Start long work; its outcome comes back as an event."""
        record, work = self.record, self._around.work
        match effect:
            case messages.Prepare():
                self._spawn(self._outcome(work.prepare(record), messages.Prepared), "prepare")
            case messages.BringUp():
                self._spawn(self._bring_up(record, effect.checkpoint), "bring up")
            case messages.Ignite():
                ignition = work.ignite(record, effect.run)
                self._spawn(self._outcome(ignition, messages.Ignited, run=effect.run), "ignite")
            case messages.Checkpoint(directory=directory, leave_running=leave_running):
                writing = work.checkpoint(record, directory, leave_running=leave_running)
                self._checkpoint = self._spawn(self._outcome(writing, messages.Checkpointed), "checkpoint")
            case messages.CleanUp():
                self._spawn(self._outcome(self._clean_up(record), messages.CleanedUp), "clean up")
            case messages.Remove():
                self._spawn(
                    self._outcome(work.remove(record, volumes=effect.volumes), messages.Removed), "remove"
                )
            case _:
                assert_never(effect)

    async def _outcome(
        self,
        work: Coroutine[Any, Any, None],
        event: type[
            messages.Prepared
            | messages.Ignited
            | messages.Checkpointed
            | messages.CleanedUp
            | messages.Removed
        ],
        **of_what: Any,
    ) -> None:
        failure: Failure | None = None
        try:
            await work
        except errors.BeeyardError as exc:
            _log.warning("container_work_failed", work=event.__name__, error=exc.message, reason=exc.reason)
            failure = Failure(message=exc.message, error=exc)
        except Exception as exc:  # noqa: BLE001 (whatever it is, the automaton must hear of the end)
            _log.exception("container_work_broke", work=event.__name__)
            failure = Failure(message=f"internal error: {exc}", error=exc)
        self.post(event(failure=failure, **of_what))

    async def _bring_up(self, record: Record, checkpoint: str) -> None:
        try:
            run = await self._around.work.bring_up(record, checkpoint=checkpoint)
        except BringUpError as exc:
            _log.info("container_start_failed", exit_code=exc.exit_code, error=exc.message)
            failure = Failure(message=exc.message, exit_code=exc.exit_code, error=exc.__cause__)
            self.post(messages.BringUpFailed(failure=failure))
        except Exception as exc:  # noqa: BLE001 (likewise)
            _log.exception("container_start_broke")
            failure = Failure(message=f"internal error: {exc}", exit_code=125, error=exc)
            self.post(messages.BringUpFailed(failure=failure))
        else:
            self.post(messages.BroughtUp(run=run))

    async def _run_probe(self, number: int) -> None:
        result = await self._around.work.probe(self.record, self.tell)
        self.post(messages.Probed(number=number, result=result))

    async def _cancel_probe(self) -> None:
        """Return when the check is put down; that takes `Probes` a bounded time."""
        probe, self._probe = self._probe, None
        if probe is not None and not probe.done():
            await tasks.cancel(probe)

    async def _clean_up(self, record: Record) -> None:
        if self._checkpoint is not None:  # it ends the processes before it is done with what they leave
            await asyncio.wait([self._checkpoint])
            self._checkpoint = None
        await self.hub.end()
        await self._around.work.clean_up(record)

    async def _freeze(self, effect: messages.Freeze) -> None:
        failure: Failure | None = None
        try:
            await self._around.work.freeze(self.record, frozen=effect.frozen)
        except errors.BeeyardError as exc:
            failure = Failure(message=exc.message, error=exc)
        except OSError as exc:
            failure = Failure(message=str(exc), error=exc)
        if effect.answer:
            self._inbox.appendleft(messages.FreezeDone(failure=failure))

    async def _signal(self, name: str) -> None:
        if self.status.run is not None:
            self._around.work.signal(self.status.run, name)

    async def _watch(self, run: Run) -> None:
        self._around.watcher.watch(self.record.id, run)

    async def _insist(self, act: Callable[[], Awaitable[None]]) -> None:
        """Do it as soon as there are descriptors for it. Who waits is told after the first failure."""
        while True:
            try:
                await act()
            except OSError as exc:
                if exc.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
                _log.error("too_few_files", error=str(exc))
                self._fail_all(
                    errors.Exhausted("the daemon has too many open files", reason="TOO_MANY_FILES")
                )
                await self._around.clock.sleep(WRITE_RETRY_S)
            else:
                return

    async def _write(self, status: Status) -> None:
        """Write until it is on disk: what follows must not happen before. Who waits is told after the first failure."""
        while True:
            try:
                await self._around.store.write_status(self.record.id, status)
            except errors.Exhausted as exc:
                _log.error("record_write_failed", error=exc.message)
                self._fail_all(exc)
                await self._around.clock.sleep(WRITE_RETRY_S)
            else:
                break
        previous, self.record = self.record.status, replace(self.record, status=status)
        _reach_fault(previous, status)

    async def _delete(self) -> None:
        await self._around.store.delete(self.record.id)
        faults.reached("remove.forgotten")
        for timer in list(self._timers):
            self._cancel_timer(timer)
        self._around.forget(self.record.id)
        if not self._gone.done():
            self._gone.set_result(self.last_exit())

    def _tell_exit(self) -> None:
        for waiter in list(self._exit_waiters):
            if not waiter.done():
                waiter.set_result(self.last_exit())

    def _answer(self, reply: messages.Reply) -> None:
        waiting = self._asks.get(reply.ask)
        if waiting is None or waiting.done():
            return
        if reply.refusal is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(refusals.error(self.record.name, reply.refusal, reply.failure))

    def _fail_all(self, error: errors.BeeyardError) -> None:
        """Tell all who wait. What nobody has looked at yet is not done behind their backs later on."""
        failed = set()
        for number, waiting in self._asks.items():
            if not waiting.done():
                waiting.set_exception(error)
                failed.add(number)
        kept = [event for event in self._inbox if _ask_of(event) not in failed]
        self._inbox.clear()
        self._inbox.extend(kept)

    def _set_timer(self, timer: Timer, delay_s: float) -> None:
        self._cancel_timer(timer)
        self._timers[timer] = self._spawn(self._fire(timer, delay_s), f"timer {timer}")

    def _cancel_timer(self, timer: Timer) -> None:
        task = self._timers.pop(timer, None)
        if task is not None:
            task.cancel()

    async def _fire(self, timer: Timer, delay_s: float) -> None:
        await self._around.clock.sleep(delay_s)
        self._timers.pop(timer, None)
        self.post(messages.TimerFired(timer=timer))

    def _spawn(self, coro: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
        return self._around.supervisor.spawn(coro, f"container {self.record.id[:12]}: {what}", critical=False)


def _ask_of(event: Event) -> int | None:
    """Return the ask that may be dropped with its call; a creation is recorded, and has to be gone through with."""
    return None if isinstance(event, messages.CreateAsked) else getattr(event, "ask", None)


async def _raise(exc: Exception) -> None:
    raise exc


def _reach_fault(before: Status, after: Status) -> None:
    """Fault points that lie at a written record."""
    if after.phase is Phase.STARTING:
        faults.reached("start.recorded")
    elif after.phase is Phase.REMOVING:
        faults.reached("remove.recorded")
    elif after.phase is Phase.CLEANING and before.phase is Phase.UP:
        faults.reached("exit.recorded")
    elif after.phase is Phase.UP and before.phase is Phase.STARTING:
        faults.reached("start.running_recorded")
    elif after.checkpointing and not before.checkpointing:
        faults.reached("checkpoint.recorded")
    elif after.phase is Phase.UP and after.stop is not None and before.stop is None:
        faults.reached(
            "stop.recorded" if after.stop.by_health is HealthAction.NONE else "health.stop_recorded"
        )
    elif after.phase is Phase.IDLE and before.phase is Phase.CLEANING:
        faults.reached("exit.cleaned")
    elif after.phase is Phase.IDLE and before.phase is Phase.PREPARING and after.state is State.CREATED:
        faults.reached("create.done")
