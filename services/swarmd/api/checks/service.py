"""A service's spec as a whole, and what may change in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.kit import errors
from services.kit.units import render_bytes_binary
from services.swarmd.api.checks import container, mounts, names, policies, ports, resources
from services.swarmd.api.checks.refusal import check_text, invalid, shown
from services.swarmd.store.refusals import TRANSACTION_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from beeyard.swarm.v1 import objects_pb2

SPEC_BYTES_MAX = TRANSACTION_BYTES_MAX // 2 - (32 << 10)
"""A service keeps its spec and the one before, and both go into one transaction of the store."""
SECRETS_DIRECTORY = "/run/secrets"
CONFIGS_DIRECTORY = "/"

_JOBS = frozenset({"replicated_job", "global_job"})
_PULL_POLICIES = frozenset({"", "missing", "always", "never"})
_NODE_NETWORKS = frozenset({"bridge", "host", "none"})


def check_size(size_bytes: int) -> None:
    """Refuse a spec that is larger than the store takes, before anything else is read in it."""
    if size_bytes > SPEC_BYTES_MAX:
        raise errors.Exhausted(
            f"the spec of the service is of {render_bytes_binary(size_bytes)}, more than the"
            f" {render_bytes_binary(SPEC_BYTES_MAX)} that the swarm's store takes: put large contents into configs,"
            " volumes or the image",
            reason="SPEC_TOO_LARGE",
            metadata={"size_bytes": str(size_bytes), "size_bytes_max": str(SPEC_BYTES_MAX)},
        )


def check_spec(spec: objects_pb2.ServiceSpec) -> None:
    """Check all that can be checked without knowing the rest of the swarm.

    Raises:
        errors.Invalid: SPEC_INVALID or CONSTRAINT_INVALID, with the path of the field.
        errors.Exhausted: SPEC_TOO_LARGE.
    """
    check_size(spec.ByteSize())
    names.check_annotations("annotations", spec.annotations)
    policies.check_mode("mode", spec.mode)
    _check_task("task", spec.task)
    ports.check_endpoint("endpoint", spec.endpoint)
    for name in ("update", "rollback"):
        if spec.HasField(name):
            if spec.mode.WhichOneof("mode") in _JOBS:
                raise invalid(name, "jobs are not updated task by task: they start anew")
            policies.check_update(name, getattr(spec, name))


def check_change(old: objects_pb2.ServiceSpec, new: objects_pb2.ServiceSpec) -> None:
    """Check that an update changes nothing that is fixed for the life of a service."""
    if old.annotations.name != new.annotations.name:
        raise invalid(
            "annotations.name",
            f"services cannot be renamed: {shown(old.annotations.name)} to {shown(new.annotations.name)}",
        )
    modes = tuple(spec.mode.WhichOneof("mode") or "replicated" for spec in (old, new))
    if modes[0] != modes[1]:
        raise errors.Invalid(
            f"service mode change is not allowed: {modes[0]} to {modes[1]}. Remove the service and create it anew",
            reason="MODE_CHANGE",
        )


def _check_task(field: str, task: objects_pb2.TaskSpec) -> None:
    container.check_container(f"{field}.container", task.container)
    resources.check_reservations(f"{field}.reservations", task.reservations)
    policies.check_restart(f"{field}.restart", task.restart)
    policies.check_placement(f"{field}.placement", task.placement)
    targets: set[str] = set()
    mounts.check_references(f"{field}.secrets", task.secrets, SECRETS_DIRECTORY, targets)
    mounts.check_references(f"{field}.configs", task.configs, CONFIGS_DIRECTORY, targets)
    _check_networks(f"{field}.networks", task.networks)
    if task.pull_policy not in _PULL_POLICIES:
        raise invalid(
            f"{field}.pull_policy", f"{shown(task.pull_policy)} is not one of missing, always, never"
        )
    check_text(f"{field}.registry_auth", task.registry_auth)


def _check_networks(field: str, attachments: Iterable[objects_pb2.NetworkAttachment]) -> None:
    seen: set[str] = set()
    for attachment in attachments:
        target = attachment.target
        if not target:
            raise invalid(field, "a network has no name")
        if target in _NODE_NETWORKS:
            raise invalid(
                field, f"{target} is a network of each node: ask for it with task.container.network.mode"
            )
        if target in seen:
            raise invalid(field, f"duplicate network {shown(target)}")
        seen.add(target)
