"""Attaches what a volume is mounted from, in a process of its own: one that waits for a server in vain can be killed.

Neither mount(2) nor the lookup of a name has a deadline, and a thread in one of them cannot be stopped. The process
lives in the daemon's mount namespace, so what it mounts stays.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from dataclasses import asdict
from pathlib import Path

from services.containerd.kernel import syscalls
from services.containerd.volumes.core.local_options import Mounting
from services.kit import errors, subproc

_FLAGS = {
    "ro": syscalls.MS_RDONLY,
    "nosuid": syscalls.MS_NOSUID,
    "nodev": syscalls.MS_NODEV,
    "noexec": syscalls.MS_NOEXEC,
    "sync": syscalls.MS_SYNCHRONOUS,
    "dirsync": syscalls.MS_DIRSYNC,
    "noatime": syscalls.MS_NOATIME,
    "nodiratime": syscalls.MS_NODIRATIME,
    "relatime": syscalls.MS_RELATIME,
    "strictatime": syscalls.MS_STRICTATIME,
    "bind": syscalls.MS_BIND,
    "rbind": syscalls.MS_BIND | syscalls.MS_REC,
}
_FILESYSTEMS = Path("/proc/filesystems")


async def attach(mounting: Mounting, target: Path, *, timeout_s: float) -> str:
    """Mount; return why it failed, an empty string if it did not.

    Whoever is told of a failure, or cancelled, unmounts: it may have come to be mounted at the last moment.
    """
    program = [sys.executable, "-m", __name__, str(target)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}
    text = json.dumps(asdict(mounting)).encode()
    try:
        done = await subproc.run(program, timeout_s=timeout_s, input=text, env=env, check=False)
    except errors.Unavailable:
        return f"no answer within {timeout_s:g} s"
    if done.returncode == 0:
        return ""
    return done.stdout.decode(errors="replace") or done.stderr.decode(errors="replace")[-500:] or "killed"


def main() -> None:
    """Mount what standard input says at the target that is the argument; a failure goes to standard output."""
    values = json.load(sys.stdin)
    mounting = Mounting(**{**values, "flags": tuple(values["flags"]), "data": tuple(values["data"])})
    try:
        _mount(mounting, Path(sys.argv[1]))
    except OSError as exc:
        sys.stdout.write(_reason(mounting, exc))
        sys.exit(1)


def _mount(mounting: Mounting, target: Path) -> None:
    flags = 0
    for option in mounting.flags:
        flags |= _FLAGS.get(option, 0)
    data = ",".join(_resolved(mounting))
    if flags & syscalls.MS_BIND:
        syscalls.mount(mounting.device, target, "", flags & (syscalls.MS_BIND | syscalls.MS_REC))
        others = flags & ~(syscalls.MS_BIND | syscalls.MS_REC)
        if others:
            syscalls.mount("", target, "", syscalls.MS_BIND | syscalls.MS_REMOUNT | others)
        return
    syscalls.mount(mounting.device, target, mounting.kind, flags, data)


def _resolved(mounting: Mounting) -> list[str]:
    """Return the options for the file system; a host name in `addr=` becomes an address, as mount.nfs would do it."""
    if not mounting.server:
        return list(mounting.data)
    address = socket.getaddrinfo(mounting.server, None, type=socket.SOCK_STREAM)[0][4][0]
    return [f"addr={address}" if option.startswith("addr=") else option for option in mounting.data]


def _reason(mounting: Mounting, exc: OSError) -> str:
    """Return why not, in the words that lead to what is missing."""
    if isinstance(exc, socket.gaierror):
        return f"cannot resolve {mounting.server}: {exc.strerror}"
    binds = {"bind", "rbind"} & {*mounting.flags}
    if not binds and exc.errno == errno.ENODEV and mounting.kind not in _known_filesystems():
        return f"no such device: this kernel does not know the file system {mounting.kind!r}"
    return (exc.strerror or str(exc)).lower()


def _known_filesystems() -> frozenset[str]:
    return frozenset(
        line.split()[-1] for line in _FILESYSTEMS.read_text(encoding="ascii").splitlines() if line
    )


if __name__ == "__main__":
    main()
