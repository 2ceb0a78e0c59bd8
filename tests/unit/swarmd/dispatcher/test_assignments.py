"""What a node is sent, checked against what a node that takes every step ends up with."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from beeyard.swarm.v1 import objects_pb2
from services.swarmd.agent.core.assembly import Assembly
from services.swarmd.dispatcher.core.assignments import NodeAssignments, concerns, parts
from services.swarmd.store.memory import Memory
from services.swarmd.store.tables import CONFIGS, SECRETS, TASKS, TASKS_BY_NODE
from services.swarmd.store.transaction import Tx

ASSIGNED, RUNNING = objects_pb2.TASK_STATE_ASSIGNED, objects_pb2.TASK_STATE_RUNNING
PENDING, FAILED = objects_pb2.TASK_STATE_PENDING, objects_pb2.TASK_STATE_FAILED
SHUTDOWN = objects_pb2.TASK_STATE_SHUTDOWN


class World:
    """A store that is written directly, and one node that listens."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.sent = NodeAssignments("n")
        self.assembly = Assembly()
        self.tasks: dict[str, objects_pb2.Task] = {}
        self.secrets: dict[str, bytes] = {}
        self.configs: dict[str, bytes] = {}
        self.messages = 0
        self.changed: set[str] = set()

    def write(
        self, *objects: objects_pb2.Task | objects_pb2.Secret | objects_pb2.Config, gone: str = ""
    ) -> None:
        tx = Tx(self.memory.view())
        kinds = {objects_pb2.Task: TASKS, objects_pb2.Secret: SECRETS, objects_pb2.Config: CONFIGS}
        for obj in objects:
            table = kinds[type(obj)]
            (tx.update if tx.get(table, obj.id) is not None else tx.create)(table, obj)
        if gone:
            tx.remove(TASKS, gone)
        if not tx.writes():
            return
        committed = self.memory.apply(self.memory.index + 1, tx.entry(Timestamp()))
        for change in committed.of(TASKS):  # type: ignore[union-attr]
            if concerns(change.old, change.new):
                self.changed.add(change.id)

    def send(self, *, complete: bool = False, bytes_max: int = 4 << 20) -> None:
        view = self.memory.view()
        step = self.sent.complete(view) if complete else self.sent.changed(view, self.changed)
        self.changed = set()
        for message in parts(step, bytes_max) if step is not None else ():
            self.messages += 1
            taken = self.assembly.take(message)
            if taken is None:
                continue
            if taken.complete:
                self.tasks, self.secrets, self.configs = {}, {}, {}
            self.tasks |= {task.id: task for task in taken.tasks}
            self.secrets |= taken.secrets
            self.configs |= taken.configs
            for known, gone in (
                (self.tasks, taken.removed_task_ids),
                (self.secrets, taken.removed_secret_ids),
                (self.configs, taken.removed_config_ids),
            ):
                for object_id in gone:
                    del known[object_id]  # what is taken away was there

    def check(self) -> None:
        """The node has what the store says, no more and no less, as far as it matters to it."""
        view = self.memory.view()
        wanted = {task.id: task for task in view.find(TASKS_BY_NODE, "n") if task.status.state >= ASSIGNED}
        assert self.tasks.keys() == wanted.keys()
        for task_id, task in wanted.items():
            assert self.tasks[task_id].desired_state == task.desired_state
        living = [task for task in wanted.values() if task.status.state <= RUNNING]
        used = {ref.id for task in living for ref in task.spec.secrets}
        assert self.secrets.keys() == {object_id for object_id in used if view.get(SECRETS, object_id)}
        used = {ref.id for task in living for ref in task.spec.configs}
        assert self.configs.keys() == {object_id for object_id in used if view.get(CONFIGS, object_id)}


def task(
    task_id: str,
    *,
    node_id: str = "n",
    state: objects_pb2.TaskState.ValueType = ASSIGNED,
    desired: objects_pb2.TaskState.ValueType = RUNNING,
    secrets: str = "",
    configs: str = "",
) -> objects_pb2.Task:
    return objects_pb2.Task(
        id=task_id,
        node_id=node_id,
        desired_state=desired,
        status=objects_pb2.TaskStatus(state=state),
        spec=objects_pb2.TaskSpec(
            secrets=[objects_pb2.FileReference(id=name) for name in secrets],
            configs=[objects_pb2.FileReference(id=name) for name in configs],
        ),
    )


def secret(name: str) -> objects_pb2.Secret:
    annotations = objects_pb2.Annotations(name=name)
    return objects_pb2.Secret(
        id=name, spec=objects_pb2.SecretSpec(annotations=annotations, data=name.encode())
    )


def config(name: str) -> objects_pb2.Config:
    annotations = objects_pb2.Annotations(name=name)
    return objects_pb2.Config(
        id=name, spec=objects_pb2.ConfigSpec(annotations=annotations, data=name.encode())
    )


def test_a_secret_comes_with_its_first_task_and_goes_with_its_last() -> None:
    world = World()
    world.write(secret("x"))
    world.send(complete=True)
    assert world.secrets == {}
    world.write(task("a", secrets="x"), task("b", secrets="x"))
    world.send()
    assert world.secrets == {"x": b"x"}
    world.write(task("a", secrets="x", state=FAILED))
    world.send()
    assert world.secrets == {"x": b"x"}
    world.write(task("b", secrets="x", state=FAILED))
    world.send()
    assert world.secrets == {}
    assert world.tasks.keys() == {"a", "b"}, "ended tasks stay until they are deleted"


def test_the_nodes_own_reports_are_nothing_new_to_it() -> None:
    world = World()
    world.write(task("a"))
    world.send(complete=True)
    before = world.messages
    world.write(task("a", state=RUNNING))
    world.send()
    assert world.messages == before


def test_a_task_that_has_no_node_yet_is_not_sent() -> None:
    world = World()
    world.write(task("a", state=PENDING))
    world.send(complete=True)
    assert world.tasks == {}
    world.write(task("a"))
    world.send()
    assert world.tasks.keys() == {"a"}


def test_a_large_set_comes_in_parts() -> None:
    world = World()
    world.write(*(task(f"t{number}", secrets="x") for number in range(50)), secret("x"))
    world.send(complete=True, bytes_max=200)
    assert world.messages > 5
    world.check()


NAMES = st.text("xyz", max_size=2)
TASKS_ST = st.builds(
    task,
    st.sampled_from("abcd"),
    node_id=st.sampled_from(("n", "other")),
    state=st.sampled_from((PENDING, ASSIGNED, RUNNING, FAILED)),
    desired=st.sampled_from((RUNNING, SHUTDOWN)),
    secrets=NAMES,
    configs=NAMES,
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            TASKS_ST.map(lambda made: ("write", made)),
            st.sampled_from("abcd").map(lambda task_id: ("remove", task_id)),
            st.sampled_from((("send", False), ("send", True))),
        ),
        max_size=40,
    ),
    st.integers(1, 400),
)
def test_a_node_that_takes_every_step_has_what_the_store_says(
    steps: list[tuple[str, object]], bytes_max: int
) -> None:
    world = World()
    world.write(secret("x"), secret("y"), config("y"), config("z"))
    world.send(complete=True)
    for what, value in steps:
        match what, value:
            case "write", objects_pb2.Task():
                world.write(value)
            case "remove", str() if world.memory.view().get(TASKS, value) is not None:
                world.write(gone=value)
            case "send", bool():
                world.send(complete=value, bytes_max=bytes_max)
                world.check()
    world.send(bytes_max=bytes_max)
    world.check()
