"""The loop of a running member: where the core meets time, disk and network.

One task takes events from the inbox, lets the core decide, and performs the effects in order. It never
waits for the disk: writes run in a thread of their own, one at a time, and what they make durable is
reported to the core when they are done, while messages that do not depend on them go out and further events
are taken. Snapshots have a second thread, so that a large one does not hold up the log.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Protocol, assert_never

from services.kit import errors, log
from services.swarmd.raft.core import effects, events
from services.swarmd.raft.core.messages import InstallSnapshot
from services.swarmd.raft.core.node import RaftCore
from services.swarmd.raft.core.pipeline import Pipeline
from services.swarmd.raft.core.types import EntryKind, Snapshot, SnapshotMeta
from services.swarmd.raft.shell.inbox import Inbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.kit.seams import Clock, Rng
    from services.kit.tasks import Supervisor
    from services.swarmd.raft.core.membership import Config
    from services.swarmd.raft.core.messages import Message
    from services.swarmd.raft.core.types import Entry
    from services.swarmd.raft.shell.config import RaftConfig
    from services.swarmd.raft.shell.ports import StateMachine, Transport
    from services.swarmd.raft.shell.storage import Storage

_log = log.get(__name__)

SHARE_COMMIT_S: Final = 0.01
"""How long after a commit the followers hear of it at the latest, if nothing is sent to them anyway."""
APPLY_SLICE_MAX: Final = 256
"""How many entries are applied before others get the event loop."""


class Listener(Protocol):
    """Who is told what the engine's core says to its callers."""

    def answered(self, answer: effects.Accepted | effects.Refused | effects.ReadReady) -> None:
        """Take the answer to a request."""
        ...

    def applied(self, index: int, term: int, result: object) -> None:
        """Hear that the entry at `index` was applied, with what result."""
        ...

    def overtaken(self, index: int) -> None:
        """Hear that a snapshot took the place of the entries up to `index`."""
        ...

    def ticked(self, tick: int) -> None:
        """Hear that a tick has passed."""
        ...

    def role_changed(self) -> None:
        """Hear that role, term, leader, or membership of this member changed."""
        ...


class Engine:
    """Runs a `RaftCore`. `run` and `tick` are its two tasks; everything else is called from the event loop as well."""

    def __init__(
        self,
        config: RaftConfig,
        storage: Storage,
        transport: Transport,
        state_machine: StateMachine,
        clock: Clock,
        rng: Rng,
        listener: Listener,
    ) -> None:
        self._config = config
        self._storage = storage
        self._transport = transport
        self._machine = state_machine
        self._clock = clock
        self._listener = listener
        self._pipeline = Pipeline()
        self._write: asyncio.Future[None] | None = None
        self._share: asyncio.TimerHandle | None = None
        self._failed = False
        self._unapplied: deque[effects.Apply | effects.Restore] = deque()
        self._snapshot_due = False
        self._log_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="raft-log")
        self._snapshot_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="raft-snapshot")
        self._tasks: Supervisor
        self._ticks = 0
        self.core = RaftCore(
            own_id=storage.identity.member_id,
            recovered=storage.recovered,
            settings=config.settings,
            rng=rng,
        )
        self.inbox = Inbox(config.inbox_max)
        self.applied = storage.recovered.snapshot.index
        """How far the log is applied to the state machine."""
        self.removed = False
        self.late_ticks = 0
        """How often a tick came so late that the event loop, or the machine, must have stood still."""

    # ---- life

    def start(self, tasks: Supervisor) -> None:
        """Bring the state machine to the last snapshot and begin."""
        snapshot, self._storage.recovered_snapshot = self._storage.recovered_snapshot, None
        if snapshot is not None:
            self._machine.restore(snapshot.data)
        self._set_peers(self.core.config)
        self._tasks = tasks
        tasks.spawn(self._run(), "raft")
        tasks.spawn(self._tick(), "raft-tick")
        if self.core.config.voters == (self.core.id,):
            self.inbox.put_certainly(events.Campaign())  # there is nobody to wait for

    async def stop(self) -> None:
        """Let what is being written end, after the tasks have; vouch for what is on disk, unless that failed."""
        if self._share is not None:
            self._share.cancel()
        await asyncio.to_thread(self._snapshot_thread.shutdown)
        if self._write is not None:
            await asyncio.wait([self._write])
            self._failed = self._failed or self._write.exception() is not None
        if not self._failed:
            try:
                await asyncio.get_running_loop().run_in_executor(self._log_thread, self._storage.close)
            except (OSError, errors.BeeyardError) as error:
                _log.failure("raft_log_not_closed", error)  # all of it is durable all the same
        await asyncio.to_thread(self._log_thread.shutdown)

    # ---- the two tasks

    async def _run(self) -> None:
        try:
            while True:
                await self._turn(await self.inbox.take())
        except Exception:
            self._failed = True
            raise

    async def _turn(self, happened: list[events.Event]) -> None:
        if self._write is not None and self._write.done():
            write, self._write = self._write, None
            write.result()  # a disk that failed ends the member
            happened.insert(0, events.Persisted(sequence=self._pipeline.written()))
        for event in happened:
            for effect in self.core.step(event):
                self._perform(effect)
            if isinstance(event, events.Tick):
                self._ticks += 1
                self._listener.ticked(self._ticks)
        self._pump()
        if self._unapplied:
            await self._apply()
        if self._share is None and self.core.commit_unshared:
            self._share = asyncio.get_running_loop().call_later(SHARE_COMMIT_S, self._share_commit)

    async def _tick(self) -> None:
        tick_s = self._config.tick_ms / 1000
        due = self._clock.monotonic() + tick_s
        while True:
            await self._clock.sleep(max(0.0, due - self._clock.monotonic()))
            late_s = self._clock.monotonic() - due
            due += tick_s
            if late_s > tick_s:
                # The loop stood still. What the others said meanwhile may still be in the sockets: let it in first,
                # and count the time as one tick, or everybody would seem to have been silent.
                self.late_ticks += 1
                _log.warning("raft_tick_late", late_ms=round(late_s * 1000))
                await self._clock.sleep(tick_s / 2)
                due = self._clock.monotonic() + tick_s
            self.inbox.tick()

    def _share_commit(self) -> None:
        self._share = None
        self.inbox.put_certainly(events.ShareCommit())

    # ---- effects

    def _perform(self, effect: effects.Effect) -> None:
        match effect:
            case effects.Persist():
                self._pipeline.persist(effect)
            case effects.Send():
                self._pipeline.send(effect)
            case effects.SendSnapshot():
                self._tasks.spawn(self._send_snapshot(effect), "raft-send-snapshot", critical=False)
            case effects.Apply() | effects.Restore():
                self._unapplied.append(effect)
            case effects.Accepted() | effects.Refused() | effects.ReadReady():
                self._listener.answered(effect)
            case effects.RoleChanged(role=role, term=term, leader=leader):
                _log.info("raft_role", role=role.value, term=term, leader=f"{leader:x}")
                self._listener.role_changed()
            case effects.ConfigChanged(config=config):
                self._set_peers(config)
            case effects.Removed():
                self.note_removed()
            case _:
                assert_never(effect)

    def note_removed(self) -> None:
        """Take note that this member was taken out of the cluster."""
        if not self.removed:
            self.removed = True
            _log.warning("raft_member_removed", member=f"{self.core.id:x}")
            self._listener.role_changed()

    def _pump(self) -> None:
        """Send what may leave, and begin the next write."""
        outgoing: dict[int, list[Message]] = {}
        for message in self._pipeline.take_messages():
            outgoing.setdefault(message.to, []).append(message)
        for to, messages in outgoing.items():
            self._transport.send(to, messages)
        persists = self._pipeline.next_write()
        if persists:
            loop = asyncio.get_running_loop()
            self._write = loop.run_in_executor(self._log_thread, self._storage.write, persists)
            self._write.add_done_callback(lambda _: self.inbox.wake())

    def _set_peers(self, config: Config) -> None:
        self._transport.set_peers([member for member in config.members if member.id != self.core.id])

    # ---- the state machine

    async def _apply(self) -> None:
        """Apply what is due, in slices."""
        in_slice = 0
        while self._unapplied:
            effect = self._unapplied.popleft()
            if isinstance(effect, effects.Restore):
                self._machine.restore(effect.snapshot.data)
                self.applied = effect.snapshot.meta.index
                self._listener.overtaken(self.applied)
                continue
            for entry in effect.entries:
                self._apply_entry(entry)
                in_slice += 1
                if in_slice >= APPLY_SLICE_MAX:
                    in_slice = 0
                    await asyncio.sleep(0)
        self._consider_snapshot()

    def _apply_entry(self, entry: Entry) -> None:
        assert entry.index == self.applied + 1, f"entry {entry.index} is due after {self.applied}"
        result: object = None
        if entry.kind is EntryKind.COMMAND:
            result = self._machine.apply(entry.index, entry.data)
        self.applied = entry.index
        self._listener.applied(entry.index, entry.term, result)

    # ---- snapshots

    def _consider_snapshot(self) -> None:
        core_log = self.core.log
        news = self.applied - core_log.snapshot.index
        large = news > 0 and core_log.size_bytes >= self._config.snapshot_bytes
        if self._snapshot_due or not (news >= self._config.snapshot_entries or large):
            return
        term = core_log.term_at(self.applied)
        assert term is not None, f"entry {self.applied} was applied and is not in the log"
        meta = SnapshotMeta(index=self.applied, term=term, config=core_log.config_at(self.applied))
        self._snapshot_due = True
        contents = self._machine.snapshot()  # here and now, before anything more is applied
        self._tasks.spawn(self._take_snapshot(meta, contents), "raft-take-snapshot", critical=False)

    async def _take_snapshot(self, meta: SnapshotMeta, contents: bytes | Callable[[], bytes]) -> None:
        """Save what the state machine held after `meta.index`; then let the log be cut."""
        loop = asyncio.get_running_loop()
        config = self._config
        try:
            data = (
                contents
                if isinstance(contents, bytes)
                else await loop.run_in_executor(self._snapshot_thread, contents)
            )
            await loop.run_in_executor(
                self._snapshot_thread, self._storage.save_snapshot, Snapshot(meta=meta, data=data)
            )
            if await loop.run_in_executor(self._log_thread, self._storage.adopt_snapshot, meta):
                cut = self.core.log.cut_before(
                    meta.index, config.trailing_entries, config.snapshot_bytes // 4
                )
                self.inbox.put_certainly(events.SnapshotTaken(index=meta.index, compact_to=cut))
                _log.info("raft_snapshot_taken", index=meta.index, size_bytes=len(data))
        finally:
            self._snapshot_due = False

    async def _send_snapshot(self, effect: effects.SendSnapshot) -> None:
        loop = asyncio.get_running_loop()
        ok = False
        try:
            snapshot = await loop.run_in_executor(
                self._snapshot_thread, self._storage.load_snapshot, effect.meta
            )
            await self._transport.send_snapshot(
                InstallSnapshot(sender=self.core.id, to=effect.to, term=effect.term, snapshot=snapshot)
            )
            ok = True
        except errors.BeeyardError as error:
            _log.warning("raft_snapshot_not_delivered", to=f"{effect.to:x}", error=error.message)
        finally:
            self.inbox.put_certainly(events.SnapshotDelivered(to=effect.to, ok=ok))
