"""Starting children from a thread whose mount namespace may be another than the daemon's.

crun refuses to work where /sys/fs/cgroup/unified carries controllers beside v1 hierarchies. One thread therefore lives
in a private mount namespace without that mount; children inherit the namespace of the thread that starts them, the
daemon and all its other threads stay in the host's. Children are started with vfork: neither `preexec_fn` nor
`os.fork`, which copy page tables and are not safe beside gRPC's threads.

The private namespace is a slave of the host's, so that mounts made on shared mounts arrive there. Those on others do
not: a bind source that the thread would see differently makes it take a fresh copy of the host's namespace first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias, TypeVar

from services.containerd.kernel import mountinfo, syscalls
from services.containerd.kernel.processes import wait_fd
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

T = TypeVar("T")
Child: TypeAlias = "subprocess.Popen[bytes]"  # noqa: TID251

UNIFIED = Path("/sys/fs/cgroup/unified")
_OUTPUT_BYTES_MAX = 64 << 10


class Spawner:
    """A thread that starts programs.

    Args:
        private: Whether it lives in a private mount namespace without the unified cgroup hierarchy.
        environment: Variables that every program gets on top.
    """

    def __init__(self, *, private: bool, environment: Mapping[str, str]) -> None:
        self._private = private
        self._environment = environment
        self._host_fd: int | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="spawn-private" if private else "spawn")

    async def __aenter__(self) -> Self:
        if self._private:
            # Another thread opens it: the daemon's own namespace, whatever this thread does to its.
            self._host_fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            await self._call(self._enter_private)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(wait=True)
        if self._host_fd is not None:
            os.close(self._host_fd)

    async def start(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        stderr: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
        stdin: int = subprocess.DEVNULL,
    ) -> Child:
        """Start a program; the caller reaps it with `wait`, or leaves it with `leave`.

        Without `env` it has the daemon's own environment.

        Raises:
            errors.Internal: It cannot be executed (PROGRAM_MISSING).
        """

        def popen() -> Child:
            return subprocess.Popen(  # noqa: TID251 (needs this very thread; conmon is to outlive us)
                argv,
                cwd=cwd,
                env={**(os.environ if env is None else env), **self._environment},
                pass_fds=pass_fds,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

        starting = asyncio.get_running_loop().run_in_executor(self._executor, popen)
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_leave_started)
            raise
        except OSError as exc:
            raise errors.Internal(f"cannot run {argv[0]}: {exc.strerror}", reason="PROGRAM_MISSING") from exc

    async def run(self, argv: Sequence[str], *, timeout_s: float) -> tuple[int, str]:
        """Run a short program to its end; return its exit code and what it wrote to both outputs.

        Raises:
            errors.Unavailable: It did not end in time, and was killed (PROGRAM_TIMEOUT).
        """
        output = os.memfd_create("output", os.MFD_CLOEXEC)
        try:
            process = await self.start(argv, stdout=output, stderr=output)
            try:
                async with asyncio.timeout(timeout_s):
                    code = await wait(process)
            except TimeoutError:
                process.kill()
                await wait(process)
                raise errors.Unavailable(
                    f"{Path(argv[0]).name} did not end within {timeout_s:g} s", reason="PROGRAM_TIMEOUT"
                ) from None
            text = os.pread(output, _OUTPUT_BYTES_MAX, 0).decode(errors="replace").strip()
        finally:
            os.close(output)
        return code, text

    async def see(self, sources: Sequence[str]) -> None:
        """Make sure that what is started next sees these host paths as the daemon does."""
        if self._private and sources:
            wanted = {source: _view(source, "self") for source in sources}
            await self._call(lambda: self._refresh_unless_same(wanted))

    def _refresh_unless_same(self, wanted: Mapping[str, object]) -> None:
        if any(_view(source, "thread-self") != view for source, view in wanted.items()):
            assert self._host_fd is not None, "a private spawner keeps the host's namespace"
            syscalls.setns(self._host_fd, syscalls.CLONE_NEWNS)
            self._enter_private()

    def _enter_private(self) -> None:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_SLAVE)
        with contextlib.suppress(OSError):
            syscalls.umount(UNIFIED, syscalls.MNT_DETACH)

    async def _call(self, fn: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, fn)


async def wait(process: Child) -> int:
    """Return the exit code of a child of ours when it ends, without a thread that waits for it.

    If the caller is cancelled, the child is left.
    """
    if (code := process.poll()) is not None:
        return code
    fd = os.pidfd_open(process.pid)
    try:
        await wait_fd(fd)
    except asyncio.CancelledError:
        leave(process)
        raise
    finally:
        os.close(fd)
    return process.wait()


def leave(process: Child) -> None:
    """Let a child go its way: it is reaped when it ends, although nobody waits for it."""
    if process.poll() is not None:
        return
    loop = asyncio.get_running_loop()
    fd = os.pidfd_open(process.pid)

    def ended() -> None:
        loop.remove_reader(fd)
        os.close(fd)
        process.wait()

    loop.add_reader(fd, ended)


def _leave_started(starting: asyncio.Future[Child]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        leave(starting.result())


def _view(source: str, process: str) -> object:
    """Return what tells two views of a host path apart: the file behind it and the mounts below it."""
    try:
        stat = Path(source).stat()  # resolved by the calling thread, in its own namespace
    except OSError:
        return None
    below = mountinfo.below(mountinfo.read(process), source)
    return stat.st_dev, stat.st_ino, frozenset((mount.target, mount.root, mount.source) for mount in below)
