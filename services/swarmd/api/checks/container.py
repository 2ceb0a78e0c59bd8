"""The container of a task: what is the swarm's to decide is refused, the rest is checked as far as a manager can."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from services.swarmd.api.checks import image, mounts, resources
from services.swarmd.api.checks.refusal import check_duration, check_labels, check_text, invalid, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from beeyard.container.v1 import spec_pb2

STOP_GRACE_MS_MAX = 24 * 3600 * 1000
HOSTNAME_CHARS_MAX = 253

_HOSTNAME_LABEL = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_SIGNAL = re.compile(r"(?:SIG)?[A-Z0-9+-]{1,16}|\d{1,3}", re.IGNORECASE)
_HEALTH_TEST_FORMS = frozenset({"NONE", "CMD", "CMD-SHELL"})


def check_container(field: str, spec: spec_pb2.ContainerSpec) -> None:
    """Check the container of a task."""
    image.check_reference(f"{field}.image", spec.image)
    _check_own(field, spec)
    for name, texts in (("entrypoint", spec.entrypoint), ("cmd", spec.cmd), ("groups", spec.groups)):
        for text in texts:
            check_text(f"{field}.{name}", text)
    _check_env(f"{field}.env", spec.env)
    check_text(f"{field}.user", spec.user)
    if spec.working_dir and not spec.working_dir.startswith("/"):
        raise invalid(f"{field}.working_dir", f"{shown(spec.working_dir)} is not an absolute path")
    check_text(f"{field}.working_dir", spec.working_dir)
    check_labels(f"{field}.labels", spec.labels)
    check_labels(f"{field}.annotations", spec.annotations)
    if spec.stop_signal and _SIGNAL.fullmatch(spec.stop_signal) is None:
        raise invalid(f"{field}.stop_signal", f"{shown(spec.stop_signal)} is not a signal")
    if not 0 <= spec.stop_grace_ms <= STOP_GRACE_MS_MAX:
        raise invalid(f"{field}.stop_grace_ms", f"{spec.stop_grace_ms} ms are not between nothing and a day")
    _check_health(f"{field}.health", spec.health)
    resources.check_limits(f"{field}.resources", spec.resources)
    mounts.check_mounts(f"{field}.mounts", spec.mounts)
    _check_network(f"{field}.network", spec.network)
    _check_security(f"{field}.security", spec.security)


def _check_own(field: str, spec: spec_pb2.ContainerSpec) -> None:
    """Refuse what the swarm itself decides for its tasks, or what needs another container on the same node."""
    if spec.name:
        raise invalid(f"{field}.name", "tasks are named by their service")
    if spec.auto_remove:
        raise invalid(f"{field}.auto_remove", "the swarm removes the containers of tasks")
    if spec.HasField("restart") and spec.restart.condition:
        raise invalid(f"{field}.restart", "tasks are restarted by the swarm: set the task's restart policy")
    if spec.volumes_from:
        raise invalid(f"{field}.volumes_from", "a task cannot take the volumes of another container")
    if spec.files:
        raise invalid(f"{field}.files", "use secrets or configs")


def _check_env(field: str, env: Iterable[str]) -> None:
    for entry in env:
        check_text(field, entry)
        if not entry.partition("=")[0]:
            raise invalid(field, f"{shown(entry)} has no name: write NAME=value")


def _check_health(field: str, health: spec_pb2.HealthCheck) -> None:
    test = list(health.test)
    if test and test[0] not in _HEALTH_TEST_FORMS:
        raise invalid(f"{field}.test", f"{shown(test[0])} is not one of NONE, CMD, CMD-SHELL")
    if test and (len(test) == 1) is not (test[0] == "NONE"):
        raise invalid(
            f"{field}.test",
            "the command of the check is missing" if len(test) == 1 else "NONE has no command",
        )
    for text in test:
        check_text(f"{field}.test", text)
    for name in ("interval_ms", "timeout_ms", "start_period_ms", "start_interval_ms"):
        check_duration(f"{field}.{name}", getattr(health, name))


def _check_network(field: str, network: spec_pb2.Network) -> None:
    check_text(f"{field}.mode", network.mode)
    if network.mode.startswith("container:"):
        raise invalid(f"{field}.mode", "a task cannot share the network of another container")
    if network.ports or network.publish_all:
        raise invalid(f"{field}.ports", "ports of a service are published by its endpoint")
    if network.links:
        raise invalid(f"{field}.links", "tasks find each other by the names of their services")
    if network.mac or any(endpoint.mac or endpoint.ip or endpoint.ip6 for endpoint in network.endpoints):
        raise invalid(field, "tasks cannot have fixed addresses: a service may have many of them")
    if network.hostname and not _is_hostname(network.hostname):
        raise invalid(f"{field}.hostname", f"{shown(network.hostname)} is not a host name")


def _check_security(field: str, security: spec_pb2.Security) -> None:
    for name in ("ipc", "pid", "uts", "cgroupns"):
        if getattr(security, name).startswith("container:"):
            raise invalid(f"{field}.{name}", "a task cannot share a namespace of another container")


def _is_hostname(hostname: str) -> bool:
    return len(hostname) <= HOSTNAME_CHARS_MAX and all(
        _HOSTNAME_LABEL.fullmatch(label) for label in hostname.split(".")
    )
