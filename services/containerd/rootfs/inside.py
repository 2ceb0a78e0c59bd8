"""Looks and small changes inside a mounted root file system, which is hostile: every link in it is the image's.

All paths are resolved by the kernel as if the root were `/` (openat2), so no link leads out, whoever changes it while
we look; and links of /proc are not followed. Nothing of the container is ever executed or loaded (CVE-2019-14271).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Self

from services.containerd.kernel import syscalls
from services.containerd.kernel.credentials import making_files_as
from services.kit import errors

if TYPE_CHECKING:
    from types import TracebackType

TEXT_BYTES_MAX = 1 << 20
_DEPTH_MAX = 64
_KERNEL_DIRECTORIES = ("proc", "sys", "dev")


class Inside:
    """A root file system that is open for looks. Use as a context manager."""

    def __init__(self, root: Path) -> None:
        self._fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def read_text(self, path: str) -> str:
        """Return the text of a regular file, empty where there is none. What does not decode is replaced.

        Raises:
            errors.Invalid: The file is larger than any such file should be.
        """
        try:
            # O_NONBLOCK: a fifo in its place must not hang us.
            fd = syscalls.open_in_root(self._fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return ""
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                return ""
            if found.st_size > TEXT_BYTES_MAX:
                raise errors.Invalid(
                    f"{path} of the image is larger than {TEXT_BYTES_MAX} bytes", reason="IMAGE_INVALID"
                )
            data = os.pread(fd, TEXT_BYTES_MAX, 0)
        finally:
            os.close(fd)
        return data.decode(errors="replace")

    def check_kernel_directories(self) -> None:
        """Refuse an image whose /proc, /sys or /dev is a link: the mounts there would land elsewhere (CVE-2023-27561).

        Raises:
            errors.Invalid: One of them is not a directory.
        """
        for name in _KERNEL_DIRECTORIES:
            try:
                found = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if not stat.S_ISDIR(found.st_mode):
                raise errors.Invalid(f"/{name} of the image is not a directory", reason="IMAGE_INVALID")

    def ensure_directory(self, path: str, *, uid: int = 0, gid: int = 0) -> None:
        """Make a directory with its parents, as Docker does with a working directory that is missing. Idempotent.

        Raises:
            errors.Invalid: Something on the way is not a directory, or leads into /proc (CVE-2024-21626).
        """
        parts = [part for part in path.split("/") if part and part != "."]
        if len(parts) > _DEPTH_MAX:
            raise errors.Invalid(f"the path {path} has more than {_DEPTH_MAX} parts", reason="SPEC_INVALID")
        with contextlib.ExitStack() as opened:
            parent = self._fd
            for depth, part in enumerate(parts, start=1):
                so_far = "/" + "/".join(parts[:depth])
                fd = self._open_or_make(so_far, parent, part, uid, gid)
                opened.callback(os.close, fd)
                parent = fd
            self._refuse_proc(path, parent)

    def refuse_proc(self, path: str) -> None:
        """Refuse a directory in /proc, by whatever links it is reached. One that is not there is left to the runtime.

        Raises:
            errors.Invalid: It lies there (CVE-2024-21626).
        """
        try:
            fd = self._open_directory(path)
        except OSError as exc:
            if exc.errno == errno.ELOOP or path.strip("/").split("/", 1)[0] == "proc":
                raise _not_a_directory(path, exc) from exc
            return
        try:
            self._refuse_proc(path, fd)
        finally:
            os.close(fd)

    def refuse_mount_target(self, path: str) -> None:
        """Refuse a mount that would land in /proc by links of the image: the runtime's checks rely on what is there.

        Raises:
            errors.Invalid: It would.
        """
        there = path.rstrip("/")
        while there:  # what is missing is made by the runtime, below what is there
            try:
                fd = syscalls.open_in_root(self._fd, there, os.O_PATH)
            except OSError as exc:
                if exc.errno == errno.ELOOP:
                    raise _not_a_directory(path, exc) from exc
                there = there.rpartition("/")[0]
                continue
            try:
                self._refuse_proc(path, fd, "mount target")
            finally:
                os.close(fd)
            return

    def lack_of_program(self, program: str, *, search: str, workdir: str) -> str:
        """Return why a program cannot be executed, as the runtimes say it; empty if that is not seen from here.

        Args:
            program: A name or a path.
            search: Where a name is looked for: $PATH.
            workdir: Where a path begins that is not absolute.
        """
        places = [workdir] if "/" in program else search.split(":")
        modes = [self._mode(str(Path(place or workdir) / program)) for place in places]
        found = [mode for mode in modes if mode]
        if any(stat.S_ISREG(mode) and mode & 0o111 for mode in found):
            return ""
        where = "no such file or directory" if "/" in program else "executable file not found in $PATH"
        return f"exec {program!r}: {'permission denied' if found else where}"

    def _mode(self, path: str) -> int:
        """Return the mode of what is at a path, links followed; 0 where there is nothing."""
        try:
            fd = syscalls.open_in_root(self._fd, path, os.O_PATH)
        except OSError:
            return 0
        try:
            return os.fstat(fd).st_mode
        finally:
            os.close(fd)

    def _open_or_make(self, so_far: str, parent: int, part: str, uid: int, gid: int) -> int:
        try:
            return self._open_directory(so_far)
        except OSError as exc:
            if exc.errno != errno.ENOENT:
                raise _not_a_directory(so_far, exc) from exc
        try:
            with making_files_as(uid, gid):
                os.mkdir(part, 0o755, dir_fd=parent)
            os.chown(part, uid, gid, dir_fd=parent, follow_symlinks=False)
        except FileExistsError:
            pass  # a link to nowhere, or somebody was quicker: opening tells
        except OSError as exc:
            raise _not_a_directory(so_far, exc) from exc
        try:
            return self._open_directory(so_far)
        except OSError as exc:
            raise _not_a_directory(so_far, exc) from exc

    def _open_directory(self, path: str) -> int:
        return syscalls.open_in_root(self._fd, path, os.O_PATH | os.O_DIRECTORY)

    def _refuse_proc(self, path: str, fd: int, what: str = "working directory") -> None:
        """/proc of a container is mounted later: what a path into it means would be decided then, by the runtime."""
        reached = str(Path(f"/proc/self/fd/{fd}").readlink())
        root = str(Path(f"/proc/self/fd/{self._fd}").readlink())
        below = reached.removeprefix(root.rstrip("/"))
        if below == "/proc" or below.startswith("/proc/") or path.strip("/").startswith("proc/self"):
            raise errors.Invalid(f"the {what} {path} lies in /proc", reason="SPEC_INVALID")


def _not_a_directory(path: str, exc: OSError) -> errors.Invalid:
    return errors.Invalid(f"{path} in the container is no directory and cannot be made one: {exc.strerror}")
