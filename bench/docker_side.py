"""The work on Docker: its CLI where a person would wait for it, its HTTP API for polling."""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import TYPE_CHECKING, Any

from bench import memory
from bench.engines import Docker, run, through, writing

if TYPE_CHECKING:
    from pathlib import Path

POLL_S = 0.02
CONVERGE_TIMEOUT_S = 180.0


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


class DockerWork:
    """What the bench measures, on Docker."""

    name = "docker"

    def __init__(self, engine: Docker, root_tar: Path) -> None:
        self._engine = engine
        # By id: a tag that no registry answers would cost docker seconds a task, which is not what is measured.
        self._image = run(engine.cli("import", str(root_tar), "bench:1")).strip()
        run(engine.cli("swarm", "init", "--advertise-addr", "10.99.0.1"))

    def run_once(self) -> None:
        """docker run --rm with a network."""
        run(self._engine.cli("run", "--rm", "bench:1", "true"))

    def run_over_api(self) -> None:
        """Create, start, wait for and remove a container over the API."""
        body = {"Image": self._image, "Cmd": ["true"], "HostConfig": {"AutoRemove": True}}
        made = self._post("/containers/create", body)["Id"]
        waiting = _UnixConnection(self._engine.socket)
        waiting.request("POST", f"/containers/{made}/wait?condition=removed")
        self._post(f"/containers/{made}/start", None)
        waiting.getresponse().read()
        waiting.close()

    def _post(self, path: str, body: object) -> dict[str, Any]:
        connection = _UnixConnection(self._engine.socket)
        connection.request(
            "POST", path, json.dumps(body) if body else None, {"Content-Type": "application/json"}
        )
        answer = connection.getresponse().read()
        connection.close()
        return json.loads(answer) if answer else {}

    def exec_target(self) -> str:
        """Start a container to exec into."""
        return run(self._engine.cli("run", "-d", "bench:1", "sleep", "3600")).strip()

    def remove(self, containers: list[str]) -> None:
        """Remove containers."""
        run(self._engine.cli("rm", "-f", *containers))

    def exec_over_api(self, container: str) -> None:
        """Execute a program in a container, to its end."""
        made = self._post(f"/containers/{container}/exec", {"Cmd": ["true"], "AttachStdout": True})["Id"]
        connection = _UnixConnection(self._engine.socket)
        body = json.dumps({"Detach": False})
        connection.request("POST", f"/exec/{made}/start", body, {"Content-Type": "application/json"})
        connection.getresponse().read()
        connection.close()

    def pipe(self, source: Path) -> None:
        """Send a file through a container."""
        through(self._engine.cli("run", "--rm", "-i", "bench:1", "cat"), source)

    def fill_log(self, size_bytes: int) -> None:
        """Let a container write that much into its log."""
        made = run(self._engine.cli("run", "-d", "bench:1", "sh", "-c", writing(size_bytes))).strip()
        run(self._engine.cli("wait", made))
        run(self._engine.cli("rm", made))

    def create_service(self, replicas: int) -> None:
        """Create a service and wait until all tasks run."""
        run(
            self._engine.cli(
                *("service", "create", "--detach", "--no-resolve-image", "--name", "bench"),
                *("--replicas", str(replicas), "--stop-signal", "SIGKILL", self._image, "sleep", "3600"),
            )
        )
        self._converge(replicas)

    def scale(self, replicas: int) -> None:
        """Scale it and wait."""
        run(self._engine.cli("service", "scale", "--detach", f"bench={replicas}"))
        self._converge(replicas)

    def remove_service(self) -> None:
        """Remove it and wait until its containers are gone."""
        run(self._engine.cli("service", "rm", "bench"))
        deadline = time.monotonic() + CONVERGE_TIMEOUT_S
        while run(
            self._engine.cli("ps", "-q", "--filter", "label=com.docker.swarm.service.name=bench")
        ).strip():
            if time.monotonic() > deadline:
                raise SystemExit("docker: the service's containers do not go")
            time.sleep(0.1)

    def supervisor_pss(self) -> list[int]:
        """PSS of each container's supervisor."""
        return [
            memory.pss_bytes(pid)
            for pid in memory.processes("containerd-shim-runc-v2")
            if pid in self._below()
        ]

    def daemons_pss(self) -> int:
        """PSS of dockerd and its containerd."""
        below = self._below()
        return sum(
            memory.pss_bytes(pid)
            for name in ("dockerd", "containerd")
            for pid in memory.processes(name)
            if pid in below
        )

    def _below(self) -> set[int]:
        # shims leave the tree of dockerd, but name its containerd's socket in their arguments
        tree = {self._engine.pid, *memory.descendants(self._engine.pid)}
        base = self._engine.socket.rpartition("/")[0]
        return tree | {
            pid
            for pid, argv in memory.processes("containerd-shim-runc-v2").items()
            if any(base in word for word in argv)
        }

    def _converge(self, replicas: int) -> None:
        deadline = time.monotonic() + CONVERGE_TIMEOUT_S
        while self._running() != replicas:
            if time.monotonic() > deadline:
                raise SystemExit(f"docker: {self._running()} of {replicas} tasks run")
            time.sleep(POLL_S)

    def _running(self) -> int:
        connection = _UnixConnection(self._engine.socket)
        connection.request("GET", '/tasks?filters={"service":["bench"],"desired-state":["running"]}')
        tasks: list[dict[str, Any]] = json.loads(connection.getresponse().read())
        connection.close()
        return sum(task["Status"]["State"] == "running" for task in tasks)
