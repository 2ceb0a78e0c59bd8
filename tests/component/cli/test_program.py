"""swarmctl as a program of its own: terminals, signals, pipes, closed streams."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.component.cli.fakes import DETACH, Node

ROOT = Path(__file__).parents[3]
PROGRAM = [sys.executable, "-m", "cli"]
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled modules are kept, so that only the first program compiles them."""
    return tmp_path_factory.mktemp("pycache")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, compiled: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'protos'}")
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(compiled))
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*PROGRAM, *arguments], input=stdin, capture_output=True, timeout=60, check=False)


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self.fd, slave = pty.openpty()
        self.resize(24, 80)
        # setsid makes it the controlling terminal; to fork here would copy a process with grpc's threads.
        self._process = subprocess.Popen(
            ["setsid", "-c", *PROGRAM, *arguments], stdin=slave, stdout=slave, stderr=slave
        )
        os.close(slave)
        self.pid = self._process.pid
        self.seen = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: bytes) -> None:
        os.write(self.fd, text)

    def expect(self, pattern: bytes) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not (match := re.search(pattern, self.seen, re.DOTALL)):
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.seen!r}"
            self._read(0.1)
        self.seen = self.seen[match.end() :]

    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def wait(self) -> int:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            self._read(0.05)
            code = self._process.poll()
            if code is not None:
                self._read(0)
                return code
        raise AssertionError(f"it does not end: {self.seen!r}")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self.fd)

    def _read(self, timeout_s: float) -> None:
        while select.select([self.fd], [], [], timeout_s)[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:  # nobody has the other end any more
                return
            if not data:
                return
            self.seen += data
            timeout_s = 0


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    made: list[Terminal] = []
    yield made
    for terminal in made:
        terminal.close()


def on_terminal(terminals: list[Terminal], *arguments: str) -> Terminal:
    terminals.append(Terminal(*arguments))
    return terminals[-1]


def test_an_interactive_session(node: Node, terminals: list[Terminal]) -> None:
    terminal = on_terminal(terminals, "run", "-it", "--rm", "img", "sh")
    terminal.expect(rb"\$ ")
    assert not terminal.echoes(), "keys go to the container as they are typed"
    terminal.type(b"size\r")
    terminal.expect(rb"\(24, 80\)")
    terminal.resize(30, 100)
    terminal.expect(rb"\$ ")
    terminal.type(b"\x03\r")  # Ctrl-C is a key like others
    terminal.expect(rb"\? \x03")
    terminal.type(b"size\r")
    terminal.expect(rb"\(30, 100\)")
    terminal.type(b"exit 9\r")
    assert terminal.wait() == 9
    assert terminal.echoes(), "the terminal is given back"


def test_detaching_leaves_the_container_alone(node: Node, terminals: list[Terminal]) -> None:
    terminal = on_terminal(terminals, "run", "-it", "--name", "box", "img", "sh")
    terminal.expect(rb"\$ ")
    terminal.type(DETACH)
    assert terminal.wait() == 0
    assert terminal.echoes()
    again = on_terminal(terminals, "attach", "box")
    again.type(b"size\r")
    again.expect(rb"\(24, 80\)")
    again.type(DETACH)
    assert again.wait() == 1
    assert b"read escape sequence" in again.seen
    assert run("rm", "-f", "box").returncode == 0


def test_what_was_typed_before_the_start_is_not_lost(node: Node, terminals: list[Terminal]) -> None:
    terminal = on_terminal(terminals, "run", "-it", "img", "sh")
    terminal.type(b"exit 4\r")
    assert terminal.wait() == 4


def test_a_terminal_is_given_back_when_we_are_killed(node: Node, terminals: list[Terminal]) -> None:
    terminal = on_terminal(terminals, "run", "-it", "--sig-proxy=false", "--name", "box", "img", "sh")
    terminal.expect(rb"\$ ")
    os.kill(terminal.pid, signal.SIGTERM)
    assert terminal.wait() == 128 + signal.SIGTERM
    assert terminal.echoes()


def test_progress_is_drawn_on_a_terminal(node: Node, terminals: list[Terminal]) -> None:
    terminal = on_terminal(terminals, "pull", "far:1")
    assert terminal.wait() == 0
    assert b"bbbbbbbbbbbb: Extracting" in terminal.seen and b"1kB/1kB" in terminal.seen
    assert b"\x1b[" in terminal.seen


def test_a_large_pipe_arrives_whole_and_goes_out_whole(node: Node) -> None:
    data = os.urandom(20_000_000)
    done = run("run", "-i", "--rm", "img", "cat", stdin=data)
    assert done.returncode == 0
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("options", [(), ("-t",)])
def test_signals_go_to_the_container(node: Node, options: tuple[str, ...]) -> None:
    with started("run", "--rm", *options, "img", "trap") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGHUP)
        assert process.communicate(timeout=PATIENCE_S)[0] == b"got SIGHUP\n"
        assert process.returncode == 42


def test_without_proxy_they_end_the_client_alone(node: Node) -> None:
    with started("run", "--name", "box", "--sig-proxy=false", "img", "trap") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
    assert run("ps", "-q").stdout.strip()
    assert not [name for name, _ in node.containers.calls if name == "kill"]


def test_whoever_insists_is_let_go(node: Node) -> None:
    with started("run", "--name", "box", "img", "cat") as process:
        deadline = time.monotonic() + PATIENCE_S
        while not [name for name, _ in node.containers.calls if name == "attach"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.5)
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        assert process.wait(PATIENCE_S) == 130
        assert process.stderr is not None
        assert b"forcefully exiting" in process.stderr.read()


def test_an_interrupt_is_no_error_message(node: Node) -> None:
    run("create", "--name", "box", "img", "sleep")
    with started("logs", "-f", "box") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"out 0\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 130
        assert b"Traceback" not in err and b"Error" not in err


def shell(script: str) -> subprocess.CompletedProcess[str]:
    program = " ".join(PROGRAM)
    return subprocess.run(
        ["/bin/bash", "-c", script.replace("swarmctl", program)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_reader_that_leaves_is_no_error(node: Node) -> None:
    done = shell("swarmctl run -i --rm img cat </dev/zero | head -c 5 | wc -c; echo ${PIPESTATUS[0]}")
    assert done.stdout.split() == ["5", "141"] and done.stderr == ""


def test_closed_streams_are_not_mistaken_for_sockets(node: Node) -> None:
    assert shell("swarmctl run -i --rm img cat <&-").returncode == 0
    done = shell("swarmctl run -d img sleep >&-")
    assert (done.returncode, done.stderr) == (0, "")
    assert shell("swarmctl ps --no-such 2>&-").returncode == 1


def test_a_full_disk_is_said_in_one_line(node: Node) -> None:
    done = shell("swarmctl ps >/dev/full")
    assert done.returncode == 1 and "No space left on device" in done.stderr and done.stderr.count("\n") == 1


def test_completion_knows_commands_options_and_names(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    run("create", "--name", "webserver", "img", "sleep")

    def complete(words: str) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
        monkeypatch.setenv("_SWARMCTL_COMPLETE", "bash_complete")
        found = [line.partition(",")[2] for line in run().stdout.decode().splitlines() if line]
        monkeypatch.delenv("_SWARMCTL_COMPLETE")
        return found

    assert complete("swarmctl con") == ["config", "container", "context"]
    assert complete("swarmctl container rena") == ["rename"]
    assert complete("swarmctl stop we") == ["webserver"]
    assert complete("swarmctl run im") == ["img"]
    assert complete("swarmctl rm --for") == ["--force"]
    assert complete("swarmctl --host unix:///no/such stop w") == []


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_scripts(name: str) -> None:
    done = run("completion", name)
    assert done.returncode == 0 and b"_SWARMCTL_COMPLETE" in done.stdout


def test_a_fault_is_told_without_a_traceback_unless_asked(
    node: Node, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import cli.commands.container as c\nc.filters = lambda given: 1 / 0\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ['PYTHONPATH']}")
    done = run("ps")
    assert done.returncode == 1
    assert done.stderr.startswith(b"Error: a fault in swarmctl itself: ZeroDivisionError")
    assert b"Traceback" not in done.stderr and b"BEEYARD_DEBUG=1" in done.stderr
    assert b"Traceback" in run("-D", "ps").stderr
