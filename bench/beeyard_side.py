"""The same work on Beeyard: swarmctl where a person would wait for it, the gRPC API for polling."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc

from beeyard.container.v1 import container_pb2, container_pb2_grpc, spec_pb2
from beeyard.swarm.v1 import control_pb2, control_pb2_grpc
from beeyard.swarm.v1 import objects_pb2 as objects
from bench import memory
from bench.engines import Beeyard, run, through, writing

if TYPE_CHECKING:
    from pathlib import Path

POLL_S = 0.02
CONVERGE_TIMEOUT_S = 180.0


class BeeyardWork:
    """What the bench measures, on Beeyard."""

    name = "beeyard"

    def __init__(self, engine: Beeyard, root_tar: Path) -> None:
        self._engine = engine
        self._cli("image", "import", str(root_tar), "bench:1")
        self._channel = grpc.insecure_channel(f"unix:{engine.run_dir}/swarmd.sock")
        self._containers = grpc.insecure_channel(f"unix:{engine.run_dir}/containerd.sock")
        self._tasks = control_pb2_grpc.TaskServiceStub(self._channel)

    def _cli(self, *arguments: str) -> str:
        return run(self._engine.cli(*arguments), env=self._engine.env)

    def run_once(self) -> None:
        """swarmctl run --rm with a network."""
        self._cli("run", "--rm", "bench:1", "true")

    def run_over_api(self) -> None:
        """Create, start, wait for and remove a container over the API."""
        stub = container_pb2_grpc.ContainerServiceStub(self._containers)
        spec = spec_pb2.ContainerSpec(image="bench:1", cmd=["true"], auto_remove=True)
        made = stub.CreateContainer(container_pb2.CreateContainerRequest(spec=spec)).id
        wait = container_pb2.WaitContainerRequest(
            container=made, condition=container_pb2.WAIT_CONDITION_REMOVED
        )
        waiting = stub.WaitContainer(wait)
        next(waiting)
        stub.StartContainer(container_pb2.StartContainerRequest(container=made))
        next(waiting)

    def exec_target(self) -> str:
        """Start a container."""
        return self._cli("run", "-d", "bench:1", "sleep", "3600").strip()

    def remove(self, containers: list[str]) -> None:
        """Remove containers."""
        self._cli("rm", "-f", *containers)

    def exec_over_api(self, container: str) -> None:
        """Execute a program in a container, to its end."""
        stub = container_pb2_grpc.ContainerServiceStub(self._containers)
        spec = container_pb2.ExecSpec(container=container, argv=["true"])
        for _ in stub.Exec(iter([container_pb2.ExecRequest(spec=spec)])):
            pass

    def pipe(self, source: Path) -> None:
        """Send a file through a container."""
        through(self._engine.cli("run", "--rm", "-i", "bench:1", "cat"), source, env=self._engine.env)

    def fill_log(self, size_bytes: int) -> None:
        """Let a container write that much into its log."""
        made = self._cli("run", "-d", "bench:1", "sh", "-c", writing(size_bytes)).strip()
        self._cli("wait", made)
        self._cli("rm", made)

    def create_service(self, replicas: int) -> None:
        """Create a service and wait until all tasks run."""
        self._cli(
            *("service", "create", "--detach", "--no-resolve-image", "--name", "bench"),
            *("--replicas", str(replicas), "--stop-signal", "SIGKILL", "bench:1", "sleep", "3600"),
        )
        self._converge(replicas)

    def scale(self, replicas: int) -> None:
        """Scale it and wait."""
        self._cli("service", "scale", "--detach", f"bench={replicas}")
        self._converge(replicas)

    def remove_service(self) -> None:
        """Remove it and wait until its containers are gone."""
        self._cli("service", "rm", "bench")
        deadline = time.monotonic() + CONVERGE_TIMEOUT_S
        while self._cli("ps", "-q", "--filter", "label=com.docker.swarm.service.name=bench").strip():
            if time.monotonic() > deadline:
                raise SystemExit("beeyard: the service's containers do not go")
            time.sleep(0.1)

    def supervisor_pss(self) -> list[int]:
        """PSS of each container's supervisor."""
        run_dir = self._engine.run_dir
        return [
            memory.pss_bytes(pid)
            for pid, argv in memory.processes("conmon").items()
            if any(run_dir in word or run_dir.replace("/run/", "/var/lib/") in word for word in argv)
        ]

    def daemons_pss(self) -> int:
        """PSS of the four daemons."""
        return sum(memory.pss_bytes(pid) for pid in self._engine.daemon_pids)

    def _converge(self, replicas: int) -> None:
        deadline = time.monotonic() + CONVERGE_TIMEOUT_S
        while self._running() != replicas:
            if time.monotonic() > deadline:
                raise SystemExit(f"beeyard: {self._running()} of {replicas} tasks run")
            time.sleep(POLL_S)

    def _running(self) -> int:
        request = control_pb2.ListTasksRequest(
            filters=control_pb2.Filters(
                by_key={
                    "service": control_pb2.FilterValues(values=["bench"]),
                    "desired-state": control_pb2.FilterValues(values=["running"]),
                }
            )
        )
        tasks = self._tasks.ListTasks(request).tasks
        return sum(task.status.state == objects.TASK_STATE_RUNNING for task in tasks)
