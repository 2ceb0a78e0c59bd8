"""A playground under test, driven as a user would: by its command and by swarmctl."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[3]
COMMAND_TIMEOUT_S = 120
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str


def run(argv: list[str], *, env: dict[str, str] | None = None, stdin: bytes = b"") -> Result:
    """Run a program to its end."""
    done = subprocess.run(
        argv, env=env, input=stdin, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def wait_until(what: str, condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """Wait until the condition holds; return its value. Fails with what was waited for."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        time.sleep(POLL_S)
    return value


@dataclass(frozen=True, slots=True)
class Lab:
    """One playground."""

    name: str

    def command(self, *arguments: str) -> str:
        """Run a playground command; it must succeed."""
        action, *rest = arguments
        result = run([str(ROOT / "deploy" / "playground"), action, "--name", self.name, *rest])
        assert result.code == 0, f"playground {' '.join(arguments)}: {result.err}"
        return result.out

    def nodes(self) -> dict[str, dict[str, Any]]:
        """Nodes by name, as `ls` describes them."""
        return {node["name"]: node for node in json.loads(self.command("ls", "--format", "json"))}

    def env(self, node: str) -> dict[str, str]:
        """Environment that aims swarmctl at a node."""
        return {**os.environ, "BEEYARD_HOST": f"unix:///run/beeyard-playground/{self.name}/{node}"}

    def try_ctl(self, node: str, *arguments: str, stdin: bytes = b"") -> Result:
        """Run swarmctl against a node."""
        return run([str(ROOT / ".venv" / "bin" / "swarmctl"), *arguments], env=self.env(node), stdin=stdin)

    def ctl(self, node: str, *arguments: str, stdin: bytes = b"") -> str:
        """Run swarmctl against a node; it must succeed."""
        result = self.try_ctl(node, *arguments, stdin=stdin)
        assert result.code == 0, f"swarmctl {' '.join(arguments)} on {node}: {result.err or result.out}"
        return result.out

    def rows(self, node: str, *arguments: str) -> list[dict[str, Any]]:
        """Read a list as JSON lines."""
        return [json.loads(line) for line in self.ctl(node, *arguments, "--format", "json").splitlines()]

    def inspect(self, node: str, *arguments: str) -> dict[str, Any]:
        """Inspect one object."""
        found: dict[str, Any] = json.loads(self.ctl(node, *arguments))[0]
        return found

    def running(self, node: str, service: str) -> list[dict[str, Any]]:
        """Tasks of a service that run and are wanted."""
        tasks = self.rows(node, "service", "ps", "--no-trunc", service)
        return [
            task
            for task in tasks
            if task["DesiredState"] == "Running" and task["CurrentState"].startswith("Running")
        ]

    def spread(self, node: str, service: str) -> dict[str, int]:
        """Running tasks of a service on each node."""
        counts: dict[str, int] = {}
        for task in self.running(node, service):
            counts[task["Node"]] = counts.get(task["Node"], 0) + 1
        return counts

    def wait_running(
        self, node: str, service: str, count: int, timeout_s: float = 60.0
    ) -> list[dict[str, Any]]:
        """Wait until exactly so many tasks run."""
        wait_until(
            f"{count} tasks of {service} run",
            lambda: len(self.running(node, service)) == count and self._settled(node, service, count),
            timeout_s,
        )
        return self.running(node, service)

    def _settled(self, node: str, service: str, count: int) -> bool:
        wanted = [
            task
            for task in self.rows(node, "service", "ps", "--no-trunc", service)
            if task["DesiredState"] in ("Running", "Ready")
        ]
        return len(wanted) == count

    def leader(self, through: str) -> str:
        """Name of the leading node, by another manager's account; empty if there is none."""
        result = self.try_ctl(through, "node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}")
        for line in result.out.splitlines():
            name, _, status = line.partition(" ")
            if status.strip() == "Leader":
                return name
        return ""

    def container_pids(self) -> dict[str, int]:
        """Main process of every running container of every node that answers."""
        found: dict[str, int] = {}
        for node in self.nodes():
            ids = self.try_ctl(node, "ps", "-q", "--no-trunc").out.split()
            if ids:
                out = self.ctl(
                    node, "inspect", "--type", "container", "--format", "{{.Id}} {{.State.Pid}}", *ids
                )
                for line in out.splitlines():
                    container, pid = line.split()
                    found[container] = int(pid)
        return found

    def daemon_pid(self, node: str, daemon: str) -> int:
        """Pid of a daemon; 0 while it is down."""
        return int(self.nodes()[node]["daemons"][daemon] or 0)

    def crash(self, node: str, daemon: str) -> int:
        """SIGKILL a daemon and let the supervisor bring it back, as systemd would. Returns the old pid."""
        pid = self.daemon_pid(node, daemon)
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_back(self, node: str, daemon: str, old_pid: int) -> None:
        """Wait until a crashed daemon serves again."""
        socket_path = f"/run/beeyard-playground/{self.name}/{node}/{daemon}.sock"
        wait_until(
            f"{daemon} on {node} is back",
            lambda: self.daemon_pid(node, daemon) not in (0, old_pid) and _answers(socket_path),
        )


def _answers(path: str) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def make_image(directory: Path) -> Path:
    """A root file system of busybox alone, as a tar, with a page that names its host."""
    root = directory / "root"
    for name in ("bin", "etc", "tmp", "www/cgi-bin", "proc", "sys", "dev"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    for applet in (
        "sh",
        "httpd",
        "hostname",
        "sleep",
        "cat",
        "ls",
        "true",
        "false",
        "echo",
        "dd",
        "head",
        "tail",
        "id",
    ):
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\n")
    page = root / "www" / "cgi-bin" / "index.cgi"
    page.write_text(
        "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\nhello from %s\\n' \"$(hostname)\"\n"
    )
    page.chmod(0o755)
    tar = directory / "image.tar"
    done = run(["tar", "-C", str(root), "--owner=0", "--group=0", "-cf", str(tar), "."])
    assert done.code == 0, done.err
    return tar


def lab(name: str, *arguments: str) -> Iterator[Lab]:
    """Bring a playground up, import the image `web:1` on its first node, and remove all of it afterwards."""
    made = Lab(name)
    made.command("down")
    made.command("up", *arguments)
    try:
        with tempfile.TemporaryDirectory() as directory:
            tar = make_image(Path(directory))
            first = next(iter(made.nodes()))
            change = 'CMD ["httpd","-f","-p","80","-h","/www"]'
            # Process 1 of a container ignores signals that it does not handle: without this each stop takes its grace.
            stop = "STOPSIGNAL SIGKILL"
            made.ctl(first, "image", "import", "--change", change, "--change", stop, str(tar), "web:1")
        yield made
    finally:
        made.command("down")
        left = [
            line
            for line in Path("/proc/self/mountinfo").read_text().splitlines()
            if f"beeyard-playground/{name}" in line
        ]
        assert not left, f"mounts left behind: {left}"
