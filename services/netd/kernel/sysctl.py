"""Kernel parameters of the network: /proc/sys/net shows each thread those of its own namespace."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from pathlib import Path

_ROOT = Path("/proc/sys")


@functools.cache
def has_ipv6() -> bool:
    """Return whether the kernel has IPv6."""
    return (_ROOT / "net/ipv6").is_dir()


def write(name: str, value: str) -> None:
    """Set a parameter; its name has slashes, or dots where no part of it has any.

    Raises:
        OSError: There is no such parameter, or it does not take the value.
    """
    descriptor = os.open(_path(name), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def read_all(names: Iterable[str]) -> dict[str, str]:
    """Return the values of those that exist; blanks between numbers are single spaces."""
    values = {}
    for name in names:
        try:
            values[name] = " ".join(_path(name).read_text().split())
        except OSError:
            continue
    return values


def _path(name: str) -> Path:
    return _ROOT / (name if "/" in name else name.replace(".", "/"))
