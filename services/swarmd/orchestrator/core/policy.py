"""What a service's spec says about restarts and updates, with the defaults filled in. Pure.

Stored specs keep what the user wrote; the defaults apply where the spec is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from beeyard.swarm.v1 import objects_pb2

if TYPE_CHECKING:
    from beeyard.swarm.v1.objects_pb2 import Cluster, Service, ServiceSpec, TaskSpec

RESTART_DELAY_S = 5.0
UPDATE_PARALLELISM = 1
UPDATE_MONITOR_S = 5.0
PROGRESS_DEADLINE_S = 600.0
STOP_GRACE_S = 10.0
HISTORY_LIMIT = 5
WINDOW_ATTEMPTS_MAX = 1000
"""More restarts than this are not counted in a window: each is remembered with its time."""

_CONDITION_ANY = objects_pb2.TASK_RESTART_CONDITION_ANY
_CONDITION_ON_FAILURE = objects_pb2.TASK_RESTART_CONDITION_ON_FAILURE
_CONDITION_NONE = objects_pb2.TASK_RESTART_CONDITION_NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """What happens when a task ends by itself.

    Attributes:
        never: It is not replaced.
        only_failures: It is replaced unless it completed.
        delay_s: From its end to the start of the next one.
        attempts_max: How often a slot is restarted under one spec; 0 is without limit.
        window_s: Only restarts of this last while count against `attempts_max`; 0 is all.
        backoff_max_s: The delay doubles with each failure in a row up to this; 0 leaves it as it is.
    """

    never: bool
    only_failures: bool
    delay_s: float
    attempts_max: int
    window_s: float
    backoff_max_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePolicy:
    """How tasks are replaced.

    Attributes:
        parallelism: Slots at once; 0 is all.
        delay_s: From the moment a new task runs until its place among the slots at once is free.
        on_failure: An `UpdateFailureAction`, never UNSPECIFIED.
        monitor_s: A new task that ends within this time has failed.
        failure_ratio_max: Share of failures that is tolerated.
        start_first: The new task runs before the old one ends.
        progress_deadline_s: A new task that does not run within this time has failed.
    """

    parallelism: int
    delay_s: float
    on_failure: objects_pb2.UpdateFailureAction.ValueType
    monitor_s: float
    failure_ratio_max: float
    start_first: bool
    progress_deadline_s: float


def restart_policy(spec: TaskSpec, *, job: bool) -> RestartPolicy:
    """Return the restart policy of tasks; those of jobs never run again once they have completed."""
    restart = spec.restart
    condition = restart.condition or _CONDITION_ANY
    return RestartPolicy(
        never=condition == _CONDITION_NONE,
        only_failures=condition == _CONDITION_ON_FAILURE or (job and condition == _CONDITION_ANY),
        delay_s=restart.delay_ms / 1000 if restart.HasField("delay_ms") else RESTART_DELAY_S,
        attempts_max=min(restart.max_attempts, WINDOW_ATTEMPTS_MAX)
        if restart.window_ms
        else restart.max_attempts,
        window_s=restart.window_ms / 1000,
        backoff_max_s=restart.backoff_max_ms / 1000,
    )


def update_policy(spec: ServiceSpec, *, rolling_back: bool) -> UpdatePolicy:
    """Return the policy of updates, or of rollbacks."""
    config = spec.rollback if rolling_back else spec.update
    return UpdatePolicy(
        parallelism=config.parallelism if config.HasField("parallelism") else UPDATE_PARALLELISM,
        delay_s=config.delay_ms / 1000,
        on_failure=config.failure_action or objects_pb2.UPDATE_FAILURE_ACTION_PAUSE,
        monitor_s=config.monitor_ms / 1000 if config.HasField("monitor_ms") else UPDATE_MONITOR_S,
        failure_ratio_max=config.max_failure_ratio,
        start_first=config.order == objects_pb2.UPDATE_ORDER_START_FIRST,
        progress_deadline_s=config.progress_deadline_ms / 1000 or PROGRESS_DEADLINE_S,
    )


def stop_grace_s(spec: TaskSpec) -> float:
    """Return how long a task may take to end after it was asked to."""
    container = spec.container
    return container.stop_grace_ms / 1000 if container.HasField("stop_grace_ms") else STOP_GRACE_S


def history_limit(cluster: Cluster | None) -> int | None:
    """Return how many tasks are kept for each slot; None is all."""
    if cluster is None or not cluster.spec.HasField("task_history_limit"):
        return HISTORY_LIMIT
    limit = cluster.spec.task_history_limit
    return None if limit < 0 else limit


def is_job(service: Service) -> bool:
    """Say whether the tasks of a service are meant to end."""
    return service.spec.mode.WhichOneof("mode") in {"replicated_job", "global_job"}
