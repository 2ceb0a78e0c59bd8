"""Clients that read and write registers through whatever member they find, and write down what they saw."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from tests.sim.raft.linearizability import FOREVER, Operation
from tests.sim.raft.machine import Command
from tests.sim.raft.member import Member, Outcome

if TYPE_CHECKING:
    from tests.sim.raft.world import World

KEYS = "abc"
TIMEOUT_MS = 1500.0


class Clients:
    """All clients of one run, and the history that they saw together."""

    def __init__(self, world: World, rng: Random) -> None:
        self._world = world
        self._rng = rng
        self._next_id = 0
        self._stopped = False
        self.history: list[Operation] = []
        self.acknowledged: list[int] = []
        """Operations of which a client knows that they are in the log."""
        self.never: list[int] = []
        """Operations of which a client knows that they are not and never will be."""

    def start(self) -> None:
        for client in range(self._world.profile.clients):
            self._think(client)

    def stop(self) -> None:
        self._stopped = True

    def last_command(self) -> bytes:
        """Return a write that nobody else makes, for the end of the run."""
        self._next_id += 1
        return Command(operation_id=self._next_id, key="end", kind="write", value=self._next_id).encode()

    def _think(self, client: int) -> None:
        self._world.after(self._rng.uniform(2, self._world.profile.think_ms_max), lambda: self._act(client))

    def _act(self, client: int) -> None:
        if self._stopped:
            return
        self._next_id += 1
        member = self._choose()
        if member is None:
            self._think(client)
            return
        kind = self._rng.choice(["read", "write", "cas"])
        operation = Operation(
            id=self._next_id,
            key=self._rng.choice(KEYS),
            kind=kind,
            value=self._next_id,
            expected=self._rng.choice([0, *list(member.machine.values.values())]),
            called_ms=self._world.now_ms,
        )
        self._world.trace("call", client, member.id, operation.id, kind, operation.key)
        if kind == "read":
            self._read(client, member, operation)
        else:
            self._write(client, member, operation)

    def _choose(self) -> Member | None:
        leader = self._world.leader()
        if leader is not None and self._rng.random() < 0.6:
            return leader
        alive = [member for member in self._world.members.values() if member.running]
        return self._rng.choice(alive) if alive else None

    def _read(self, client: int, member: Member, operation: Operation) -> None:
        open_call = [True]

        def ready() -> None:
            if open_call:
                open_call.clear()
                operation.value = member.machine.values.get(operation.key, 0)
                operation.returned_ms = self._world.now_ms
                self.history.append(operation)
                self._world.trace("read", operation.id, operation.value)
                self._think(client)

        def give_up() -> None:
            if open_call:
                open_call.clear()  # a read without an answer says nothing
                self._think(client)

        member.read(ready)
        self._world.after(TIMEOUT_MS, give_up)

    def _write(self, client: int, member: Member, operation: Operation) -> None:
        command = Command(
            operation_id=operation.id,
            key=operation.key,
            kind=operation.kind,
            value=operation.value,
            expected=operation.expected,
        )
        open_call = [True]

        def done(outcome: Outcome) -> None:
            if outcome in (Outcome.EFFECT, Outcome.NO_EFFECT):
                self.acknowledged.append(operation.id)
                operation.returned_ms = self._world.now_ms
                operation.succeeded = outcome is Outcome.EFFECT
            elif outcome is Outcome.NEVER:
                self.never.append(operation.id)
                self.history.remove(operation)
            self._world.trace("done", operation.id, outcome.value)
            give_up()

        def give_up() -> None:
            if open_call:
                open_call.clear()
                self._think(client)

        assert operation.returned_ms == FOREVER
        self.history.append(operation)
        member.propose(command.encode(), done)
        self._world.after(TIMEOUT_MS, give_up)
