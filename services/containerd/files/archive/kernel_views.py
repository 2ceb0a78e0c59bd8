"""Directories whose files are the kernel's own: nothing there is a file to keep or a place to put one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from services.containerd.kernel import statfs

if TYPE_CHECKING:
    from collections.abc import Container

_MAGICS: Container[int] = frozenset(
    {
        0x9FA0,  # proc
        0x62656572,  # sysfs
        0x27E0EB,  # cgroup
        0x63677270,  # cgroup2
        0x1CD1,  # devpts
        0x19800202,  # mqueue
        0x64626720,  # debugfs
        0x74726163,  # tracefs
        0x73636673,  # securityfs
        0x62656570,  # configfs
        0xCAFE4A11,  # bpf
        0x6E736673,  # nsfs
        0x42494E4D,  # binfmt_misc
        0xF97CFF8C,  # selinuxfs
        0x65735543,  # fusectl
        0x6165676C,  # pstore
        0xDE5E81E4,  # efivarfs
    }
)


def is_one(descriptor: int) -> bool:
    """Return whether an open file or directory belongs to such a file system."""
    return statfs.magic(descriptor) in _MAGICS


class Views:
    """Remembers the answer for each device: a tree has few."""

    def __init__(self) -> None:
        self._known: dict[int, bool] = {}

    def has(self, descriptor: int, status: os.stat_result) -> bool:
        """Return whether an open directory, with this status, is one."""
        known = self._known.get(status.st_dev)
        if known is None:
            known = self._known[status.st_dev] = is_one(descriptor)
        return known
