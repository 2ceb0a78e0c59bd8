"""A move as it is recorded: what is wanted, how far it is, and what it has made that may have to go again."""

from __future__ import annotations

import dataclasses
import enum


class Step(enum.Enum):
    """What brings the container over, in this order. All of it can be taken back."""

    HOLD = "hold"
    SEND_IMAGE = "send image"
    STOP = "stop"
    CHECKPOINT = "checkpoint"
    COMMIT = "commit"
    SEND_LAYER = "send layer"
    SEND_VOLUMES = "send volumes"
    CREATE = "create"
    SEND_CHECKPOINT = "send checkpoint"
    START = "start"


ORDER = tuple(Step)


class Chore(enum.Enum):
    """What is left to do when it is decided where the container stays. Each may be done twice."""

    REMOVE_TARGET = "remove the container from its new node"
    REVIVE_SOURCE = "start the container on its old node again, and let go of it"
    REMOVE_TARGET_VOLUMES = "remove the volumes from its new node"
    REMOVE_SOURCE = "remove the container from its old node"
    REMOVE_SOURCE_VOLUMES = "remove the volumes from its old node"
    REMOVE_CHECKPOINT = "remove the checkpoint from which it goes on"
    REMOVE_TARGET_IMAGES = "remove the names of its images from its new node"
    REMOVE_SOURCE_IMAGE = "remove the image of its layer from its old node"


class Stage(enum.Enum):
    """Where a move is."""

    MOVING = "moving"
    """The container belongs to its old node: whatever happens now, it stays there."""
    UNDOING = "undoing"
    CLEANING = "cleaning"
    """The container belongs to its new node."""
    UNDONE = "undone"
    MOVED = "moved"


ENDED = frozenset({Stage.UNDONE, Stage.MOVED})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a step, and with it the move, failed."""

    message: str
    reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMount:
    """A volume in the container."""

    name: str
    target: str
    read_only: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is moved where. Does not change."""

    move_id: str
    request_id: str
    container_id: str
    name: str
    source: str
    """Id of the node that it is on."""
    target: str
    """Id of the node that it goes to."""
    base_digest: str
    """Of the manifest of its image."""
    base_image_id: str
    volumes: tuple[str, ...] = ()
    """Names of those that go with it."""
    volume_mounts: tuple[VolumeMount, ...] = ()
    """Where it has them."""
    new_volumes: tuple[str, ...] = ()
    """Names of all that are made on its new node: those that go with it, or else empty ones."""
    checkpoint: bool = False
    grace_ms: int | None = None
    begun_at: float = 0.0
    """Seconds since 1970."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What steps have found out. Later facts are put over earlier ones; None is "nothing new"."""

    running: bool | None = None
    """Whether it ran: then it is started where it ends up."""
    spec: bytes | None = None
    """beeyard.container.v1.ContainerSpec, without the content of its files."""
    layer_digest: str | None = None
    """Of the manifest of the image with its writable layer."""
    layer_image_id: str | None = None
    target_container_id: str | None = None

    def over(self, earlier: Facts) -> Facts:
        """Return all that is known."""
        names = (field.name for field in dataclasses.fields(self))
        new = {name: value for name in names if (value := getattr(self, name)) is not None}
        return dataclasses.replace(earlier, **new)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One move."""

    wanted: Wanted
    stage: Stage = Stage.MOVING
    step: Step = Step.HOLD
    """The last that was begun: it may be done, half done, or not."""
    facts: Facts = Facts()
    failure: Failure | None = None
    owed: tuple[Chore, ...] = ()
    """Chores of this round, in order."""
    put_off: tuple[Chore, ...] = ()
    """Those that did not succeed in it."""
    rounds: int = 0
    """Rounds that are over."""
    notes: tuple[str, ...] = ()
    """What people should know of its end."""

    @property
    def ran(self) -> bool:
        """Whether it ran when the move began."""
        return bool(self.facts.running)

    def reached(self, step: Step) -> bool:
        """Return whether a step was begun."""
        return ORDER.index(step) <= ORDER.index(self.step)
