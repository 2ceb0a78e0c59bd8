"""Restart, update, mode and placement."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from beeyard.swarm.v1 import objects_pb2
from services.swarmd.api.checks.refusal import check_count, check_duration, check_enum, invalid, shown
from services.swarmd.scheduler.core import constraints

if TYPE_CHECKING:
    from collections.abc import Iterable

REPLICAS_MAX = 100_000

_SPREAD = re.compile(r"(?:node|engine)\.labels\.\S{1,256}", re.IGNORECASE)
_PLATFORM = re.compile(r"[a-z0-9_.-]{1,64}(?:/[a-z0-9_.-]{1,64}(?:/[a-z0-9_.-]{1,64})?)?", re.IGNORECASE)


def check_mode(field: str, mode: objects_pb2.ServiceMode) -> None:
    """Check how many tasks are asked for."""
    match mode.WhichOneof("mode"):
        case "replicated":
            check_count(f"{field}.replicated.replicas", mode.replicated.replicas, REPLICAS_MAX)
        case "replicated_job":
            job = mode.replicated_job
            check_count(f"{field}.replicated_job.max_concurrent", job.max_concurrent, REPLICAS_MAX)
            check_count(f"{field}.replicated_job.total_completions", job.total_completions, REPLICAS_MAX)
        case _:
            pass


def check_restart(field: str, restart: objects_pb2.TaskRestartPolicy) -> None:
    """Check what happens when a task ends."""
    check_enum(f"{field}.condition", restart.condition, objects_pb2.TaskRestartCondition.values())
    check_duration(f"{field}.delay_ms", restart.delay_ms)
    check_duration(f"{field}.window_ms", restart.window_ms)
    check_duration(f"{field}.backoff_max_ms", restart.backoff_max_ms)
    check_count(f"{field}.max_attempts", restart.max_attempts, 2**32)


def check_update(field: str, update: objects_pb2.UpdateConfig) -> None:
    """Check how tasks are replaced."""
    check_count(f"{field}.parallelism", update.parallelism)
    check_duration(f"{field}.delay_ms", update.delay_ms)
    check_duration(f"{field}.monitor_ms", update.monitor_ms)
    check_duration(f"{field}.progress_deadline_ms", update.progress_deadline_ms)
    check_enum(f"{field}.failure_action", update.failure_action, objects_pb2.UpdateFailureAction.values())
    check_enum(f"{field}.order", update.order, objects_pb2.UpdateOrder.values())
    ratio = update.max_failure_ratio
    if math.isnan(ratio) or not 0 <= ratio <= 1:
        raise invalid(f"{field}.max_failure_ratio", f"{ratio:g} is not in 0-1")


def check_placement(field: str, placement: objects_pb2.Placement) -> None:
    """Check where tasks may run."""
    constraints.parse_all(placement.constraints)
    _check_each(
        f"{field}.spread_over", placement.spread_over, _SPREAD, "node.labels.<name> or engine.labels.<name>"
    )
    _check_each(f"{field}.platforms", placement.platforms, _PLATFORM, "a platform such as linux/amd64")
    check_count(f"{field}.max_replicas_per_node", placement.max_replicas_per_node, REPLICAS_MAX)


def _check_each(field: str, texts: Iterable[str], pattern: re.Pattern[str], expected: str) -> None:
    for text in texts:
        if pattern.fullmatch(text) is None:
            raise invalid(field, f"{shown(text)} is not {expected}")
