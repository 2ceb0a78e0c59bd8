"""What is: the observed side of a container, written by the daemon alone.

Two values say where a container is. `state` is what users see, Docker's seven words. `phase` says what the daemon holds
or is about to do, and is what recovery reads after a crash: it is written before the work that it announces, and
cleared after.

    phase      held                                   next
    preparing  a snapshot, perhaps                    idle, or the record goes
    idle       record, snapshot, logs: nothing live   starting, removing
    starting   any part of a run                      up, or cleaning
    up         a whole run                            cleaning
    cleaning   any part of a run                      idle
    removing   any part of what idle holds            gone, or idle and dead
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from services.containerd.model.idmap import IdMap
from services.containerd.model.image import ImageConfig
from services.containerd.model.mounts import MountPoint
from services.containerd.model.spec import ContainerSpec, HealthAction, PortBinding


class State(StrEnum):
    """What users see."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


class Phase(StrEnum):
    """What the daemon holds; see above."""

    PREPARING = "preparing"
    IDLE = "idle"
    STARTING = "starting"
    UP = "up"
    CLEANING = "cleaning"
    REMOVING = "removing"


LEGAL_MOVES: Mapping[State, frozenset[State]] = {
    State.CREATED: frozenset({State.RUNNING, State.REMOVING}),
    State.RUNNING: frozenset({State.PAUSED, State.RESTARTING, State.EXITED}),
    State.PAUSED: frozenset({State.RUNNING, State.RESTARTING, State.EXITED}),
    State.RESTARTING: frozenset({State.RUNNING, State.EXITED, State.REMOVING}),
    State.EXITED: frozenset({State.RUNNING, State.RESTARTING, State.REMOVING}),
    State.REMOVING: frozenset({State.DEAD}),
    State.DEAD: frozenset({State.REMOVING}),
}

LEGAL_PHASES: Mapping[State, frozenset[Phase]] = {
    State.CREATED: frozenset({Phase.PREPARING, Phase.IDLE, Phase.STARTING, Phase.CLEANING}),
    State.RUNNING: frozenset({Phase.UP}),
    State.PAUSED: frozenset({Phase.UP}),
    State.RESTARTING: frozenset({Phase.IDLE, Phase.STARTING, Phase.CLEANING}),
    State.EXITED: frozenset({Phase.IDLE, Phase.STARTING, Phase.CLEANING}),
    State.REMOVING: frozenset({Phase.REMOVING}),
    State.DEAD: frozenset({Phase.IDLE}),
}


def check_move(before: Status, after: Status) -> None:
    """Assert that a container may go from one status to the other: a breach is a fault of the automaton."""
    assert after.phase in LEGAL_PHASES[after.state], f"state {after.state} in phase {after.phase}"
    if before.state is not after.state:
        assert after.state in LEGAL_MOVES[before.state], f"illegal move {before.state} -> {after.state}"
    assert after.phase is not Phase.UP or after.run is not None, "up without a run"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRef:
    """A process that is still the same one: a pid alone may be reused."""

    pid: int
    start_ticks: int
    """Field 22 of /proc/PID/stat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStatus:
    """The container's place in one network."""

    id: str = ""
    network: str = ""
    network_id: str = ""
    ip: str = ""
    prefix_length: int = 0
    gateway: str = ""
    mac: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkStatus:
    """What netd gave the container."""

    netns_path: str = ""
    endpoints: tuple[EndpointStatus, ...] = ()
    ports: tuple[PortBinding, ...] = ()
    hosts_path: str = ""
    resolv_conf_path: str = ""
    hostname_path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One life of the container's process, from the runtime's create to the end."""

    init: ProcessRef
    conmon: ProcessRef
    boot_id: str = ""
    network: NetworkStatus | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A stop in progress: recorded before the signal, so that a restarted daemon finishes it."""

    signal: str
    deadline: datetime | None
    """When SIGKILL follows; None waits for ever."""
    by_health: HealthAction = HealthAction.NONE
    """What its health check has it stopped for; `none` if a user asked."""


class HealthState(StrEnum):
    """What the health check says."""

    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """One run of the check."""

    started_at: datetime
    ended_at: datetime
    exit_code: int
    """0 is healthy; -1: it did not end in time, or could not be run."""
    output: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How the check went so far. The log goes on from run to run; the rest starts over with each."""

    state: HealthState = HealthState.STARTING
    failing_streak: int = 0
    log: tuple[ProbeResult, ...] = ()
    """Newest last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Everything observed of a container."""

    state: State = State.CREATED
    phase: Phase = Phase.PREPARING
    runtime: str = ""
    """Name of the runtime that made, or is about to make, the current run: it alone can take it down."""
    ids: IdMap | None = None
    """Ids of the node that are the container's own, from its creation on; None for the node's (no user namespace)."""
    run: Run | None = None
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    restart_count: int = 0
    restart_delay_s: float = 0.0
    """The last delay of the restart policy, from which the next one grows."""
    restart_at: datetime | None = None
    stopped_by_user: bool = False
    stop: Stop | None = None
    health: Health | None = None
    """None without a check, and before the first start."""
    start_wanted: bool = False
    """Starts again as soon as nothing is held: the second half of a restart by the user."""
    remove_wanted: bool = False
    """Goes as soon as nothing is held: `rm -f`, or `--rm` after its end."""
    remove_volumes: bool = False
    checkpointing: bool = False
    """Its processes are being written down. Unless they are to run on, they end with that: a user has stopped them."""
    held_by: str = ""
    """Who carries it to another node: nobody else starts or removes it, no restart policy and no `--rm` either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is kept on disk of one container."""

    id: str
    name: str
    created_at: datetime
    spec: ContainerSpec = field(default_factory=ContainerSpec)
    image: ImageConfig = field(default_factory=ImageConfig)
    request_id: str = ""
    mounts: tuple[MountPoint, ...] = ()
    status: Status = Status()
