"""The profile of containers that ask for no other. Pure.

It allows what capabilities, seccomp and namespaces leave, but neither mounts nor the knobs of the machine below /proc
and /sys: the second lock behind masked and read-only paths, for processes that have found a way around those. What it
denies is what docker's default profile denies, so that what runs there runs here.
"""

from __future__ import annotations

from typing import Final

NAME: Final = "beeyard-default"
_OUTSIDE: Final = ("unconfined", "crun", "runc", "conmon")
"""Who may send signals: the daemon, and programs that some distributions give a profile of their own."""
_PROC_NO_WRITE: Final = (
    "/proc/*",  # the machine's; what belongs to processes lies in directories
    "/proc/[^1-9s]*/**",
    "/proc/s[^y]*/**",
    "/proc/sys/[^k]**",
    "/proc/sys/kernel/{?,??,[^s]**,s[^h]**,sh[^m]**}",  # all but shm*, which are the container's own
)
_NO_ACCESS: Final = (
    "/proc/{sysrq-trigger,kcore,kmem,mem}",
    "/sys/firmware/**",
    "/sys/devices/virtual/powercap/**",
    "/sys/kernel/security/**",
)
_SYS_NO_WRITE: Final = (
    "/sys/[^f]*/**",
    "/sys/f[^s]*/**",
    "/sys/fs/[^c]*/**",
    "/sys/fs/c[^g]*/**",
    "/sys/fs/cg[^r]*/**",
)


def text() -> str:
    """Return the profile, in the language of apparmor.d(5), complete in itself."""
    rules = [
        "network,",
        "capability,",
        "file,",
        "umount,",
        "deny mount,",
        *(f"signal (receive) peer={peer}," for peer in _OUTSIDE),
        f"signal (send, receive) peer={NAME},",
        f"ptrace (trace, read, tracedby, readby) peer={NAME},",
        *(f"deny {path} wkl," for path in _PROC_NO_WRITE),
        *(f"deny {path} wkl," for path in _SYS_NO_WRITE),
        *(f"deny {path} rwkl," for path in _NO_ACCESS),
    ]
    body = "".join(f"  {rule}\n" for rule in rules)
    return f"profile {NAME} flags=(attach_disconnected,mediate_deleted) {{\n{body}}}\n"
