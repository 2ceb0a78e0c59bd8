"""Network namespaces: made, held by a file, visited.

A visit opens sockets, which belong to the namespace from then on, and ends. The visiting thread is back home before
anything else is done on it, or the process is not there any more: what it would do elsewhere by mistake is done to
somebody else's network.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import faulthandler
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from services.kit import namespaces
from services.netd.kernel import links, sysctl
from services.netd.kernel.netlink import Socket

_OWN = "/proc/thread-self/ns/net"
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


class Traveller:
    """Makes and opens namespaces; to be used by the thread that makes it, from whose namespace it starts."""

    def __init__(self) -> None:
        self._home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Give the descriptor of home back."""
        os.close(self._home)

    def create(self, path: Path, sysctls: Mapping[str, str], user_namespace: str = "") -> Handle:
        """Make a namespace with its loopback up and hold it by a file at `path`, whose directory exists.

        It belongs to the node's user namespace, or to the one that is held by the file `user_namespace`.

        Raises:
            OSError, errors.FailedPrecondition: It cannot be made; nothing is left of it.
        """
        path.touch(mode=0o444)
        try:
            if user_namespace:
                _make_for(Path(user_namespace), path)
            with self._away():
                if user_namespace:
                    _enter(path)
                else:
                    _check(_libc.unshare(_CLONE_NEWNET), "unshare")
                    _mount(_OWN, path)
                return _furnish(path, sysctls)
        except BaseException:
            release(path)
            raise

    def open(self, path: Path) -> Handle:
        """Open the namespace that a file holds.

        Raises:
            OSError: There is none, or no file.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with self._away():
                _check(_libc.setns(descriptor, _CLONE_NEWNET), f"enter {path}")
                return Handle(path, descriptor, Socket(links.NETLINK_ROUTE))
        except BaseException:
            os.close(descriptor)
            raise

    @contextlib.contextmanager
    def _away(self) -> Iterator[None]:
        """Be home again afterwards, or nowhere."""
        try:
            yield
        finally:
            if _libc.setns(self._home, _CLONE_NEWNET) != 0:
                faulthandler.dump_traceback()
                os.abort()


def _make_for(user_namespace: Path, path: Path) -> None:
    """Make a namespace that belongs to a user namespace, held by a file.

    Only a process in the user namespace can: a thread of ours may not enter it.
    """
    if not is_held(user_namespace):
        raise OSError(errno.ENOENT, f"{user_namespace} holds no user namespace")
    with namespaces.process_with_network(user_namespace) as pid:
        _mount(f"/proc/{pid}/ns/net", path)


def _enter(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(descriptor, _CLONE_NEWNET), f"enter {path}")
    finally:
        os.close(descriptor)


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


def _furnish(path: Path, sysctls: Mapping[str, str]) -> Handle:
    """Set up the namespace that the thread is in; return it, open."""
    ipv6 = sysctl.has_ipv6()
    for name, value in sysctls.items():
        if ipv6 or not name.startswith("net/ipv6/"):
            sysctl.write(name, value)
    socket = Socket(links.NETLINK_ROUTE)
    try:
        socket.call(links.set_loopback_up())
        descriptor = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
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
