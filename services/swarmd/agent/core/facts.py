"""What one step of a task is decided from: how far the task is by our own record, and how its container is."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from beeyard.swarm.v1 import objects_pb2

if TYPE_CHECKING:
    from datetime import datetime

State: TypeAlias = "objects_pb2.TaskState.ValueType"

ASSIGNED = objects_pb2.TASK_STATE_ASSIGNED
ACCEPTED = objects_pb2.TASK_STATE_ACCEPTED
PREPARING = objects_pb2.TASK_STATE_PREPARING
READY = objects_pb2.TASK_STATE_READY
STARTING = objects_pb2.TASK_STATE_STARTING
RUNNING = objects_pb2.TASK_STATE_RUNNING
COMPLETE = objects_pb2.TASK_STATE_COMPLETE
SHUTDOWN = objects_pb2.TASK_STATE_SHUTDOWN
FAILED = objects_pb2.TASK_STATE_FAILED
REJECTED = objects_pb2.TASK_STATE_REJECTED
REMOVE = objects_pb2.TASK_STATE_REMOVE


class Phase(enum.Enum):
    """Where a container is, as far as a task cares."""

    CREATED = "created"
    """Made, never started."""
    RUNNING = "running"
    """Its process lives, frozen or not."""
    EXITED = "exited"
    """Its process has ended."""


class Health(enum.Enum):
    """What the container's health check says."""

    NONE = "none"
    """It has no health check."""
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class StopCause(enum.Enum):
    """Why we stop a container: recorded before the stop, it tells what the exit that follows means."""

    NONE = ""
    ASKED = "asked"
    """The task is not wanted any longer."""
    UNHEALTHY = "unhealthy"
    """Its health check failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A published port as bound on this node."""

    protocol: str
    target_port: int
    published_port: int
    host_mode: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """How a task's container is."""

    id: str
    phase: Phase
    pid: int = 0
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    """Why it could not start, by the engine's account."""
    health: Health = Health.NONE
    health_output: str = ""
    """What the last failed check said."""
    addresses: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a task is: the record that is on disk before anything is done that rests on it."""

    state: State
    since: datetime
    message: str = ""
    error: str = ""
    stop_cause: StopCause = StopCause.NONE
    container: Container | None = None
    """The container as it was when the state was recorded; ports, addresses and exit code are reported from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything that the next step of one task depends on."""

    desired: State
    progress: Progress
    container: Container | None
    """The task's container; None if it has none."""
    containers_known: bool
    """Whether `container` is true now: false from the start until containerd was asked, and while it is away."""
    removed: bool = False
    """The swarm has forgotten the task."""
    missing: tuple[str, ...] = ()
    """Secrets and configs that the task uses and that have not arrived."""
    refusal: str = ""
    """Why this node cannot run the task at all; empty if it can."""
    pull_first: bool = False
    """The image is to be looked for outside of the node before the container is made."""
