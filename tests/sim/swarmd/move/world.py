"""Two nodes as a move sees them, and a manager that may die between any two of its effects."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from services.swarmd.move.core import automaton, move
from services.swarmd.move.core.automaton import Event
from services.swarmd.move.core.move import Chore, Facts, Failure, Move, Stage, Step, Wanted
from services.swarmd.move.journal import decode, encode

TURNS_MAX = 5000


class Refused(Exception):
    """The node did not do it, or did and its answer was lost."""


class Gone(Exception):
    """The node has left the swarm."""


class Crashed(Exception):
    """The manager died."""


@dataclass
class Node:
    """What a move may leave on a node."""

    container: bool = False
    running: bool = False
    held: bool = False
    layer: bool = False
    """An image with the writable layer, or names of images that were fetched."""
    checkpoint: bool = False
    volumes: set[str] = field(default_factory=set)
    gone: bool = False


@dataclass
class World:
    """One move in it."""

    rng: random.Random
    ran: bool
    volumes: bool
    checkpoint: bool
    failure_rate: float
    crash_rate: float
    leaves: str = ""
    """Node that leaves the swarm in the middle."""

    def __post_init__(self) -> None:
        names = {"data", "logs"} if self.volumes else set()
        self.source = Node(container=True, running=self.ran, volumes=set(names))
        self.target = Node()
        wanted = Wanted(
            move_id="m",
            request_id="r",
            container_id="c",
            name="web",
            source="s",
            target="t",
            base_digest="sha256:b",
            base_image_id="sha256:i",
            volumes=tuple(sorted(names)),
            new_volumes=tuple(sorted(names)),
            checkpoint=self.checkpoint,
        )
        self.move = Move(wanted=wanted)
        self.disk = ""
        self.crashes = 0
        self.answers = 0
        self.committed = False
        self.trace: list[str] = []

    def run(self) -> None:
        """Let the manager move it, with all its deaths, until nothing is left to do."""
        event: Event | None = automaton.Begun()
        for _ in range(TURNS_MAX):
            if event is None:
                return
            try:
                event = self._turn(event)
            except Crashed:
                self.crashes += 1
                if not self.disk:
                    return  # it never began
                self.move = decode(self.disk)
                event = automaton.Recovered()
        raise AssertionError(f"it does not end: {self.move}")

    def _turn(self, event: Event) -> Event | None:
        self.move, effects = automaton.decide(self.move, event)
        following: Event | None = None
        for effect in effects:
            self._maybe_crash()
            following = self._perform(effect)
            self._maybe_crash()
            assert self.source.container or self.target.container, f"lost: {self.trace}"
        return following

    def _perform(self, effect: automaton.Effect) -> Event | None:
        match effect:
            case automaton.Save(saved):
                self.disk = encode(saved)
                assert decode(self.disk) == saved
                self.committed = self.committed or saved.stage is Stage.CLEANING
                return None
            case automaton.Do(step):
                assert decode(self.disk).step is step, "a step is recorded before it is done"
                return self._do(step)
            case automaton.Settle(chore):
                return self._settle(chore)
            case automaton.Rest():
                self.failure_rate /= 2
                return automaton.Rested()
            case automaton.Answer():
                self.answers += 1
                return None

    def _do(self, step: Step) -> Event:
        try:
            facts = self._faulty(lambda: self._step(step))
        except (Refused, Gone) as exc:
            return automaton.StepFailed(Failure(message=str(exc), reason="X"))
        return automaton.StepDone(facts or Facts())

    def _settle(self, chore: Chore) -> Event:
        try:
            self._faulty(lambda: self._chore(chore))
        except Gone as exc:
            return automaton.ChoreFailed(str(exc), hopeless=True)
        except Refused as exc:
            return automaton.ChoreFailed(str(exc))
        return automaton.ChoreDone()

    def _faulty(self, work):  # type: ignore[no-untyped-def]
        """Fail before it, after it, or not at all."""
        luck = self.rng.random()
        if luck < self.failure_rate / 2:
            raise Refused("it does not answer")
        done = work()
        if luck < self.failure_rate:
            raise Refused("its answer was lost")
        return done

    def _node(self, name: str) -> Node:
        node = self.source if name == "source" else self.target
        if self.leaves == name and self.rng.random() < 0.1:
            node.gone = True
        if node.gone:
            raise Gone(f"the {name} has left the swarm")
        return node

    def _step(self, step: Step) -> Facts | None:
        self.trace.append(step.name)
        source, target = self.source, self.target
        match step:
            case Step.HOLD:
                self._node("source").held = True
                return Facts(running=source.running, spec=b"spec")
            case Step.STOP | Step.CHECKPOINT:
                node = self._node("source")
                assert node.held
                assert node.running
                node.running, node.checkpoint = False, step is Step.CHECKPOINT
            case Step.COMMIT:
                node = self._node("source")
                assert not node.running, "what runs is not committed"
                node.layer = True
                return Facts(layer_digest="sha256:l", layer_image_id="sha256:li")
            case Step.SEND_IMAGE:
                self._node("target").layer = True
            case Step.SEND_LAYER:
                assert self._node("source").layer
                self._node("target").layer = True
            case Step.SEND_VOLUMES:
                self._node("target").volumes.add("data")
                self._maybe_crash()
                target.volumes.add("logs")
            case Step.CREATE:
                node = self._node("target")
                assert node.layer
                node.container = True
                return Facts(target_container_id="n")
            case Step.SEND_CHECKPOINT:
                assert self._node("source").checkpoint
                self._node("target").checkpoint = True
            case Step.START:
                node = self._node("target")
                assert node.container
                assert not source.running, "two of them"
                node.running = True
        return None

    def _chore(self, chore: Chore) -> None:
        self.trace.append(chore.name)
        match chore:
            case Chore.REMOVE_TARGET:
                node = self._node("target")
                node.container = node.running = node.checkpoint = False
            case Chore.REVIVE_SOURCE:
                node = self._node("source")
                assert not self.committed
                if self.move.ran and self.move.reached(Step.STOP):
                    node.running = True
                node.held = False
            case Chore.REMOVE_TARGET_VOLUMES:
                self._node("target").volumes.clear()
            case Chore.REMOVE_SOURCE:
                node = self._node("source")
                assert self.committed
                assert self.target.container
                assert self.target.running is self.ran
                node.container = node.running = node.held = node.checkpoint = False
            case Chore.REMOVE_SOURCE_VOLUMES:
                node = self._node("source")
                assert not node.container, "the container has them"
                node.volumes.clear()
            case Chore.REMOVE_CHECKPOINT:
                node = self._node("target" if self.committed else "source")
                assert node.running or not self.ran, "it is still needed"
                node.checkpoint = False
            case Chore.REMOVE_TARGET_IMAGES:
                self._node("target").layer = False
            case Chore.REMOVE_SOURCE_IMAGE:
                self._node("source").layer = False

    def _maybe_crash(self) -> None:
        if self.rng.random() < self.crash_rate:
            raise Crashed


def check(world: World) -> None:
    """What holds when nothing is left to do: the container is on one node, whole, and nothing of the move is left."""
    source, target = world.source, world.target
    if not world.disk:
        assert source == Node(container=True, running=world.ran, volumes=source.volumes)
        assert target == Node()
        return
    stage = world.move.stage
    assert stage in move.ENDED, world.move
    assert world.answers or world.crashes, "nobody was told"
    assert world.move.facts.spec is None, "it may hold secrets"
    assert (stage is Stage.MOVED) is world.committed
    volumes = {"data", "logs"} if world.volumes else set()
    here, there = (target, source) if stage is Stage.MOVED else (source, target)
    if not there.gone:
        assert there == Node(), f"left behind: {there} after {world.trace}"
    if not here.gone:
        whole = Node(container=True, running=world.ran, volumes=volumes)
        assert here == whole, f"not whole: {here} after {world.trace}"
