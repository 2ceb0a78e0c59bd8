"""Starting and stopping the two engines, each apart from the host and from the other."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parent.parent
PLAYGROUND = "bench"
START_TIMEOUT_S = 60.0


def run(argv: list[str], *, env: dict[str, str] | None = None) -> str:
    """Run a program to its end; its standard output."""
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(argv)}\n{done.stderr.strip()}")
    return done.stdout


def through(argv: list[str], source: Path, *, env: dict[str, str] | None = None) -> None:
    """Run a program with a file as its input, and count what comes out."""
    with (
        source.open("rb") as file,
        subprocess.Popen(
            argv, env=env, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process,
    ):
        assert process.stdout is not None
        size = 0
        while chunk := process.stdout.read(1 << 20):
            size += len(chunk)
    if process.returncode != 0 or size != source.stat().st_size:
        raise SystemExit(f"{' '.join(argv)}: {size} bytes came out, exit code {process.returncode}")


def writing(size_bytes: int) -> str:
    """A shell command that writes that much in lines of 80 characters."""
    return f"yes {'x' * 79} | head -c {size_bytes}"


def make_root_file_system(path: Path) -> None:
    """A root file system of busybox alone, as a tar: what both engines import."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for directory in ("bin", "etc", "tmp", "proc", "sys", "dev"):
            (root / directory).mkdir()
        shutil.copy("/bin/busybox", root / "bin" / "busybox")
        for applet in ("sh", "true", "sleep", "echo", "cat", "yes", "head"):
            (root / "bin" / applet).symlink_to("busybox")
        (root / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
        (root / "etc" / "group").write_text("root:x:0:\n")
        run(["tar", "-C", name, "-cf", str(path), "."])


@dataclass(frozen=True, slots=True, kw_only=True)
class Docker:
    """A running dockerd."""

    socket: str
    pid: int

    def cli(self, *arguments: str) -> list[str]:
        """Command line of its client."""
        return ["docker", "-H", f"unix://{self.socket}", *arguments]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beeyard:
    """A running node of the playground."""

    host: str
    run_dir: str
    daemon_pids: tuple[int, ...]

    @property
    def env(self) -> dict[str, str]:
        """Environment of its client, as it is after an installation."""
        kept = {
            key: value
            for key, value in os.environ.items()
            if key not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
        }
        return {**kept, "BEEYARD_HOST": self.host}

    def cli(self, *arguments: str) -> list[str]:
        """Command line of its client."""
        return [str(REPOSITORY / ".venv" / "bin" / "swarmctl"), *arguments]


def _end(*_: object) -> None:
    raise SystemExit("ended by a signal")


@contextlib.contextmanager
def docker() -> Iterator[Docker]:
    """Debian's engine in a network namespace of its own."""
    if shutil.which("dockerd") is None:
        raise SystemExit("dockerd is not installed: apt-get install docker.io")
    namespace = "bench-docker"
    base = Path(tempfile.mkdtemp(prefix="bench-docker-", dir="/var/tmp"))
    subprocess.run(
        ["ip", "netns", "del", namespace], capture_output=True, check=False
    )  # of a run that was killed
    run(["ip", "netns", "add", namespace])
    run(["ip", "-n", namespace, "link", "set", "lo", "up"])
    run(["ip", "-n", namespace, "link", "add", "up0", "type", "bridge"])
    run(["ip", "-n", namespace, "addr", "add", "10.99.0.1/24", "dev", "up0"])
    run(["ip", "-n", namespace, "link", "set", "up0", "up"])
    run(["ip", "-n", namespace, "route", "add", "default", "via", "10.99.0.254"])
    socket = f"{base}/docker.sock"
    signal.signal(signal.SIGTERM, _end)  # a bench that is told to end cleans up
    log = (base / "dockerd.log").open("wb")
    process = subprocess.Popen(
        [
            *("nsenter", f"--net=/run/netns/{namespace}", "--"),
            *("dockerd", "--data-root", f"{base}/data", "--exec-root", f"{base}/exec"),
            *("-p", f"{base}/docker.pid", "-H", f"unix://{socket}"),
        ],
        stdout=log,
        stderr=log,
    )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while subprocess.run(
            ["docker", "-H", f"unix://{socket}", "info"], capture_output=True, check=False
        ).returncode:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"dockerd does not start:\n{(base / 'dockerd.log').read_text()[-2000:]}")
            time.sleep(0.2)
        yield Docker(socket=socket, pid=process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            if (point := line.split()[4]).startswith(str(base)):
                subprocess.run(["umount", "-l", point], check=False)
        subprocess.run(["ip", "netns", "del", namespace], check=False)
        shutil.rmtree(base, ignore_errors=True)


@contextlib.contextmanager
def beeyard() -> Iterator[Beeyard]:
    """One manager of the playground."""
    # As installed: a daemon that has to compile its modules first keeps 5 MB of what that took.
    run(
        [
            sys.executable,
            "-m",
            "compileall",
            "-q",
            *(str(REPOSITORY / part) for part in ("cli", "protos", "services")),
        ]
    )
    command = [sys.executable, str(REPOSITORY / "deploy" / "playground")]
    try:
        run([*command, "up", "--name", PLAYGROUND, "--managers", "1", "--workers", "0"])
        node = json.loads(run([*command, "ls", "--name", PLAYGROUND, "--format", "json"]))[0]
        yield Beeyard(host=node["host"], run_dir=node["run"], daemon_pids=tuple(node["daemons"].values()))
    finally:
        run([*command, "down", "--name", PLAYGROUND])
