"""Refusing specifications that can never work, before anything is made. Pure.

What depends on the machine or on other containers is checked where it is looked up; what the API cannot even express
needs no check. Each message names the field as users know it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from services.containerd.model import durations, ports, tmpfs
from services.containerd.model.spec import ContainerSpec, MountKind, RestartMode
from services.kit import errors

if TYPE_CHECKING:
    from services.containerd.model.spec import Healthcheck, Mount, Network, PortBinding

ENV_MAX = 10_000
TEXT_BYTES_MAX = 1 << 20
LIST_MAX = 1_000
HEALTH_TEST_BYTES_MAX = 64 << 10
FILE_BYTES_MAX = 1 << 20
FILES_BYTES_MAX = 16 << 20
MODE_MAX = 0o7777

_HOSTNAME = re.compile(r"[a-zA-Z0-9_]([a-zA-Z0-9_.-]{0,62}[a-zA-Z0-9_])?")
_PROPAGATIONS = frozenset({"", "private", "rprivate", "shared", "rshared", "slave", "rslave"})
_BIND_RECURSIVE = frozenset({"", "enabled", "disabled", "writable", "readonly"})
_PROTOCOLS = frozenset({"", "tcp", "udp", "sctp"})
_MODES = frozenset({"", "host", "private"})
_IPC = _MODES | {"shareable", "none"}
_SYSCTL_PREFIXES = ("net.", "fs.mqueue.")
_SYSCTLS = frozenset(
    {
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shm_rmid_forced",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
    }
)


def check(spec: ContainerSpec) -> None:
    """Refuse a specification that contradicts itself.

    Raises:
        errors.Invalid: The first fault found (SPEC_INVALID).
        errors.Unsupported: Something that this version does not do.
    """
    _check_texts(spec)
    _check_lifecycle(spec)
    _check_network(spec.network)
    _check_mounts(spec)
    _check_security(spec)


def _check_texts(spec: ContainerSpec) -> None:
    if not spec.image:
        raise _invalid("no image is named")
    if len(spec.env) > ENV_MAX:
        raise _invalid(f"more than {ENV_MAX} environment variables")
    for entry in spec.env:
        if entry.startswith("=") or not entry:
            raise _invalid(f"invalid environment variable {entry[:80]!r}: it has no name")
    arguments = (*(spec.entrypoint or ()), *spec.command)
    pairs = [text for mapping in (spec.labels, spec.annotations) for item in mapping.items() for text in item]
    texts = (*arguments, *spec.env, *pairs, spec.user, spec.workdir)
    if any("\0" in text for text in texts):
        raise _invalid("a text holds a NUL byte")
    if sum(len(text.encode(errors="surrogateescape")) for text in texts) > TEXT_BYTES_MAX:
        raise _invalid(
            f"command line, environment and labels are larger than {TEXT_BYTES_MAX} bytes together"
        )
    if spec.workdir and not spec.workdir.startswith("/"):
        raise _invalid(f"the working directory {spec.workdir!r} is not an absolute path")


def _check_lifecycle(spec: ContainerSpec) -> None:
    policy = spec.restart
    if policy.retries_max and policy.mode is not RestartMode.ON_FAILURE:
        raise _invalid(f"a number of retries goes with on-failure, not with {policy.mode}")
    if spec.auto_remove and policy.mode is not RestartMode.NO:
        raise _invalid("automatic removal and a restart policy exclude each other")
    durations.check("the time to stop", spec.stop_grace_s or 0.0)
    if spec.health is not None:
        _check_health(spec.health)


def _check_health(health: Healthcheck) -> None:
    for what, seconds in (
        ("interval", health.interval_s),
        ("timeout", health.timeout_s),
        ("start period", health.start_period_s),
        ("start interval", health.start_interval_s),
    ):
        durations.check(f"the {what} of the health check", seconds)
    kind, words = health.test[:1], health.test[1:]
    if kind not in ((), ("NONE",), ("CMD",), ("CMD-SHELL",)):
        raise _invalid(f"unknown kind of health check {kind[0][:80]!r}: there are NONE, CMD and CMD-SHELL")
    if kind in (("CMD",), ("CMD-SHELL",)) and not any(words):
        raise _invalid("the health check has no command")
    if any("\0" in word for word in words):
        raise _invalid("the command of the health check holds a NUL byte")
    if sum(len(word.encode(errors="surrogateescape")) for word in words) > HEALTH_TEST_BYTES_MAX:
        raise _invalid(f"the command of the health check is longer than {HEALTH_TEST_BYTES_MAX} bytes")


def _check_network(network: Network) -> None:
    for what, name in (("host name", network.hostname), ("domain name", network.domainname)):
        if name and _HOSTNAME.fullmatch(name) is None:
            raise _invalid(
                f"invalid {what} {name[:80]!r}: at most 64 letters, digits, '_', '-' and '.', the last two inside only"
            )
    alone = network.mode in ("none", "host") or network.mode.startswith("container:")
    if alone and network.endpoints:
        raise _invalid(f"network mode {network.mode} cannot be combined with other networks")
    if network.mode.startswith("container:"):
        _check_shared(network)
    if any(endpoint.ip6 for endpoint in network.endpoints):
        raise errors.Unsupported("--ip6: the networks of this version have no IPv6", reason="NO_IPV6")
    if network.links:
        raise errors.Unsupported(
            "--link is not supported: give the other's address with --add-host instead", reason="NO_LINKS"
        )
    for port in network.ports:
        _check_port(port)
    for text in network.expose:
        ports.exposed(text)
    for entry in network.extra_hosts:
        if ":" not in entry:
            raise _invalid(f"invalid extra host {entry!r}: write it as name:address")


def _check_shared(network: Network) -> None:
    """Refuse what would be without effect: the other container has it."""
    for what, given in (
        ("ports", network.ports or network.publish_all or network.expose),
        ("the host name", network.hostname),
        ("name servers", network.dns),
        ("extra hosts", network.extra_hosts),
        ("the MAC address", network.mac),
    ):
        if given:
            raise _invalid(
                f"conflicting options: {what} and the network of another container, which has its own"
            )


def _check_port(port: PortBinding) -> None:
    first, last = port.container_port, port.container_port_end or port.container_port
    host_first, host_last = port.host_port, port.host_port_end or port.host_port
    if not (1 <= first <= last <= 65_535 and 0 <= host_first <= host_last <= 65_535):
        raise _invalid(f"invalid port {port.host_port}:{port.container_port}: ports are between 1 and 65535")
    if host_first and last != first and host_last - host_first != last - first:
        raise _invalid("the port ranges of node and container differ in length")
    if port.protocol not in _PROTOCOLS:
        raise _invalid(f"unknown protocol {port.protocol!r}: there are tcp, udp and sctp")


def _check_mounts(spec: ContainerSpec) -> None:
    if len(spec.mounts) > LIST_MAX or len(spec.files) > LIST_MAX:
        raise _invalid(f"more than {LIST_MAX} mounts or files")
    targets: set[str] = set()
    for mount in spec.mounts:
        _check_mount(mount)
        normal = _normal(mount.target)
        if normal in targets:
            raise _invalid(f"Duplicate mount point: {mount.target}")
        targets.add(normal)
    for file in spec.files:
        check_target(file.path)
        _check_mode(file.mode, file.path)
        if len(file.data or b"") > FILE_BYTES_MAX:
            raise _invalid(f"the file {file.path} is larger than {FILE_BYTES_MAX} bytes")
    if sum(len(file.data or b"") for file in spec.files) > FILES_BYTES_MAX:
        raise _invalid(f"the files are larger than {FILES_BYTES_MAX} bytes together")


def _check_mount(mount: Mount) -> None:
    check_target(mount.target)
    _check_mode(mount.tmpfs_mode, mount.target)
    if mount.kind is MountKind.IMAGE and not mount.source:
        raise _invalid(f"the mount at {mount.target} names no image")
    for subpath in (mount.volume_subpath, mount.image_subpath):
        _check_subpath(subpath)
    if mount.kind is MountKind.BIND and not mount.source.startswith("/"):
        raise _invalid(f"the bind source {mount.source!r} is not an absolute path")
    if mount.propagation not in _PROPAGATIONS:
        raise _invalid(f"unknown mount propagation {mount.propagation!r}")
    if mount.bind_recursive not in _BIND_RECURSIVE:
        raise _invalid(f"unknown value {mount.bind_recursive!r} of bind-recursive")
    if any("," in option or "\0" in option for option in mount.tmpfs_options):
        raise _invalid("a tmpfs option holds a comma")
    for option in mount.tmpfs_options:
        tmpfs.check(option)


def _check_mode(mode: int, where: str) -> None:
    if not 0 <= mode <= MODE_MAX:
        raise _invalid(f"invalid mode {mode:o} of {where}: it is between 0 and {MODE_MAX:o}")


def _check_subpath(subpath: str) -> None:
    """Links are the business of the one who resolves it; a path that leaves by its text is refused here."""
    if subpath.startswith("/") or "\0" in subpath or ".." in subpath.split("/"):
        raise _invalid(f"subpath must be a relative path within the volume: {subpath[:80]!r}")


def check_target(target: str) -> None:
    """Refuse a place at which nothing may be mounted.

    Raises:
        errors.Invalid: It is not absolute, is the root, or lies in /proc.
    """
    if not target.startswith("/") or "\0" in target or ".." in target.split("/"):
        raise _invalid(f"the mount target {target!r} is not an absolute path without '..'")
    normal = _normal(target)
    if normal == "/":
        raise _invalid("a mount cannot cover the whole root")
    if normal == "/proc" or normal.startswith("/proc/"):
        raise _invalid(f"the mount target {target} lies in /proc")


def _normal(target: str) -> str:
    # Not posixpath.normpath: it keeps two leading slashes.
    return "/" + "/".join(part for part in target.split("/") if part not in ("", "."))


def _check_security(spec: ContainerSpec) -> None:
    security = spec.security
    for kind, mode in security.modes.items():
        if mode not in (_IPC if kind == "ipc" else _MODES) and not mode.startswith("container:"):
            raise _invalid(f"unknown {kind} namespace mode {mode[:80]!r}")
        if mode == "container:":
            raise _invalid(f"the {kind} namespace mode {mode!r} names no container")
    if security.gpus:
        raise errors.Unsupported(
            "--gpus: no device driver for GPUs is there: give their devices with --device", reason="NO_GPUS"
        )
    for name in security.sysctls:
        _check_sysctl(name, spec)
    places = [("masked", path) for path in security.masked_paths]
    places += [("read-only", path) for path in security.read_only_paths]
    places += [("device", device.container_path or device.host_path) for device in security.devices]
    for what, path in places:
        if not path.startswith("/") or ".." in path.split("/"):
            raise _invalid(f"the {what} path {path[:80]!r} is not an absolute path without '..'")


def _check_sysctl(name: str, spec: ContainerSpec) -> None:
    """Refuse parameters of the whole machine: only those of the container's own namespaces are its to set."""
    if not (name.startswith(_SYSCTL_PREFIXES) or name in _SYSCTLS) or "/" in name or ".." in name:
        raise _invalid(f"sysctl {name} does not belong to a namespace of the container")
    if name.startswith("net.") and (
        spec.network.mode == "host" or spec.network.mode.startswith("container:")
    ):
        raise _invalid(f"sysctl {name} cannot be set: the network namespace is not the container's own")
    if not name.startswith("net.") and spec.security.ipc not in ("", "private", "shareable", "none"):
        raise _invalid(f"sysctl {name} cannot be set: the ipc namespace is not the container's own")


def _invalid(message: str) -> errors.Invalid:
    return errors.Invalid(message, reason="SPEC_INVALID")
