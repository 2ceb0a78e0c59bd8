"""A small network of namespaces for tests: a node with netd, and a client outside, on one wire.

    client 10.77.0.100 ---- 10.77.0.1 node (netd) ---- its sandboxes

Nothing of it is in the machine's own namespace, and every way to enter one makes sure of that.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).parents[3]
HOST_NAMESPACE = os.stat("/proc/self/ns/net").st_ino

NODE = "10.77.0.1"
CLIENT = "10.77.0.100"

_libc = ctypes.CDLL(None, use_errno=True)
_SETTLE_S = 10.0


class Namespace:
    """A network namespace that a file holds."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def call(self, function: Callable[[], T]) -> T:
        """Return what `function` returns on a thread inside, which ends with it."""
        outcome: list[T] = []
        failure: list[BaseException] = []

        def main() -> None:
            try:
                self.enter_for_good()
                outcome.append(function())
            except BaseException as error:
                failure.append(error)

        thread = threading.Thread(target=main)
        thread.start()
        thread.join()
        if failure:
            raise failure[0]
        return outcome[0]

    def enter_for_good(self) -> None:
        """Move the calling thread inside: only for threads that do nothing else for the rest of their life."""
        assert threading.current_thread() is not threading.main_thread()
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            assert os.fstat(descriptor).st_ino != HOST_NAMESPACE, "a test reached for the host's namespace"
            assert _libc.setns(descriptor, 0x40000000) == 0, os.strerror(ctypes.get_errno())
        finally:
            os.close(descriptor)

    def let_go(self) -> None:
        """Take the file away."""
        subprocess.run(["umount", "--lazy", str(self.path)], check=False, capture_output=True)
        self.path.unlink(missing_ok=True)

    def socket(self, kind: int, family: int = socket.AF_INET) -> socket.socket:
        """Return a socket that belongs to the namespace, whoever uses it."""
        return self.call(lambda: socket.socket(family, kind))

    def run(self, *argv: str, check: bool = True) -> str:
        """Run a program inside; return what it writes."""
        done = subprocess.run(
            ["nsenter", f"--net={self.path}", *argv], capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, f"{argv}: {done.stderr or done.stdout}"
        return done.stdout


@contextmanager
def namespace(directory: Path) -> Iterator[Namespace]:
    """Make a namespace with its loopback up."""
    path = directory / f"ns-{secrets.token_hex(4)}"
    path.touch()
    subprocess.run(["unshare", f"--net={path}", "ip", "link", "set", "lo", "up"], check=True)
    try:
        yield Namespace(path)
    finally:
        Namespace(path).let_go()


@contextmanager
def node_and_client(directory: Path) -> Iterator[tuple[Namespace, Namespace]]:
    """Make the node's namespace and the client's, and the wire between them."""
    with namespace(directory) as node, namespace(directory) as client:
        descriptor = os.open(client.path, os.O_RDONLY)
        try:
            node.run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "eth0")
            subprocess.run(
                [
                    "nsenter",
                    f"--net={node.path}",
                    "ip",
                    "link",
                    "set",
                    "eth0",
                    "netns",
                    f"/proc/self/fd/{descriptor}",
                ],
                pass_fds=[descriptor],
                check=True,
            )
        finally:
            os.close(descriptor)
        for end, link, address in ((node, "up0", NODE), (client, "eth0", CLIENT)):
            end.run("ip", "address", "add", f"{address}/24", "dev", link)
            end.run("ip", "link", "set", link, "up")
        yield node, client


class Daemon:
    """netd as a process in a node's namespace, with directories of its own."""

    def __init__(self, node: Namespace, directory: Path, settings: str = "") -> None:
        self.node = node
        self.root, self.run = directory / "root", directory / "run"
        self.socket = self.run / "netd.sock"
        self._config = directory / "netd.toml"
        self._config.write_text(settings)
        self._log = directory / "netd.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it serves."""
        argv = [sys.executable, "-m", "services.netd", "--config", self._config]
        argv += ["--root", self.root, "--run", self.run, "--log-level", "debug"]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'protos'}:{ROOT}"}
        before = self.log().count("daemon_ready")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["nsenter", f"--net={self.node.path}", *map(str, argv)], cwd=ROOT, env=environment, stderr=log
            )
        deadline = time.monotonic() + 30
        while self.log().count("daemon_ready") == before:
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it and wait until it has ended."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=30)
            self._process = None

    def kill(self) -> None:
        """End it without a chance to clean up."""
        self.stop(signal.SIGKILL)

    def log(self) -> str:
        """Return what it has logged."""
        return self._log.read_text() if self._log.exists() else ""

    def clean_up(self) -> None:
        """End it, and let go of the namespaces that it made."""
        self.stop()
        directory = self.run / "netd" / "ns"
        for path in directory.iterdir() if directory.exists() else ():
            Namespace(path).let_go()


class Server:
    """Answers every connection or datagram with the address that it came from, and its own name."""

    def __init__(
        self, namespace: Namespace, port: int, kind: int, name: str = "", address: str = "0.0.0.0"
    ) -> None:
        self._kind = kind
        self._name = name
        self._socket = namespace.socket(kind)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        namespace.call(lambda: self._socket.bind((address, port)))
        if kind == socket.SOCK_STREAM:
            self._socket.listen(128)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(
            OSError
        ):  # a datagram socket complains that it is not connected, and wakes up all the same
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                if self._kind == socket.SOCK_STREAM:
                    connection, peer = self._socket.accept()
                    with connection:
                        connection.sendall(self._text(peer))
                else:
                    question, peer = self._socket.recvfrom(1500)
                    if not question:
                        return
                    self._socket.sendto(self._text(peer), peer)
            except OSError:
                return

    def _text(self, peer: Any) -> bytes:
        return f"{peer[0]} {self._name}".strip().encode()


def ask(
    namespace: Namespace, address: str, port: int, kind: int = socket.SOCK_STREAM, timeout: float = 2.0
) -> str:
    """Return what a `Server` answers to somebody in `namespace`; raises OSError if nobody answers."""
    with namespace.socket(kind) as client:
        client.settimeout(timeout)
        client.connect((address, port))
        if kind == socket.SOCK_DGRAM:
            client.send(b"?")
        return client.recv(1500).decode()


def unanswered(namespace: Namespace, address: str, port: int, kind: int = socket.SOCK_STREAM) -> bool:
    """Return whether nobody answers: refused, unreachable or silent for a third of a second."""
    try:
        ask(namespace, address, port, kind, timeout=0.3)
    except OSError:
        return True
    return False


def wait_for(condition: Callable[[], T], what: str) -> T:
    """Return what `condition` returns as soon as that is true."""
    deadline = time.monotonic() + _SETTLE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {_SETTLE_S} s: {what}"
        time.sleep(0.02)
    return value
