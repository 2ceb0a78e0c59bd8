"""Runs the scripts in this folder: commands, and below each what came of it.

    command arguments
    ----
    what is expected

Several commands may stand above one line of dashes. `python -m tests.golden.raft --rewrite` writes down what comes
now; the difference is then to be read. The commands:

    found N [learners=4,5] [key=value of Settings ...]    members 1 to N of one cluster
    join N                              a member with an empty disk
    campaign N | tick N [times] | propose N TEXT... | read N REQUEST | share-commit N
    change N add-learner|promote|demote|remove ID
    transfer N to=ID | snapshot N INDEX [cut=INDEX] | unreachable N to=ID
    delivered N to=ID | failed N to=ID  the fate of a snapshot
    manual N... | auto N...             whether writes wait for `write`
    write N                             make durable what waits
    deliver [A->B|A->*|*->B] [Type]     messages on the table, but not those that they cause
    drop [A->B...] [Type] | table       throw messages away; show them
    cut N... | heal                     lose everything to and from these
    stabilize [N...]                    write and deliver until nothing moves
    crash N                             start again from what is durable
    log N | status [N...] | quiet COMMAND...
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from services.swarmd.raft.core import events, membership, messages
from services.swarmd.raft.core.membership import Change, Member
from tests.golden.raft import render
from tests.golden.raft.group import SETTINGS, Group

RULE = "----"


def run(path: Path) -> str:
    """Run a script; return it with what came of each command."""
    runner = _Runner()
    out: list[str] = []
    commands: list[str] = []
    skipping = False
    for line in path.read_text().splitlines():
        if line == RULE:
            out.append(RULE)
            for command in commands:
                runner.run(command)
            commands = []
            out.extend(runner.take())
            skipping = True
        elif skipping and line:
            continue
        else:
            skipping = False
            out.append(line)
            if line and not line.startswith("#"):
                commands.append(line)
    assert not commands, f"{path.name} ends with commands that are not run: {commands}"
    return "\n".join(out).rstrip("\n") + "\n"


class _Runner:
    def __init__(self) -> None:
        self._group = Group()
        self._request = 0

    def take(self) -> list[str]:
        notes, self._group.notes = self._group.notes, []
        return notes

    def run(self, line: str) -> None:
        name, *words = line.split()
        options = dict(word.split("=", 1) for word in words if "=" in word)
        words = [word for word in words if "=" not in word]
        if name == "quiet":
            before = list(self._group.notes)
            self.run(line.removeprefix("quiet "))
            self._group.notes = before
            return
        method = getattr(self, f"_{name.replace('-', '_')}")
        method(*words, **options)

    # ---- founding

    def _found(self, voters: str, learners: str = "", **settings: str) -> None:
        changed = {key: int(value) for key, value in settings.items()}
        self._group.settings = dataclasses.replace(SETTINGS, **changed)
        self._group.found(int(voters), [int(learner) for learner in learners.split(",") if learner])

    def _join(self, node: str) -> None:
        self._group.add(int(node))

    # ---- events

    def _campaign(self, node: str) -> None:
        self._group.step(int(node), events.Campaign())

    def _tick(self, node: str, times: str = "1") -> None:
        for _ in range(int(times)):
            self._group.step(int(node), events.Tick())

    def _propose(self, node: str, *data: str) -> None:
        self._group.propose(int(node), *data)

    def _read(self, node: str, request: str) -> None:
        self._group.step(int(node), events.ReadIndex(request_id=int(request)))

    def _share_commit(self, node: str) -> None:
        self._group.step(int(node), events.ShareCommit())

    def _change(self, node: str, kind: str, member: str) -> None:
        self._request += 1
        member_id = int(member)
        change: Change
        match kind:
            case "add-learner":
                change = membership.AddLearner(member=Member(id=member_id, node_id=f"n{member_id}"))
            case "promote":
                change = membership.Promote(member_id=member_id)
            case "demote":
                change = membership.Demote(member_id=member_id)
            case "remove":
                change = membership.Remove(member_id=member_id)
            case _:
                raise ValueError(kind)
        self._group.step(int(node), events.ChangeMembers(request_id=self._request, change=change))

    def _transfer(self, node: str, to: str) -> None:
        self._group.step(int(node), events.TransferLeadership(to=int(to)))

    def _snapshot(self, node: str, index: str, cut: str = "") -> None:
        self._group.take_snapshot(int(node), int(index), int(cut or index))

    def _unreachable(self, node: str, to: str) -> None:
        self._group.step(int(node), events.Unreachable(to=int(to)))

    def _delivered(self, node: str, to: str) -> None:
        self._group.step(int(node), events.SnapshotDelivered(to=int(to), ok=True))

    def _failed(self, node: str, to: str) -> None:
        self._group.step(int(node), events.SnapshotDelivered(to=int(to), ok=False))

    def _crash(self, node: str) -> None:
        self._group.nodes[int(node)].restart()
        self._group.step(int(node), events.Unreachable(to=0))

    # ---- disks and network

    def _manual(self, *nodes: str) -> None:
        for node in nodes:
            self._group.nodes[int(node)].manual = True

    def _auto(self, *nodes: str) -> None:
        for node in nodes:
            self._group.nodes[int(node)].manual = False

    def _write(self, node: str) -> None:
        self._group.nodes[int(node)].write()

    def _deliver(self, *pattern: str) -> None:
        self._group.deliver(lambda message: _matches(message, pattern))

    def _drop(self, *pattern: str) -> None:
        self._group.drop(lambda message: _matches(message, pattern))

    def _table(self) -> None:
        for message in self._group.table:
            self._group.note_text(render.message(message))

    def _cut(self, *nodes: str) -> None:
        self._group.cut |= {int(node) for node in nodes}

    def _heal(self) -> None:
        self._group.cut.clear()

    def _stabilize(self, *nodes: str) -> None:
        self._group.stabilize(int(node) for node in nodes)

    # ---- looking

    def _log(self, node: str) -> None:
        log = self._group.nodes[int(node)].core.log
        self._group.note_text(render.entries(log.between(log.first_index, log.last_index)))

    def _status(self, *nodes: str) -> None:
        for node in nodes or map(str, self._group.nodes):
            for text in render.status(self._group.nodes[int(node)].core.status()).splitlines():
                self._group.note_text(text)


def _matches(message: messages.Message, pattern: tuple[str, ...]) -> bool:
    for part in pattern:
        if "->" in part:
            sender, to = part.split("->")
            if sender not in ("*", str(message.sender)) or to not in ("*", str(message.to)):
                return False
        elif part != type(message).__name__:
            return False
    return True
