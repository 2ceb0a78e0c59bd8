"""What the automaton is told (events) and what it wants done (effects). Closed unions of plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from services.containerd.model.events import Action
    from services.containerd.model.spec import ContainerSpec, PortBinding
    from services.containerd.model.status import ProbeResult, Run, Status

Ask: TypeAlias = int
"""Names a call that waits for its answer."""


class Timer(StrEnum):
    """What a container may wait for; one of each at a time."""

    STOP_GRACE = "stop_grace"
    RESTART = "restart"
    RETRY = "retry"
    HEALTH = "health"


class Refusal(StrEnum):
    """Why an ask was not done; the shell makes the error of it."""

    RUNNING = "CONTAINER_RUNNING"
    NOT_RUNNING = "CONTAINER_NOT_RUNNING"
    PAUSED = "CONTAINER_PAUSED"
    ALREADY_PAUSED = "CONTAINER_ALREADY_PAUSED"
    NOT_PAUSED = "CONTAINER_NOT_PAUSED"
    REMOVING = "CONTAINER_REMOVING"
    DEAD = "CONTAINER_DEAD"
    START_FAILED = "START_FAILED"
    STOPPED = "CONTAINER_STOPPED"
    UNKILLABLE = "CONTAINER_UNKILLABLE"
    RUNTIME_FAILED = "RUNTIME_FAILED"
    CLEANUP_FAILED = "CLEANUP_FAILED"
    PREPARE_FAILED = "PREPARE_FAILED"
    REMOVE_FAILED = "REMOVE_FAILED"
    NO_HEALTHCHECK = "NO_HEALTHCHECK"
    HELD = "CONTAINER_HELD"
    CHECKPOINTING = "CONTAINER_CHECKPOINTING"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How some work failed. `error` is carried through for the one who asked; the automaton does not look at it."""

    message: str
    exit_code: int = 0
    """For a start: 125, 126, 127 or 128, as Docker's command line exits."""
    error: BaseException | None = field(default=None, compare=False)


# ------------------------------------------------------------------------------------------------------------ events


@dataclass(frozen=True, slots=True, kw_only=True)
class StartAsked:
    """Somebody wants it to run, from a checkpoint if its directory is given."""

    ask: Ask
    holder: str = ""
    checkpoint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAsked:
    """Somebody wants it to end in good order. A negative grace never kills."""

    ask: Ask
    signal: str
    grace_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartAsked:
    """Somebody wants it stopped, if it runs, and started."""

    ask: Ask
    signal: str
    grace_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KillAsked:
    """Somebody wants one signal sent. `final`: the signal is meant to end it."""

    ask: Ask
    signal: str
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseAsked:
    """Somebody wants it frozen."""

    ask: Ask


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpauseAsked:
    """Somebody wants it thawed."""

    ask: Ask


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveAsked:
    """Somebody wants it gone."""

    ask: Ask
    force: bool
    volumes: bool
    holder: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointAsked:
    """Somebody wants the state of its processes in a directory; they end with that unless they are to run on."""

    ask: Ask
    directory: str
    leave_running: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldAsked:
    """Somebody carries it to another node: nobody else is to start or remove it."""

    ask: Ask
    holder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseAsked:
    """The hold ends. `force`: whoever's it is."""

    ask: Ask
    holder: str
    force: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckAsked:
    """Somebody wants its health checked now."""

    ask: Ask


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecChanged:
    """Rename or update has written another record."""

    spec: ContainerSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PortsChanged:
    """Other ports of the run are published now: the record is to say so."""

    ask: Ask
    ports: tuple[PortBinding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAsked:
    """First event of every container: its record is written, nothing else exists."""

    ask: Ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The writable layer is there, or not."""

    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BroughtUp:
    """The runtime has created it: its init waits for the signal to execute the program."""

    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class BringUpFailed:
    """It could not be created; parts of a run may be left."""

    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignited:
    """The program executes, or its init was dead before: then an exit follows by itself."""

    run: Run
    """Of the `Ignite` that this answers: it may be over."""
    failure: Failure | None = None
    """The init lives and could not be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """The exit file appeared."""

    exit_code: int
    oom_killed: bool = False
    at: datetime | None = None
    """None: now."""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConmonLost:
    """conmon is gone and has left no exit file: nobody logs or reaps the container any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeDone:
    """Freezing or thawing has ended."""

    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpointed:
    """The checkpoint is made, or was not."""

    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanedUp:
    """Nothing of a run is left, or something resisted."""

    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """Nothing but the record is left, or something resisted."""

    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """The health check has run, or could not."""

    number: int
    """Of the `Probe` that this answers: a result may come when it does not count any more."""
    result: ProbeResult


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired:
    """A timer that was set has run out."""

    timer: Timer


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """First event after the daemon's restart: what recovery decided (`lifecycle.recover`)."""

    finding: Found


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is left of a container after the daemon was away, as far as decisions depend on it."""

    same_boot: bool = True
    exit: Exited | None = None
    conmon_alive: bool = False
    waiting_to_execute: bool = False
    """The start signal was not given yet: the exec fifo is still there."""
    frozen: bool = False
    remains: bool = False
    """Some directory, mount, cgroup or process of a run exists."""


Event: TypeAlias = (
    CreateAsked
    | StartAsked
    | StopAsked
    | RestartAsked
    | KillAsked
    | PauseAsked
    | UnpauseAsked
    | RemoveAsked
    | CheckpointAsked
    | HoldAsked
    | ReleaseAsked
    | CheckAsked
    | SpecChanged
    | PortsChanged
    | Prepared
    | BroughtUp
    | BringUpFailed
    | Ignited
    | Exited
    | ConmonLost
    | FreezeDone
    | Checkpointed
    | CleanedUp
    | Removed
    | Probed
    | TimerFired
    | Recovered
)


# ----------------------------------------------------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRecord:
    """Make this status durable. Everything after it in the list waits for that."""

    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRecord:
    """Forget the container. The last effect of its life."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """Make the writable layer; ends in `Prepared`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BringUp:
    """Acquire a run up to the runtime's create, or its restore; ends in `BroughtUp` or `BringUpFailed`."""

    checkpoint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Notice the end of this run; ends in `Exited` or `ConmonLost`."""

    run: Run
    start_cut: bool = False
    """The daemon that had begun it is gone, and with it the user for whose input it was begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignite:
    """Let the init execute the program; ends in `Ignited`."""

    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class SendSignal:
    """Send a signal to the init; one that is gone already is fine."""

    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """Freeze (or thaw) all processes; ends in `FreezeDone` if `answer`."""

    frozen: bool
    answer: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Write the state of its processes; ends in `Checkpointed`."""

    directory: str
    leave_running: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanUp:
    """Take down whatever is left of a run, its processes included; ends in `CleanedUp`. Idempotent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Remove the writable layer, logs and directories; ends in `Removed`. Idempotent."""

    volumes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Run the health check; ends in `Probed` unless it is cancelled. One at a time."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelProbe:
    """Put down the health check that runs, if one does, before anything that follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTimer:
    """Send `TimerFired` after the delay; replaces a timer of the same kind."""

    timer: Timer
    delay_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelTimer:
    """The timer does not fire any more."""

    timer: Timer


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """Tell the event stream."""

    action: Action
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Answer an ask: done, or refused."""

    ask: Ask
    refusal: Refusal | None = None
    failure: Failure | None = None


Effect: TypeAlias = (
    WriteRecord
    | DeleteRecord
    | Prepare
    | BringUp
    | Watch
    | Ignite
    | SendSignal
    | Freeze
    | Checkpoint
    | CleanUp
    | Remove
    | Probe
    | CancelProbe
    | SetTimer
    | CancelTimer
    | Publish
    | Reply
)
