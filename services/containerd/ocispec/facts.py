"""What the pure builder is told about the machine and about what the shell has put in place for one container."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.containerd.model.idmap import IdMap
    from services.containerd.model.spec import Mount

Section: TypeAlias = dict[str, object]
"""A piece of JSON under construction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """The machine, as far as a container's configuration depends on it. Read once at the daemon's start."""

    architecture: str = "amd64"
    """In Go's names."""
    kernel: tuple[int, int] = (6, 1)
    cgroup_version: int = 2
    """1 also for the hybrid layout, where the controllers are on v1."""
    capabilities: frozenset[str] = frozenset()
    """The daemon's own: no container can get more."""
    hard_limits: Mapping[str, int] = field(default_factory=dict)
    """Hard rlimits of the daemon by lower-case name, -1 for unlimited; empty if it may raise them."""
    swap_limit: bool = True
    """Whether memory and swap can be limited together."""
    apparmor: bool = False
    apparmor_default: str = ""
    """Profile of containers that ask for none; empty where there is none."""
    cpu_realtime: bool = True
    """Whether control groups divide real-time processor time."""
    oom_score_adj_min: int = -1000
    """What a process of ours can have at least: without CAP_SYS_RESOURCE no less than the daemon."""
    cpus: int = 1
    cpus_online: str = ""
    """As the kernel lists them, such as "0-3,6"; empty where it is not known."""
    memory_nodes_online: str = ""
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who the process is, resolved against the root file system's /etc/passwd and /etc/group."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceNode:
    """A device of the host as it is to appear in the container."""

    path: str
    kind: str
    """c or b."""
    major: int
    minor: int
    mode: int = 0o666
    uid: int = 0
    gid: int = 0
    permissions: str = "rwm"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundFile:
    """Something of the host that is bound into the container; `source` is a host path that exists."""

    source: str
    target: str
    read_only: bool = False
    propagation: str = "rprivate"
    recursive: bool = True
    read_only_recursive: bool = False
    must_be_recursive: bool = False
    """A kernel that cannot make it read-only with all below it must refuse it."""
    kept_flags: tuple[str, ...] = ()
    """Restrictions of the mount that it comes from, such as nosuid: a user namespace may not leave them out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seccomp:
    """A resolved filter: as the specification's object, and compiled for runtimes that take it so."""

    section: Section
    bpf_base64: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What the shell has acquired for this run of the container."""

    container_id: str
    rootfs: str
    cgroup_path: str
    identity: Identity = Identity()
    netns_path: str | None = None
    """None shares the daemon's network namespace; empty asks for a new, empty one."""
    user_namespace_path: str = ""
    """Empty stays in the node's user namespace."""
    ids: IdMap | None = None
    """Of that namespace."""
    shared_namespaces: Mapping[str, str] = field(default_factory=dict)
    """Namespace kind (pid, ipc, uts, cgroup) to the path of another container's; the node's are left out."""
    hosts_path: str = ""
    resolv_conf_path: str = ""
    hostname_path: str = ""
    hostname: str = ""
    init_path: str = ""
    binds: tuple[BoundFile, ...] = ()
    tmpfs: tuple[Mount, ...] = ()
    shared_memory_path: str = ""
    """Directory of the host that is /dev/shm; empty makes one of its own."""
    devices: tuple[DeviceNode, ...] = ()
    block_numbers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Path of a block device to its major and minor number, for block I/O limits."""
    seccomp: Seccomp | None = None
    """None runs without a filter."""
