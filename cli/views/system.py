"""Versions and information of the daemons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cli.views.values import rfc3339
from services.kit import units

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from beeyard.swarm.v1 import control_pb2 as control
    from beeyard.system.v1 import system_pb2 as pb

_COUNTS = {
    "CONTAINERS": "Containers",
    "CONTAINERS_RUNNING": "ContainersRunning",
    "CONTAINERS_PAUSED": "ContainersPaused",
    "CONTAINERS_STOPPED": "ContainersStopped",
    "IMAGES": "Images",
}
_TEXTS = {
    "STORAGE_DRIVER": "Driver",
    "LOG_DRIVER": "LoggingDriver",
    "CGROUP_VERSION": "CgroupVersion",
    "DEFAULT_RUNTIME": "DefaultRuntime",
}
"""Facts of the daemons, and docker's names for them."""


def component(version: pb.GetVersionResponse) -> dict[str, Any]:
    """Show the version of a daemon."""
    return {
        "Name": version.daemon,
        "Version": version.version,
        "Details": {
            "Apis": ", ".join(version.apis),
            "Arch": version.arch,
            "KernelVersion": version.kernel_version,
            "Os": version.os,
            "PythonVersion": version.python_version,
            **dict(sorted(version.components.items())),
        },
    }


def versions(client: Mapping[str, Any], servers: Sequence[Mapping[str, Any]]) -> str:
    """Show versions for people."""
    lines = [
        "Client:",
        f" Version:           {client['Version']}",
        f" Python version:    {client['PythonVersion']}",
        f" OS/Arch:           {client['Os']}/{client['Arch']}",
        f" Context:           {client['Context']}",
    ]
    if servers:
        lines += ["", "Server:"]
    for server in servers:
        details = server["Details"]
        lines += [
            f" {server['Name']}:",
            f"  Version:          {server['Version']}",
            f"  API:              {details['Apis']}",
            f"  Python version:   {details['PythonVersion']}",
            f"  OS/Arch:          {details['Os']}/{details['Arch']}",
            f"  Kernel version:   {details['KernelVersion']}",
        ]
        known = ("Apis", "PythonVersion", "Os", "Arch", "KernelVersion")
        lines += [f"  {name + ':':<17} {value}" for name, value in details.items() if name not in known]
    return "\n".join(lines)


def facts(info: pb.GetInfoResponse) -> dict[str, Any]:
    """Show what a daemon says of itself and its host, by the stable keys."""
    return {
        "Daemon": info.daemon,
        "StartedAt": rfc3339(info.started_at),
        "Name": info.hostname,
        "OperatingSystem": info.operating_system,
        "NCPU": info.cpus,
        "MemTotal": info.memory_bytes,
        "StateDir": info.state_dir,
        "Facts": {fact.key: fact.value for fact in info.facts},
        "Warnings": list(info.warnings),
    }


def host(infos: Sequence[pb.GetInfoResponse], version: pb.GetVersionResponse | None) -> dict[str, Any]:
    """Show the node under docker's names; what no daemon that answered knows is left out."""
    if not infos:
        return {}
    first = infos[0]
    known = {fact.key: fact.value for info in infos for fact in info.facts}
    directories = {info.daemon: info.state_dir for info in infos}
    shown: dict[str, Any] = {
        "Name": first.hostname,
        "OperatingSystem": first.operating_system,
        "OSType": "linux",
        "NCPU": first.cpus,
        "MemTotal": first.memory_bytes,
    }
    if version is not None:
        shown |= {
            "ServerVersion": version.version,
            "KernelVersion": version.kernel_version,
            "Architecture": version.arch,
        }
    shown |= {name: int(known[key]) for key, name in _COUNTS.items() if known.get(key, "").isdecimal()}
    shown |= {name: known[key] for key, name in _TEXTS.items() if key in known}
    if "RUNTIMES" in known:
        shown["Runtimes"] = {name: {"path": name} for name in known["RUNTIMES"].split()}
    if "SECURITY" in known:
        shown["SecurityOptions"] = [f"name={name}" for name in known["SECURITY"].split(", ")]
    if "containerd" in directories:
        # The parent of the daemons' directories: what docker calls its root.
        shown["DockerRootDir"] = directories["containerd"].rpartition("/")[0]
    return shown


def swarm(state: control.GetLocalStateResponse) -> dict[str, Any]:
    """Show the node's place in a swarm, with docker's names."""
    from beeyard.swarm.v1 import control_pb2
    from beeyard.swarm.v1 import objects_pb2 as objects

    name = control_pb2.LocalSwarmState.Name(state.state).removeprefix("LOCAL_SWARM_STATE_").lower()
    return {
        "NodeID": state.node_id,
        "NodeAddr": state.node_address,
        "LocalNodeState": "inactive" if name == "unspecified" else name,
        "ControlAvailable": state.role == objects.NODE_ROLE_MANAGER and name == "active",
        "Error": state.error,
        "RemoteManagers": [{"NodeID": peer.node_id, "Addr": peer.address} for peer in state.managers],
        "Cluster": {"ID": state.cluster_id},
        "Leader": state.leader_node_id,
        "RaftTerm": state.raft_term,
        "RaftApplied": state.raft_applied,
        "CertificateExpiresAt": rfc3339(state.certificate_expires_at),
    }


def information(
    client: Mapping[str, Any], infos: Sequence[pb.GetInfoResponse], place: Mapping[str, Any] | None
) -> str:
    """Show information for people."""
    lines = ["Client:", f" Version:    {client['Version']}", f" Context:    {client['Context']}"]
    if infos:
        first = infos[0]
        lines += [
            "",
            "Server:",
            f" Name: {first.hostname}",
            f" Operating System: {first.operating_system}",
            f" CPUs: {first.cpus}",
            f" Total Memory: {units.render_bytes_binary(first.memory_bytes)}",
        ]
    if place is not None:
        lines += [f" Swarm: {place['LocalNodeState']}"]
        if place["NodeID"]:
            lines += [
                f"  NodeID: {place['NodeID']}",
                f"  Is Manager: {'true' if place['ControlAvailable'] else 'false'}",
                f"  ClusterID: {place['Cluster']['ID']}",
                f"  Node Address: {place['NodeAddr']}",
                *([f"  Error: {place['Error']}"] if place["Error"] else []),
                *(["  Manager Addresses:"] if place["RemoteManagers"] else []),
                *(f"   {peer['Addr']}" for peer in place["RemoteManagers"]),
            ]
    for info in infos:
        lines += [f" {info.daemon}:", f"  State Directory: {info.state_dir}"]
        lines += [f"  {fact.label}: {_for_people(fact)}" for fact in info.facts]
    return "\n".join(lines)


def _for_people(fact: pb.InfoFact) -> str:
    """Write the value of a fact; sizes in units."""
    if fact.key.endswith("_BYTES") and fact.value.isdecimal():
        return units.render_bytes_binary(int(fact.value))
    return fact.value
