"""The settings of containerd (`/etc/beeyard/containerd.toml`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from services.containerd.userns import choice, ranges
from services.kit import config, errors, units

_CGROUP_PARENT = re.compile(r"[a-zA-Z0-9_.-]+(/[a-zA-Z0-9_.-]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerdConfig(config.DaemonConfig):
    """See the fields."""

    runtime: str = "auto"
    """The OCI runtime of containers that name none: "auto" (crun where it works, else runc), a name or a path."""
    conmon: str = "/usr/bin/conmon"
    """The program that holds each container's streams."""
    cgroup_parent: str = "beeyard"
    """The control group, from the root of each hierarchy, below which every container has its own."""
    cgroup_favordynmods: Literal["auto", "off"] = "auto"
    """Whether to switch on quick moves into control groups, which last until reboot on some kernels."""
    seccomp_profile: Path = Path("/usr/share/containers/seccomp.json")
    """The default profile, in the containers-common format."""
    userns: str = "host"
    """The user namespace of containers that do not say: "host" for none, "auto", "auto:size=N" or "remap"."""
    userns_range: str = ""
    """Ids of users and groups for containers with user namespaces, "1000000-2147483647"; empty asks `userns_user`."""
    userns_user: str = "beeyard"
    """Whose lines in /etc/subuid and /etc/subgid give those ids."""
    init_path: str = ""
    """The static init of `--init`; empty looks in the usual places."""
    criu_path: str = ""
    """The program CRIU, for checkpoints; empty looks in the usual places."""
    log_max_size: str = "10m"
    """A log file that has grown past this is rotated, unless the container says otherwise; "0" never."""
    log_max_files: int = 5
    """How many log files a container keeps, unless it says otherwise."""

    def __post_init__(self) -> None:
        if _CGROUP_PARENT.fullmatch(self.cgroup_parent) is None or ".." in self.cgroup_parent:
            raise errors.Invalid(
                f"cgroup_parent {self.cgroup_parent!r} is not a path of plain names",
                metadata={"key": "cgroup_parent"},
            )
        if not 1 <= self.log_max_files <= 1000:
            raise errors.Invalid("log_max_files is not between 1 and 1000", metadata={"key": "log_max_files"})
        choice.parse(self.userns)
        if self.userns_range:
            ranges.parse(self.userns_range)
        self.log_size_bytes()

    def log_size_bytes(self) -> int:
        """Return `log_max_size` in bytes."""
        return 0 if self.log_max_size == "0" else units.parse_bytes(self.log_max_size)
