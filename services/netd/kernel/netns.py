"""Network namespaces: made, held by a file, entered.

Only threads that end right afterwards enter a foreign namespace. One that comes back might, after some failure, not be
back, and then everything it did for somebody else would be done in the wrong place.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from services.netd.kernel import links, sysctl
from services.netd.kernel.netlink import Socket

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_MS_BIND = 0x1000
_MNT_DETACH = 2
_NSFS_MAGIC = 0x6E736673
_STATFS_BYTES = 256  # more than any architecture's struct statfs

_libc = ctypes.CDLL(None, use_errno=True)


class Handle:
    """An open namespace: its descriptor and a route socket in it. It keeps the namespace alive until it is closed."""

    def __init__(self, path: Path, descriptor: int, socket: Socket) -> None:
        self.path = path
        self.descriptor = descriptor
        self.socket = socket

    def close(self) -> None:
        """Let go of the namespace."""
        self.socket.close()
        os.close(self.descriptor)


def create(path: Path, sysctls: Mapping[str, str]) -> Handle:
    """Make a namespace with its loopback up and hold it by a file at `path`, whose directory exists.

    Raises:
        OSError: It cannot be made; nothing is left of it.
    """
    path.touch(mode=0o444)
    try:
        return _in_thread(lambda: _create(path, sysctls))
    except BaseException:
        release(path)
        raise


def open_at(path: Path) -> Handle:
    """Open the namespace that a file holds.

    Raises:
        OSError: There is none, or no file.
    """
    return _in_thread(lambda: _open(path))


def hold(handle: Handle) -> None:
    """Hold an open namespace by its file again, after somebody took that away."""
    handle.path.parent.mkdir(parents=True, exist_ok=True)
    handle.path.touch(mode=0o444)
    _mount(f"/proc/self/fd/{handle.descriptor}", handle.path)


def release(path: Path) -> None:
    """Take away the file that holds a namespace. One that is not there is fine."""
    if _libc.umount2(os.fsencode(path), _MNT_DETACH) != 0:
        code = ctypes.get_errno()
        if code not in {errno.EINVAL, errno.ENOENT}:  # not a mount point; no file
            raise OSError(code, os.strerror(code), str(path))
    path.unlink(missing_ok=True)


def is_held(path: Path) -> bool:
    """Return whether a file holds a namespace: whether it is one of the kernel's namespace files."""
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.statfs(os.fsencode(path), buffer) != 0:
        return False
    return ctypes.c_long.from_buffer(buffer).value == _NSFS_MAGIC


def _create(path: Path, sysctls: Mapping[str, str]) -> Handle:
    _check(_libc.unshare(_CLONE_NEWNET), "unshare")
    _mount("/proc/thread-self/ns/net", path)
    ipv6 = sysctl.has_ipv6()
    for name, value in sysctls.items():
        if ipv6 or not name.startswith("net/ipv6/"):
            sysctl.write(name, value)
    handle = _open_own(path)
    try:
        handle.socket.call(links.set_loopback_up())
    except BaseException:
        handle.close()
        raise
    return handle


def _open(path: Path) -> Handle:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(descriptor, _CLONE_NEWNET), f"enter {path}")
        socket = Socket(links.NETLINK_ROUTE)
    except BaseException:
        os.close(descriptor)
        raise
    return Handle(path, descriptor, socket)


def _open_own(path: Path) -> Handle:
    socket = Socket(links.NETLINK_ROUTE)
    try:
        descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except BaseException:
        socket.close()
        raise
    return Handle(path, descriptor, socket)


def _mount(source: str, target: Path) -> None:
    _check(_libc.mount(source.encode(), os.fsencode(target), None, _MS_BIND, None), f"mount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _in_thread(function: Callable[[], T]) -> T:
    """Return what `function` returns, run on a thread of its own that ends with it."""
    results: list[T] = []
    failures: list[BaseException] = []

    def main() -> None:
        try:
            results.append(function())
        except BaseException as failure:  # noqa: BLE001 (it is raised again, on the thread that waits)
            failures.append(failure)

    thread = threading.Thread(target=main, name="netns", daemon=True)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]
