"""The defaults of a service's spec, for those who want to see them. Stored specs keep what the user wrote. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1 import objects_pb2
from services.swarmd.orchestrator.core import policy
from services.swarmd.store.tables import copy_of

if TYPE_CHECKING:
    from collections.abc import Iterable


def normalised(spec: objects_pb2.ServiceSpec) -> objects_pb2.ServiceSpec:
    """Return a copy of a user's spec in the one form that is stored: a spec without a mode means one replica."""
    copy = objects_pb2.ServiceSpec()
    copy.CopyFrom(spec)
    if copy.mode.WhichOneof("mode") is None:
        copy.mode.replicated.replicas = 1
    return copy


def with_defaults(service: objects_pb2.Service) -> objects_pb2.Service:
    """Return a copy of a service whose spec says what applies where the user said nothing."""
    copy = copy_of(service)
    _fill_task(copy.spec.task)
    if copy.spec.mode.WhichOneof("mode") in {"replicated", "global"}:
        _fill_update(copy.spec.update, policy.update_policy(service.spec, rolling_back=False))
        _fill_update(copy.spec.rollback, policy.update_policy(service.spec, rolling_back=True))
    copy.spec.endpoint.mode = copy.spec.endpoint.mode or objects_pb2.ENDPOINT_MODE_VIP
    _fill_ports(copy.spec.endpoint.ports)
    return copy


def _fill_task(task: objects_pb2.TaskSpec) -> None:
    restart = policy.restart_policy(task, job=False)
    task.restart.condition = task.restart.condition or objects_pb2.TASK_RESTART_CONDITION_ANY
    task.restart.delay_ms = round(restart.delay_s * 1000)
    task.container.stop_grace_ms = round(policy.stop_grace_s(task) * 1000)
    task.pull_policy = task.pull_policy or "missing"


def _fill_update(config: objects_pb2.UpdateConfig, applies: policy.UpdatePolicy) -> None:
    config.parallelism = applies.parallelism
    config.failure_action = applies.on_failure
    config.monitor_ms = round(applies.monitor_s * 1000)
    config.order = config.order or objects_pb2.UPDATE_ORDER_STOP_FIRST
    config.progress_deadline_ms = round(applies.progress_deadline_s * 1000)


def _fill_ports(ports: Iterable[objects_pb2.PublishedPort]) -> None:
    for port in ports:
        port.protocol = port.protocol or "tcp"
        port.mode = port.mode or objects_pb2.PUBLISH_MODE_INGRESS
