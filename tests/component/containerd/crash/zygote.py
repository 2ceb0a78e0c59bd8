"""A process that has loaded containerd and forks daemons: each then starts in a tenth of a second instead of in seven.

What runs in the fork is the daemon's own `main` with its own arguments, environment and output. Two things are said
over a pair of sockets, a JSON object each: what to start, and which daemon has ended how.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from services.containerd import __main__ as containerd
from services.containerd.lifecycle import faults
from tests.component.containerd.crash.mutations import MUTATIONS


class Daemon:
    """A daemon that a zygote has made; used like a `Popen`."""

    def __init__(self, pid: int, zygote: Zygote) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._zygote = zygote

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, None while it runs."""
        if self.returncode is None:
            self.returncode = self._zygote.ended(self.pid)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)  # the zygote has not reaped it before it tells us

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Zygote:
    """The other side of the sockets. A context manager: leaving it ends the zygote and whatever it has made."""

    def __enter__(self) -> Self:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        root = Path(__file__).resolve().parents[4]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": f"{root}/protos:{root}", "PYTHONHASHSEED": "0"},
            )
        self._ended: dict[int, int] = {}
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.wait(timeout=30)

    def start(self, arguments: Sequence[str], log: Path, *, fault: str = "", mutation: str = "") -> Daemon:
        """Start a daemon.

        Args:
            arguments: Its command line, without the program.
            log: Where its output goes.
            fault: The point at which it dies.
            mutation: What of it is broken, by name.
        """
        wanted = {"arguments": list(arguments), "log": str(log), "fault": fault, "mutation": mutation}
        self._socket.setblocking(True)
        self._socket.send(json.dumps(wanted).encode())
        while True:
            told = json.loads(self._socket.recv(4096))
            if "started" in told:
                return Daemon(told["started"], self)
            self._ended[told["ended"]] = told["code"]

    def ended(self, pid: int) -> int | None:
        """Return how a daemon has ended, None while it runs."""
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                told = json.loads(self._socket.recv(4096))
                self._ended[told["ended"]] = told["code"]
        return self._ended.pop(pid, None)


def _serve(connection: socket.socket) -> None:
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: set[int] = set()
    gc.collect()
    gc.freeze()
    while True:
        readable, _, _ = select.select([connection, woken], [], [])
        if woken in readable:
            os.read(woken, 4096)
        for pid in list(children):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                children.discard(pid)
                with contextlib.suppress(BrokenPipeError):
                    connection.send(
                        json.dumps({"ended": pid, "code": os.waitstatus_to_exitcode(status)}).encode()
                    )
        if connection not in readable:
            continue
        said = connection.recv(65536)
        if not said:
            break
        pid = os.fork()
        if not pid:
            connection.close()
            os.close(woken)
            os.close(wake)
            _become(json.loads(said))
        children.add(pid)
        connection.send(json.dumps({"started": pid}).encode())
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _become(wanted: dict[str, Any]) -> None:
    """Be the daemon; never returns."""
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(wanted["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        sys.argv = ["containerd", *wanted["arguments"]]
        os.environ[faults.VARIABLE] = wanted["fault"]
        importlib.reload(faults)  # reads the variable
        with MUTATIONS[wanted["mutation"]].patch() if wanted["mutation"] else contextlib.nullcontext():
            code = containerd.main()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        _serve(sock)
