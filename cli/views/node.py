"""Nodes of a swarm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beeyard.swarm.v1 import objects_pb2 as objects
from cli.format.values import OpenMap
from cli.views.values import rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT = (
    "{{.ID}} {{if .Self}}*{{else}} {{end}}\t{{.Hostname}}\t{{.Status}}\t{{.Availability}}"
    "\t{{.ManagerStatus}}\t{{.EngineVersion}}"
)
HEADERS: Mapping[str, str] = {
    "ID": "ID",
    "Self": "",
    "Hostname": "HOSTNAME",
    "Status": "STATUS",
    "Availability": "AVAILABILITY",
    "ManagerStatus": "MANAGER STATUS",
    "EngineVersion": "ENGINE VERSION",
    "TLSStatus": "TLS STATUS",
}
_STATES = {
    objects.NODE_STATE_UNKNOWN: "unknown",
    objects.NODE_STATE_DOWN: "down",
    objects.NODE_STATE_READY: "ready",
    objects.NODE_STATE_DISCONNECTED: "disconnected",
}
_AVAILABILITIES = {
    objects.NODE_AVAILABILITY_UNSPECIFIED: "active",
    objects.NODE_AVAILABILITY_ACTIVE: "active",
    objects.NODE_AVAILABILITY_PAUSE: "pause",
    objects.NODE_AVAILABILITY_DRAIN: "drain",
}


def availability(node: objects.Node) -> str:
    """Name the availability: active, pause or drain."""
    return _AVAILABILITIES[node.spec.availability]


def state(node: objects.Node) -> str:
    """Name the state: ready, down, …"""
    return _STATES.get(node.status.state, "unknown")


def role(value: objects.NodeRole.ValueType) -> str:
    """Name a role: manager or worker."""
    return "manager" if value == objects.NODE_ROLE_MANAGER else "worker"


def name(node: objects.Node) -> str:
    """What lists call it: its own name, its host's, or its id."""
    return node.spec.annotations.name or node.description.hostname or node.id


def row(node: objects.Node, self_id: str) -> dict[str, Any]:
    """A row of `node ls`."""
    manager = ""
    if node.HasField("manager"):
        manager = (
            "Leader" if node.manager.leader else "Reachable" if node.manager.reachable else "Unreachable"
        )
    return {
        "ID": node.id,
        "Self": node.id == self_id,
        "Hostname": name(node),
        "Status": state(node).capitalize(),
        "Availability": availability(node).capitalize(),
        "ManagerStatus": manager,
        "EngineVersion": node.description.engine_version,
        "TLSStatus": "Ready",
    }


def inspect(node: objects.Node) -> dict[str, Any]:
    """A node as `node inspect` prints it."""
    view: dict[str, Any] = {
        "ID": node.id,
        "Version": {"Index": node.meta.version},
        "CreatedAt": rfc3339(node.meta.created_at),
        "UpdatedAt": rfc3339(node.meta.updated_at),
        "Spec": {
            "Name": node.spec.annotations.name,
            "Labels": OpenMap(node.spec.annotations.labels),
            "Role": role(node.spec.role),
            "Availability": availability(node),
        },
        "Role": role(node.role),
        "Description": {
            "Hostname": node.description.hostname,
            "Platform": {"Architecture": node.description.architecture, "OS": node.description.os},
            "Resources": {
                "NanoCPUs": node.description.resources.nano_cpus,
                "MemoryBytes": node.description.resources.memory_bytes,
                "GenericResources": dict(node.description.resources.generic),
            },
            "Engine": {
                "EngineVersion": node.description.engine_version,
                "Labels": OpenMap(node.description.engine_labels),
                "Plugins": list(node.description.plugins),
            },
            "Address": node.description.address,
        },
        "Status": {
            "State": state(node),
            "Message": node.status.message,
            "Addr": node.status.address,
            "Since": rfc3339(node.status.since),
        },
    }
    if node.HasField("manager"):
        view["ManagerStatus"] = {
            "Leader": node.manager.leader,
            "Reachability": "reachable" if node.manager.reachable else "unreachable",
            "Addr": node.manager.address,
        }
    return view


def pretty(node: objects.Node) -> str:
    """A node for people: `node inspect --pretty`."""
    view = inspect(node)
    lines = [
        f"ID:\t\t\t{node.id}",
        f"Hostname:\t\t{name(node)}",
        f"Joined at:\t\t{view['CreatedAt']}",
        "Status:",
        f" State:\t\t\t{state(node).capitalize()}",
        *([f" Message:\t\t{node.status.message}"] if node.status.message else []),
        f" Availability:\t\t{availability(node).capitalize()}",
        f" Address:\t\t{node.status.address}",
    ]
    if labels := view["Spec"]["Labels"]:
        lines.insert(1, "Labels:\n" + "\n".join(f" - {key}={value}" for key, value in sorted(labels.items())))
    if node.HasField("manager"):
        leader = "Yes" if node.manager.leader else "No"
        lines += [
            "Manager Status:",
            f" Address:\t\t{node.manager.address}",
            f" Raft Status:\t\t{'Reachable' if node.manager.reachable else 'Unreachable'}",
            f" Leader:\t\t{leader}",
        ]
    resources = node.description.resources
    lines += [
        "Platform:",
        f" Operating System:\t{node.description.os}",
        f" Architecture:\t\t{node.description.architecture}",
        "Resources:",
        f" CPUs:\t\t\t{resources.nano_cpus / 1e9:g}",
        f" Memory:\t\t{resources.memory_bytes / (1 << 30):.3f}GiB",
        "Engine:",
        f" Engine Version:\t{node.description.engine_version}",
    ]
    return "\n".join(lines).expandtabs(8)
