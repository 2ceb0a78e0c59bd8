"""Refusing by name what this node cannot honour. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from services.containerd.ocispec.process import UNCONFINED
from services.kit import errors

if TYPE_CHECKING:
    from services.containerd.model.spec import ContainerSpec
    from services.containerd.ocispec.facts import HostFacts

_CGROUP_PARENT = re.compile(r"/?[a-zA-Z0-9_.:-]+(/[a-zA-Z0-9_.:-]+)*/?")
_LABELS_ACCEPTED = frozenset({"disable", "nested"})

NAME_BYTES_MAX = 255
GROUP_PATH_MAX = 1024


def check(spec: ContainerSpec, host: HostFacts) -> None:
    """Refuse what this node has not.

    Raises:
        errors.Invalid: It contradicts itself.
        errors.Unsupported: The kernel or the storage cannot do it; says what is missing.
    """
    security = spec.security
    parent = spec.cgroup_parent
    if any(len(name.encode()) > NAME_BYTES_MAX for name in parent.split("/")) or len(parent) > GROUP_PATH_MAX:
        raise errors.Invalid(
            f"--cgroup-parent {parent[:80]!r}… is too long: a name has at most {NAME_BYTES_MAX} bytes,"
            f" the path {GROUP_PATH_MAX} characters",
            reason="SPEC_INVALID",
        )
    if parent and (_CGROUP_PARENT.fullmatch(parent) is None or {".", ".."} & set(parent.split("/"))):
        raise errors.Invalid(
            f"--cgroup-parent {parent[:80]!r} is not a path of plain names", reason="SPEC_INVALID"
        )
    if not security.own_uts and (
        spec.network.hostname or (spec.network.domainname and security.uts != "host")
    ):
        raise errors.Invalid("conflicting options: hostname and the UTS mode", reason="SPEC_INVALID")
    for option in spec.storage_options:
        raise errors.Unsupported(
            f"--storage-opt {option}: the snapshot driver of this node has no storage options (no quotas)",
            reason="STORAGE_OPTION_UNSUPPORTED",
        )
    if security.apparmor not in ("", UNCONFINED) and not host.apparmor:
        raise errors.Unsupported(
            f"--security-opt apparmor={security.apparmor}: AppArmor is not enabled on this node",
            reason="APPARMOR_MISSING",
        )
    for label in security.selinux:
        if label not in _LABELS_ACCEPTED:
            raise errors.Unsupported(
                f"--security-opt label={label}: SELinux is not supported by this node; label=disable is accepted",
                reason="SELINUX_MISSING",
            )
    resources = spec.resources
    if (resources.cpu_rt_period_us or resources.cpu_rt_runtime_us) and not host.cpu_realtime:
        raise errors.Unsupported(
            "--cpu-rt-period and --cpu-rt-runtime: the kernel has no real-time group scheduling with control groups",
            reason="CPU_REALTIME_MISSING",
        )
    if 0 < resources.cpu_rt_period_us < resources.cpu_rt_runtime_us:
        raise errors.Invalid(
            "cpu real-time runtime cannot be higher than cpu real-time period", reason="SPEC_INVALID"
        )
    lowest = host.oom_score_adj_min
    if resources.oom_score_adj and resources.oom_score_adj < lowest:
        raise errors.Unsupported(
            f"--oom-score-adj {resources.oom_score_adj}: without CAP_SYS_RESOURCE this daemon cannot go below {lowest}",
            reason="CAPABILITY_MISSING",
        )
