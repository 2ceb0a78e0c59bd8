"""Lookup, filters, pages, counts and defaults."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from beeyard.swarm.v1 import control_pb2, objects_pb2
from services.kit import errors
from services.swarmd.api import counts, defaults, filters, lookup, paging
from services.swarmd.store.memory import Memory
from services.swarmd.store.tables import NODES, SERVICES, TASKS
from services.swarmd.store.transaction import Tx
from services.swarmd.store.views import View
from tests.unit.swarmd.api.messages import refusal_of

RUNNING, COMPLETE = objects_pb2.TASK_STATE_RUNNING, objects_pb2.TASK_STATE_COMPLETE
SHUTDOWN = objects_pb2.TASK_STATE_SHUTDOWN


def store(*objects: objects_pb2.Service | objects_pb2.Task | objects_pb2.Node) -> View:
    memory = Memory()
    for obj in objects:
        tx = Tx(memory.view())
        match obj:
            case objects_pb2.Service():
                tx.create(SERVICES, obj)
            case objects_pb2.Task():
                tx.create(TASKS, obj)
            case objects_pb2.Node():
                tx.create(NODES, obj)
        memory.apply(memory.index + 1, tx.entry(Timestamp()))
    return memory.view()


def service(service_id: str, name: str, replicas: int = 1) -> objects_pb2.Service:
    made = objects_pb2.Service(
        id=service_id, spec=objects_pb2.ServiceSpec(annotations=objects_pb2.Annotations(name=name))
    )
    made.spec.mode.replicated.replicas = replicas
    return made


def task(
    task_id: str,
    service_id: str = "s1",
    slot: int = 1,
    *,
    node_id: str = "up",
    state: objects_pb2.TaskState.ValueType = RUNNING,
    desired: objects_pb2.TaskState.ValueType = RUNNING,
    iteration: int = 0,
) -> objects_pb2.Task:
    return objects_pb2.Task(
        id=task_id,
        service_id=service_id,
        slot=slot,
        node_id=node_id,
        desired_state=desired,
        status=objects_pb2.TaskStatus(state=state),
        job_iteration=iteration,
    )


def node(node_id: str, state: objects_pb2.NodeState.ValueType) -> objects_pb2.Node:
    return objects_pb2.Node(id=node_id, status=objects_pb2.NodeStatus(state=state))


def test_an_id_goes_before_a_name_and_a_name_before_a_prefix() -> None:
    view = store(service("abc", "x"), service("xyz", "abc"), service("xyy", "abcd"))
    assert lookup.service(view, "abc").id == "abc"
    assert lookup.service(view, "abcd").id == "xyy"
    assert lookup.service(view, "ab").id == "abc"


@pytest.mark.parametrize(
    ("query", "kind", "reason"),
    [
        ("nothing", errors.NotFound, "SERVICE_NOT_FOUND"),
        ("xy", errors.FailedPrecondition, "SERVICE_AMBIGUOUS"),
        ("", errors.Invalid, "SERVICE_NOT_NAMED"),
        ("a" * 1000, errors.Invalid, "SERVICE_NOT_NAMED"),
    ],
)
def test_what_names_no_service(query: str, kind: type[errors.BeeyardError], reason: str) -> None:
    view = store(service("xyz", "a"), service("xyy", "b"))
    with pytest.raises(kind) as caught:
        lookup.service(view, query)
    assert caught.value.reason == reason


def test_tasks_are_named_by_their_slot() -> None:
    view = store(service("s1", "web"), task("old"), task("new"), task("other", slot=2))
    assert lookup.task(view, "web.1").id == "new", "the newest of the slot"
    assert lookup.task(view, "web.1.old").id == "old"
    assert lookup.task(view, "oth").id == "other"
    with pytest.raises(errors.NotFound):
        lookup.task(view, "web.3")


def chosen(**by_key: list[str]) -> control_pb2.Filters:
    return control_pb2.Filters(
        by_key={
            key.replace("_", "-"): control_pb2.FilterValues(values=values) for key, values in by_key.items()
        }
    )


def test_values_are_alternatives_and_keys_and_labels_all_hold() -> None:
    known: filters.Filter[dict[str, str]] = filters.Filter(
        {"name": lambda item, value: item["name"].startswith(value)},
        {"label": filters.has_label},
    )
    items = [{"name": "a", "x": "1"}, {"name": "b", "x": "1", "y": "2"}, {"name": "c"}]
    assert known.apply(items, chosen()) == items
    assert known.apply(items, chosen(name=["a", "b"])) == items[:2]
    assert known.apply(items, chosen(label=["x=1", "y"])) == [items[1]]
    assert known.apply(items, chosen(name=["a"], label=["y"])) == []
    with pytest.raises(errors.Invalid, match="invalid filter 'colour': use one of label, name"):
        known.apply(items, chosen(colour=["red"]))


ITEMS = st.lists(
    st.tuples(st.text("ab", max_size=2), st.text("xyz", min_size=1, max_size=3)),
    unique_by=lambda pair: pair[1],
)


@given(ITEMS, st.integers(0, 5), st.data())
def test_pages_leave_nothing_out_while_others_come_and_go(
    items: list[tuple[str, str]], size: int, data: st.DataObject
) -> None:
    present = {service_id: service(service_id, name) for name, service_id in items}
    stays, seen, token = set(present), [], ""
    while True:
        page = paging.page(
            list(present.values()),
            lambda item: (item.spec.annotations.name, item.id),
            size=size,
            token=token,
        )
        seen += [item.id for item in page.items]
        token = page.next_token
        if not token:
            break
        gone = data.draw(st.sampled_from(sorted(present)))
        del present[gone]
        stays.discard(gone)
        present["new"] = service("new", data.draw(st.text("ab", max_size=2)))
    assert stays <= set(seen)
    assert len([one for one in seen if one != "new"]) == len({one for one in seen if one != "new"})


@given(st.one_of(st.text(max_size=20), st.sampled_from(("W10=", "WzFd", "bnVsbA==", "Wzsx", "W3t9XQ=="))))
def test_any_token_is_taken_or_refused(token: str) -> None:
    refusal = refusal_of(
        paging.page,
        [service("a", "a")],
        lambda item: (item.spec.annotations.name, item.id),
        size=1,
        token=token,
    )
    assert refusal is None or refusal.reason == "PAGE_TOKEN_INVALID"


def test_a_page_of_large_objects_is_shorter() -> None:
    large = [service(f"s{number}", "x" * (1 << 20)) for number in range(10)]
    page = paging.page(large, lambda item: (item.id,), size=0, token="")
    assert 0 < len(page.items) < 10
    assert page.next_token


def test_what_runs_where_nobody_is_does_not_count() -> None:
    view = store(
        service("s1", "web", replicas=4),
        node("up", objects_pb2.NODE_STATE_READY),
        node("down", objects_pb2.NODE_STATE_DOWN),
        task("a"),
        task("b", node_id="down"),
        task("c", node_id="removed"),
        task("d", desired=SHUTDOWN),
        task("e", state=objects_pb2.TASK_STATE_STARTING),
    )
    found = counts.with_counts(view, view.list(SERVICES)[0])
    assert (found.running_tasks, found.desired_tasks) == (1, 4)


def test_jobs_count_this_run() -> None:
    job = service("s1", "job")
    job.spec.mode.replicated_job.total_completions = 5
    job.job.iteration = 2
    view = store(
        job,
        node("up", objects_pb2.NODE_STATE_READY),
        task("a", state=COMPLETE, desired=COMPLETE, iteration=1),
        task("b", state=COMPLETE, desired=COMPLETE, iteration=2),
        task("c", desired=COMPLETE, iteration=2),
    )
    found = counts.with_counts(view, view.list(SERVICES)[0])
    assert (found.running_tasks, found.desired_tasks, found.completed_tasks) == (1, 5, 1)


def test_defaults_are_shown_and_not_stored() -> None:
    plain = service("s1", "web")
    plain.spec.endpoint.ports.add(target_port=80)
    plain.spec.update.parallelism = 0
    filled = defaults.with_defaults(plain).spec
    assert filled.task.restart.delay_ms == 5000
    assert filled.task.container.stop_grace_ms == 10_000
    assert (filled.update.parallelism, filled.rollback.parallelism) == (0, 1)
    assert filled.update.monitor_ms == 5000
    assert filled.endpoint.mode == objects_pb2.ENDPOINT_MODE_VIP
    assert (filled.endpoint.ports[0].protocol, filled.endpoint.ports[0].mode) == (
        "tcp",
        objects_pb2.PUBLISH_MODE_INGRESS,
    )
    assert not plain.spec.task.HasField("restart")


def test_a_spec_without_a_mode_means_one_replica() -> None:
    assert defaults.normalised(objects_pb2.ServiceSpec()).mode.replicated.replicas == 1
    none = objects_pb2.ServiceSpec()
    none.mode.replicated.SetInParent()
    assert defaults.normalised(none).mode.replicated.replicas == 0
