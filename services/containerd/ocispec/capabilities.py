"""Which capabilities a container gets: Docker's fourteen, more or fewer on request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

DEFAULT = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)

BY_NUMBER = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
"""The kernel's numbering (include/uapi/linux/capability.h)."""

_ALL = "ALL"


def from_mask(mask: int) -> frozenset[str]:
    """Return the names of the bits that are set, unknown bits left out."""
    return frozenset(name for number, name in enumerate(BY_NUMBER) if mask >> number & 1)


def normalize(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names in the kernel's spelling, "ALL" kept as it is.

    Raises:
        errors.Invalid: A name is not a capability.
    """
    normal: list[str] = []
    for name in names:
        upper = name.upper()
        if upper != _ALL and not upper.startswith("CAP_"):
            upper = f"CAP_{upper}"
        if upper != _ALL and upper not in BY_NUMBER:
            raise errors.Invalid(f"unknown capability {name!r}", reason="SPEC_INVALID")
        normal.append(upper)
    return tuple(normal)


def resolve(
    *, add: Iterable[str], drop: Iterable[str], privileged: bool, available: Collection[str]
) -> tuple[str, ...]:
    """Return the bounding set, in the kernel's order.

    "ALL" in `add` starts from everything, "ALL" in `drop` from nothing. What the daemon does not have itself cannot
    be given: silently left out of the default set and of "ALL", refused by name where it was asked for by name.

    Raises:
        errors.Invalid: A name is not a capability.
        errors.Unsupported: A capability was named that the daemon does not have.
    """
    added, dropped = normalize(add), normalize(drop)
    missing = [name for name in added if name != _ALL and name not in available]
    if missing:
        raise errors.Unsupported(
            f"cannot add {', '.join(missing)}: this daemon runs without it", reason="CAPABILITY_MISSING"
        )
    if privileged:
        chosen = set(available)
    elif _ALL in added:
        chosen = set(available) - set(dropped)
    elif _ALL in dropped:
        chosen = set(added)
    else:
        chosen = (set(DEFAULT) - set(dropped)) | set(added)
    return tuple(name for name in BY_NUMBER if name in chosen and name in available)


def section(bounding: tuple[str, ...], *, uid: int) -> dict[str, object]:
    """Return `process.capabilities`.

    A process that does not run as root holds none until it executes something that grants them, which is what the
    kernel does on execve. Nothing is inheritable: otherwise a file with inheritable bits would hand capabilities to
    users inside (CVE-2022-24769).
    """
    held = list(bounding) if uid == 0 else []
    return {
        "bounding": list(bounding),
        "effective": held,
        "permitted": held,
        "inheritable": [],
        "ambient": [],
    }
