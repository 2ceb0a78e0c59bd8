"""The worker over real gRPC: tasks from assignment to end, and what happens when the daemons below come and go."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from beeyard.container.v1 import spec_pb2
from beeyard.swarm.v1 import objects_pb2
from services.kit import errors
from services.kit.system import SystemClock
from services.swarmd.agent.core.assembly import Assignments
from services.swarmd.agent.engine import Engine
from services.swarmd.agent.worker import Worker
from tests.component.swarmd.agent.yard import EXITED, HEALTHY, UNHEALTHY, Yard, yard

READY, STARTING = objects_pb2.TASK_STATE_READY, objects_pb2.TASK_STATE_STARTING
RUNNING, COMPLETE = objects_pb2.TASK_STATE_RUNNING, objects_pb2.TASK_STATE_COMPLETE
SHUTDOWN, FAILED = objects_pb2.TASK_STATE_SHUTDOWN, objects_pb2.TASK_STATE_FAILED
REJECTED, PREPARING = objects_pb2.TASK_STATE_REJECTED, objects_pb2.TASK_STATE_PREPARING


class Bench:
    """A worker that can be opened again and again on the same records and the same node."""

    def __init__(self, node: Yard, directory: Path) -> None:
        self.node = node
        self._directory = directory
        self.worker: Worker | None = None

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Worker]:
        channels = self.node.connect()
        engine = Engine(channels["containerd"], channels["imaged"])
        try:
            async with Worker.open(
                self._directory, engine=engine, clock=SystemClock(), rng=random.Random(1)
            ) as worker:
                self.worker = worker
                yield worker
        finally:
            for channel in channels.values():
                await channel.close()

    def status(self, task_id: str = "t1") -> objects_pb2.TaskStatus:
        assert self.worker is not None
        return self.worker.status(task_id) or objects_pb2.TaskStatus()

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        try:
            async with asyncio.timeout(20):
                while not condition():
                    await asyncio.sleep(0.005)
        except TimeoutError:
            pytest.fail(f"waited in vain for {what or condition}: {self.status()}")

    async def state(
        self, state: objects_pb2.TaskState.ValueType, task_id: str = "t1"
    ) -> objects_pb2.TaskStatus:
        await self.until(lambda: self.status(task_id).state == state, objects_pb2.TaskState.Name(state))
        return self.status(task_id)


@pytest.fixture
async def bench(socket_dir: Path, tmp_path: Path) -> AsyncIterator[Bench]:
    async with yard(socket_dir) as node:
        yield Bench(node, tmp_path / "agent")


def task(
    task_id: str = "t1",
    desired: objects_pb2.TaskState.ValueType = RUNNING,
    spec: objects_pb2.TaskSpec | None = None,
    **container: object,
) -> objects_pb2.Task:
    made = objects_pb2.Task(
        id=task_id,
        node_id="n1",
        service_id="s1",
        slot=1,
        service_annotations=objects_pb2.Annotations(name="web"),
        desired_state=desired,
        status=objects_pb2.TaskStatus(state=objects_pb2.TASK_STATE_ASSIGNED),
        spec=spec or objects_pb2.TaskSpec(),
    )
    made.spec.container.MergeFrom(
        spec_pb2.ContainerSpec(**{"image": "web:1", **container})  # type: ignore[arg-type]
    )
    return made


def complete(*tasks: objects_pb2.Task, **more: object) -> Assignments:
    return Assignments(complete=True, tasks=tasks, **more)  # type: ignore[arg-type]


def change(*tasks: objects_pb2.Task, **more: object) -> Assignments:
    return Assignments(complete=False, tasks=tasks, **more)  # type: ignore[arg-type]


async def test_a_task_runs_ends_and_goes(bench: Bench) -> None:
    wanted = task()
    wanted.endpoint.ports.add(target_port=80, published_port=8080)
    async with bench.open() as worker:
        await worker.assign(complete(wanted))
        running = await bench.state(RUNNING)
        container = bench.node.containerd.of_task("t1")
        assert container is not None
        assert container.name == "web.1.t1"
        assert running.container.container_id == container.id
        assert (running.container.pid, list(running.container.addresses)) == (1001, ["172.17.0.2"])
        (bound,) = running.ports
        assert (bound.published_port, bound.target_port, bound.mode) == (
            8080,
            80,
            objects_pb2.PUBLISH_MODE_INGRESS,
        )
        await worker.assign(change(task(desired=SHUTDOWN)))
        ended = await bench.state(SHUTDOWN)
        assert ended.container.exit_code == 143
        await worker.assign(Assignments(complete=False, removed_task_ids=("t1",)))
        await bench.until(lambda: not worker.task_ids)
        assert not bench.node.containerd.containers
    async with bench.open() as worker:
        assert worker.task_ids == []


async def test_a_task_that_is_to_be_ready_waits_for_more(bench: Bench) -> None:
    async with bench.open() as worker:
        await worker.assign(complete(task(desired=READY)))
        await bench.state(READY)
        await asyncio.sleep(0.05)
        assert bench.node.containerd.started == {}
        await worker.assign(change(task()))
        await bench.state(RUNNING)


@pytest.mark.parametrize(
    ("code", "state", "error"),
    [(0, COMPLETE, ""), (3, FAILED, "task: non-zero exit (3)")],
)
async def test_an_end_is_reported(
    bench: Bench, code: int, state: objects_pb2.TaskState.ValueType, error: str
) -> None:
    async with bench.open() as worker:
        await worker.assign(complete(task()))
        await bench.state(RUNNING)
        bench.node.containerd.exit("t1", code)
        ended = await bench.state(state)
        assert (ended.error, ended.container.exit_code) == (error, code)


async def test_an_image_that_nobody_has(bench: Bench) -> None:
    async with bench.open() as worker:
        await worker.assign(complete(task(image="nothing:1")))
        rejected = await bench.state(REJECTED)
        assert rejected.error == "No such image: nothing:1"


async def test_an_image_is_fetched_once_for_all_who_want_it(bench: Bench) -> None:
    bench.node.imaged.elsewhere.add("far:1")
    bench.node.imaged.gate = asyncio.Event()
    async with bench.open() as worker:
        await worker.assign(complete(*(task(f"t{number}", image="far:1") for number in range(5))))
        await bench.until(lambda: bench.node.imaged.pulls)
        await asyncio.sleep(0.05)
        bench.node.imaged.gate.set()
        for number in range(5):
            await bench.state(RUNNING, f"t{number}")
        assert len(bench.node.imaged.pulls) == 1


async def test_an_image_that_is_here_is_not_asked_for(bench: Bench) -> None:
    async with bench.open() as worker:
        await worker.assign(complete(task()))
        await bench.state(RUNNING)
        assert bench.node.imaged.pulls == []


async def test_always_pull_pulls_first(bench: Bench) -> None:
    async with bench.open() as worker:
        await worker.assign(
            complete(task(spec=objects_pb2.TaskSpec(pull_policy="always", registry_auth="e30=")))
        )
        await bench.state(RUNNING)
        (pull,) = bench.node.imaged.pulls
        assert pull.registry_auth == "e30="


async def test_never_pull_does_not(bench: Bench) -> None:
    bench.node.imaged.elsewhere.add("far:1")
    async with bench.open() as worker:
        await worker.assign(complete(task(spec=objects_pb2.TaskSpec(pull_policy="never"), image="far:1")))
        rejected = await bench.state(REJECTED)
        assert rejected.error == "No such image: far:1"
        assert bench.node.imaged.pulls == []


async def test_a_fetch_that_nobody_wants_any_more_is_given_up(bench: Bench) -> None:
    bench.node.imaged.gate = asyncio.Event()
    async with bench.open() as worker:
        await worker.assign(complete(task(image="far:1")))
        await bench.until(lambda: bench.node.imaged.pulls)
        await worker.assign(change(task(image="far:1", desired=SHUTDOWN)))
        await bench.state(SHUTDOWN)
        await bench.until(lambda: bench.node.imaged.cancelled)


async def test_a_health_check_decides_when_it_runs(bench: Bench) -> None:
    health = spec_pb2.HealthCheck(test=["CMD", "true"])
    async with bench.open() as worker:
        await worker.assign(complete(task(health=health)))
        waiting = await bench.state(STARTING)
        await bench.until(lambda: "healthy" in bench.status().message)
        assert waiting.error == ""
        bench.node.containerd.health("t1", HEALTHY)
        await bench.state(RUNNING)
        bench.node.containerd.health("t1", UNHEALTHY, "no answer on port 80")
        failed = await bench.state(FAILED)
        assert failed.error == "unhealthy container: no answer on port 80"
        container = bench.node.containerd.of_task("t1")
        assert container is not None
        assert container.status.state == EXITED


async def test_tasks_wait_for_their_secrets(bench: Bench) -> None:
    spec = objects_pb2.TaskSpec(secrets=[objects_pb2.FileReference(id="k", name="key")])
    async with bench.open() as worker:
        await worker.assign(complete(task(spec=spec)))
        await bench.until(lambda: bench.status().message == "preparing: waits for secret key")
        await worker.assign(change(secrets={"k": b"hush"}))
        await bench.state(RUNNING)
        container = bench.node.containerd.of_task("t1")
        assert container is not None
        (file,) = container.spec.files
        assert (file.path, file.data) == ("/run/secrets/key", b"hush")


async def test_only_so_many_start_at_once(bench: Bench) -> None:
    bench.node.containerd.start_gate = asyncio.Event()
    async with bench.open() as worker:
        await worker.assign(complete(*(task(f"t{number:02}") for number in range(12))))
        await bench.until(lambda: bench.node.containerd.starting == 4)
        await asyncio.sleep(0.05)
        bench.node.containerd.start_gate.set()
        for number in range(12):
            await bench.state(RUNNING, f"t{number:02}")
        assert bench.node.containerd.starting_max == 4


async def test_a_restart_of_containerd_fails_no_task(bench: Bench) -> None:
    async with bench.open() as worker:
        await worker.assign(complete(task(), task("t2")))
        await bench.state(RUNNING)
        await bench.state(RUNNING, "t2")
        await bench.node.stop("containerd")
        bench.node.containerd.exit("t2", 5)  # it ends while nobody looks
        await worker.assign(change(task("t3")))
        await asyncio.sleep(0.2)
        assert bench.status("t1").state == RUNNING
        assert bench.status("t2").state == RUNNING, "nothing is concluded while nothing is known"
        await bench.node.start("containerd")
        ended = await bench.state(FAILED, "t2")
        assert ended.container.exit_code == 5
        await bench.state(RUNNING, "t3")
        assert bench.status("t1").state == RUNNING
        assert bench.node.containerd.started == {"t1": 1, "t2": 1, "t3": 1}


async def test_a_neighbour_that_restarts_fails_no_task(bench: Bench) -> None:
    away = [errors.Unavailable("netd does not answer", reason="NEIGHBOUR_UNAVAILABLE") for _ in range(3)]
    bench.node.containerd.failures = {"create": away, "start": [errors.Unavailable("imaged is away")]}
    async with bench.open() as worker:
        await worker.assign(complete(task()))
        await bench.until(lambda: "netd" in bench.status().error)
        assert bench.status().state == PREPARING
        running = await bench.state(RUNNING)
        assert running.error == ""


async def test_a_restart_of_imaged_during_a_fetch_fails_no_task(bench: Bench) -> None:
    bench.node.imaged.elsewhere.add("far:1")
    bench.node.imaged.gate = asyncio.Event()
    async with bench.open() as worker:
        await worker.assign(complete(task(image="far:1")))
        await bench.until(lambda: bench.node.imaged.pulls)
        await bench.node.restart("imaged")
        bench.node.imaged.gate.set()
        await bench.state(RUNNING)


async def test_a_start_that_cannot_work_fails_the_task(bench: Bench) -> None:
    bench.node.containerd.failures = {
        "start": [errors.Invalid("exec: no such file: serve", reason="START_FAILED")]
    }
    async with bench.open() as worker:
        await worker.assign(complete(task()))
        failed = await bench.state(FAILED)
        assert failed.error == "exec: no such file: serve"


async def test_running_tasks_are_found_again(bench: Bench) -> None:
    async with bench.open() as worker:
        await worker.assign(complete(task(), task("t2")))
        await bench.state(RUNNING)
        await bench.state(RUNNING, "t2")
    bench.node.containerd.exit("t2", 9)  # while swarmd is away
    async with bench.open() as worker:
        assert worker.task_ids == ["t1", "t2"]
        failed = await bench.state(FAILED, "t2")
        assert failed.container.exit_code == 9
        assert bench.status().state == RUNNING
        assert bench.node.containerd.started == {"t1": 1, "t2": 1}


async def test_strangers_stay_until_a_manager_has_spoken(bench: Bench) -> None:
    async with bench.open() as worker:
        await worker.assign(complete(task(), task("t2")))
        await bench.state(RUNNING)
        await bench.state(RUNNING, "t2")
    (bench._directory / "tasks.db").unlink()
    async with bench.open() as worker:
        await worker.assign(change(task()))
        await bench.state(RUNNING)
        await asyncio.sleep(0.1)
        assert bench.node.containerd.of_task("t2") is not None
        await worker.assign(complete(task()))
        await bench.until(lambda: bench.node.containerd.of_task("t2") is None)
        await bench.until(lambda: worker.task_ids == ["t1"])
        assert bench.node.containerd.started["t1"] == 1, "the one that is known was adopted"


async def test_a_complete_set_removes_what_is_not_in_it(bench: Bench) -> None:
    async with bench.open() as worker:
        await worker.assign(complete(task(), task("t2")))
        await bench.state(RUNNING)
        await worker.assign(complete(task("t2")))
        await bench.until(lambda: bench.node.containerd.of_task("t1") is None)
        await bench.state(RUNNING, "t2")


async def test_an_older_word_does_not_bring_a_task_back(bench: Bench) -> None:
    async with bench.open() as worker:
        await worker.assign(complete(task()))
        await bench.state(RUNNING)
        await worker.assign(change(task(desired=SHUTDOWN)))
        await worker.assign(change(task(desired=RUNNING)))
        await bench.state(SHUTDOWN)


async def test_a_container_that_is_removed_by_hand_is_missed(bench: Bench) -> None:
    async with bench.open() as worker:
        await worker.assign(complete(task()))
        await bench.state(RUNNING)
        bench.node.containerd.exit("t1", 0)
        container = bench.node.containerd.of_task("t1")
        assert container is not None
        del bench.node.containerd.containers[container.id]
        await bench.until(lambda: bench.status().state in {COMPLETE, FAILED})


async def test_leaving_takes_everything_along(bench: Bench) -> None:
    async with bench.open() as worker:
        await worker.assign(complete(task(), task("t2", desired=READY)))
        await bench.state(RUNNING)
        await bench.state(READY, "t2")
        async with asyncio.timeout(10):
            await worker.leave()
        assert not bench.node.containerd.containers
        assert worker.task_ids == []


async def test_many_events_are_no_trouble(bench: Bench) -> None:
    async with bench.open() as worker:
        names = [f"t{number:02}" for number in range(30)]
        await worker.assign(complete(*(task(name) for name in names)))
        for name in names:
            await bench.state(RUNNING, name)
        for name in names:
            bench.node.containerd.exit(name, 1)
        for name in names:
            await bench.state(FAILED, name)
