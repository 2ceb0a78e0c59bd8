"""What the user asked for. Written once at creation, changed by Rename and Update only, never by the daemon.

Every field has the default that Docker has, so that a record written before a field existed still reads. Values are
those of the user, not resolved: what an image adds is kept apart (`model.image`) and merged by `ocispec`. Zero and
empty mean "not asked for" unless the field says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

STOP_GRACE_DEFAULT_S = 10.0
SHM_SIZE_DEFAULT_BYTES = 64 << 20


class RestartMode(StrEnum):
    """When a container that ended by itself is started again."""

    NO = "no"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"
    UNLESS_STOPPED = "unless-stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """`--restart`."""

    mode: RestartMode = RestartMode.NO
    retries_max: int = 0
    """For on-failure: give up after so many restarts; 0 never gives up."""


class MountKind(StrEnum):
    """What stands behind a mount."""

    BIND = "bind"
    VOLUME = "volume"
    TMPFS = "tmpfs"
    IMAGE = "image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """`--mount`, `-v` or `--tmpfs`."""

    kind: MountKind
    target: str
    source: str = ""
    """Host path of a bind, name of a volume (empty: anonymous), reference of an image; unused for a tmpfs."""
    read_only: bool = False
    propagation: str = ""
    """private, rprivate, shared, rshared, slave or rslave; empty is rprivate."""
    bind_recursive: str = ""
    """enabled, disabled, writable or readonly; empty is enabled."""
    bind_create_source: bool = False
    volume_no_copy: bool = False
    volume_subpath: str = ""
    volume_labels: Mapping[str, str] = field(default_factory=dict)
    volume_driver: str = ""
    volume_options: Mapping[str, str] = field(default_factory=dict)
    image_subpath: str = ""
    tmpfs_size_bytes: int = 0
    tmpfs_mode: int = 0
    """Permission bits; 0 is 01777."""
    tmpfs_options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineFile:
    """A small file given with the specification: a secret or config of a service."""

    path: str
    data: bytes | None = b""
    """None: it is kept apart from the record, or was and is gone (see `records.contents`)."""
    uid: int = 0
    gid: int = 0
    mode: int = 0o444


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """`--device`."""

    host_path: str
    container_path: str = ""
    permissions: str = "rwm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ulimit:
    """`--ulimit name=soft:hard`; -1 is unlimited."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLimit:
    """A weight or rate of one block device: `--device-read-bps` and its kin."""

    path: str
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Limits."""

    memory_bytes: int = 0
    memory_reservation_bytes: int = 0
    memory_swap_bytes: int = 0
    """Memory and swap together, as Docker counts; 0 is twice the memory, -1 is unlimited."""
    memory_swappiness: int | None = None
    """0 to 100; None leaves the kernel's."""
    oom_kill_disable: bool = False
    oom_score_adj: int = 0
    nano_cpus: int = 0
    cpu_shares: int = 0
    cpu_period_us: int = 0
    cpu_quota_us: int = 0
    cpu_rt_period_us: int = 0
    cpu_rt_runtime_us: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_max: int = 0
    """-1 and 0 are unlimited."""
    blkio_weight: int = 0
    blkio_weight_device: tuple[DeviceLimit, ...] = ()
    device_read_bps: tuple[DeviceLimit, ...] = ()
    device_write_bps: tuple[DeviceLimit, ...] = ()
    device_read_iops: tuple[DeviceLimit, ...] = ()
    device_write_iops: tuple[DeviceLimit, ...] = ()
    ulimits: tuple[Ulimit, ...] = ()
    shm_bytes: int = 0
    """Size of /dev/shm; 0 is 64 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """What the container's processes may do, and which namespaces they have to themselves."""

    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    no_new_privileges: bool = False
    read_only_root: bool = False
    seccomp: str = ""
    """Empty for the default profile, "unconfined", or the profile's JSON itself."""
    apparmor: str = ""
    selinux: tuple[str, ...] = ()
    systempaths_unconfined: bool = False
    masked_paths: tuple[str, ...] = ()
    """In addition to the default ones."""
    read_only_paths: tuple[str, ...] = ()
    """In addition to the default ones."""
    ipc: str = ""
    pid: str = ""
    uts: str = ""
    cgroupns: str = ""
    userns: str = ""
    devices: tuple[Device, ...] = ()
    device_cgroup_rules: tuple[str, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    gpus: tuple[str, ...] = ()

    @property
    def modes(self) -> dict[str, str]:
        """How it has the namespaces that can be another container's, besides the network, by the kernel's names."""
        return {"pid": self.pid, "ipc": self.ipc, "uts": self.uts, "cgroup": self.cgroupns}

    @property
    def own_uts(self) -> bool:
        """Whether the host name is the container's to set."""
        return self.uts in ("", "private")


@dataclass(frozen=True, slots=True, kw_only=True)
class PortBinding:
    """`-p`: one published port, or a range of equal length on both sides."""

    container_port: int
    container_port_end: int = 0
    """0 is the same as `container_port`."""
    host_ip: str = ""
    host_port: int = 0
    """0 lets netd choose."""
    host_port_end: int = 0
    protocol: str = ""
    """tcp (also when empty), udp or sctp."""
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One network that the container joins."""

    network: str
    aliases: tuple[str, ...] = ()
    ip: str = ""
    ip6: str = ""
    mac: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    gateway_priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How the container is named and reached, and what it reaches."""

    mode: str = ""
    """"bridge" (also when empty), "none", "host", "container:<id>", or the name of a network."""
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[PortBinding, ...] = ()
    publish_all: bool = False
    expose: tuple[str, ...] = ()
    hostname: str = ""
    domainname: str = ""
    dns: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    """`name:address`."""
    mac: str = ""
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """`--log-driver` and `--log-opt`; see `logs.options` for what the options mean."""

    driver: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


class HealthAction(StrEnum):
    """What happens to a container that turned unhealthy."""

    NONE = "none"
    RESTART = "restart"
    KILL = "kill"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck:
    """`--health-*`; an empty test inherits the image's, ("NONE",) turns it off. 0 is Docker's default."""

    test: tuple[str, ...] = ()
    interval_s: float = 0.0
    timeout_s: float = 0.0
    start_period_s: float = 0.0
    start_interval_s: float = 0.0
    retries: int = 0
    on_failure: HealthAction = HealthAction.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """Everything that was asked for a container, except its name and id, which belong to the record."""

    image: str = ""
    """Reference or id as the user wrote it."""
    entrypoint: tuple[str, ...] | None = None
    """None keeps the image's; an empty tuple clears it."""
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    """`NAME=value`; a bare NAME removes what the image sets."""
    user: str = ""
    groups: tuple[str, ...] = ()
    workdir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    tty: bool = False
    stdin_open: bool = False
    stdin_once: bool = False
    """Stdin ends when its first client leaves: `run -i` in the foreground."""
    attach_stdout: bool = False
    """Who made it was going to attach to it; only shown, as the next."""
    attach_stderr: bool = False
    auto_remove: bool = False
    init: bool = False
    stop_signal: str = ""
    stop_grace_s: float | None = None
    restart: RestartPolicy = RestartPolicy()
    health: Healthcheck | None = None
    resources: Resources = Resources()
    network: Network = Network()
    mounts: tuple[Mount, ...] = ()
    volumes_from: tuple[str, ...] = ()
    security: Security = Security()
    log: LogConfig = LogConfig()
    runtime: str = ""
    cgroup_parent: str = ""
    platform: str = ""
    storage_options: Mapping[str, str] = field(default_factory=dict)
    files: tuple[InlineFile, ...] = ()
