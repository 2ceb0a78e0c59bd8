"""Placement: filters that explain, and spread."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beeyard.swarm.v1.objects_pb2 import TASK_STATE_ASSIGNED, TASK_STATE_FAILED, TASK_STATE_SHUTDOWN, Task
from services.swarmd.scheduler.core import place as placing
from services.swarmd.scheduler.core.demand import demand_of
from services.swarmd.scheduler.core.filters import Pipeline
from services.swarmd.scheduler.core.fleet import FAILING_MAX, FAILURES_KEPT_MAX, FAILURES_WINDOW_S, Fleet
from services.swarmd.scheduler.core.nodes import NodeView, Resources
from services.swarmd.scheduler.core.spread import rank
from services.swarmd.store import timestamps
from services.swarmd.store.tables import copy_of
from tests.unit.swarmd.scheduler.fleets import NOW, counts, fleet_of, nodes, put, tasks


def test_five_on_five_then_twelve() -> None:
    fleet = fleet_of(*nodes(5))
    wanted = tasks(12)
    assert sorted(counts(put(fleet, wanted[:5])).values()) == [1] * 5
    put(fleet, wanted[5:])
    assert sorted(usage.active_by_service["web"] for usage in fleet.nodes.values()) == [2, 2, 2, 3, 3]


def test_a_task_that_is_assigned_says_so() -> None:
    (task,) = put(fleet_of(*nodes(1)), tasks(1)).assigned
    assert (task.node_id, task.status.state) == ("n01", TASK_STATE_ASSIGNED)
    assert task.status.message == "scheduler assigned task to node"
    assert timestamps.seconds(task.status.since) == NOW


def test_fewer_tasks_of_the_service_come_before_fewer_tasks() -> None:
    fleet = fleet_of(*nodes(2))
    for task in tasks(5, service="other"):
        fleet.observe(placing.assign(task, "n01", NOW))
    fleet.observe(placing.assign(tasks(1)[0], "n02", NOW))
    assert counts(put(fleet, tasks(2)[1:])) == {"n01": 1}


def test_fewer_tasks_break_the_tie() -> None:
    fleet = fleet_of(*nodes(2))
    fleet.observe(placing.assign(tasks(1, service="other")[0], "n01", NOW))
    assert counts(put(fleet, tasks(1))) == {"n02": 1}


def test_less_reserved_breaks_the_last_tie() -> None:
    fleet = fleet_of(*nodes(2, resources=Resources(memory_bytes=100)))
    fleet.observe(placing.assign(tasks(1, service="large", memory=80)[0], "n01", NOW))
    fleet.observe(placing.assign(tasks(1, service="small", memory=10)[0], "n02", NOW))
    assert counts(put(fleet, tasks(1))) == {"n02": 1}


def failing(fleet: Fleet, node_id: str, number: int, at: float) -> None:
    for index in range(number):
        task = placing.assign(tasks(1)[0], node_id, NOW)
        task.id = f"{node_id}-failed-{index}"
        task.status.state = TASK_STATE_FAILED
        timestamps.put(task.status.since, at)
        fleet.observe(task)


@pytest.mark.parametrize(
    ("on_first", "on_second", "age", "chosen"),
    [
        (4, 0, 1.0, "n01"),
        (5, 0, 1.0, "n02"),
        (5, 7, 1.0, "n01"),
        (5, 0, FAILURES_WINDOW_S + 1, "n01"),
    ],
)
def test_nodes_where_such_tasks_fail_come_last(
    on_first: int, on_second: int, age: float, chosen: str
) -> None:
    fleet = fleet_of(*nodes(2))
    failing(fleet, "n01", on_first, NOW - age)
    failing(fleet, "n02", on_second, NOW - age)
    assert counts(put(fleet, tasks(1))) == {chosen: 1}


def test_failures_of_another_version_do_not_count() -> None:
    fleet = fleet_of(*nodes(2))
    failing(fleet, "n01", 9, NOW)
    assert counts(put(fleet, tasks(1, version=2))) == {"n01": 1}


EXPLANATIONS = [
    (nodes(2, ready=False), tasks(1), "no suitable node (2 nodes not available for new tasks)"),
    (nodes(1), tasks(1, memory=1), "no suitable node (insufficient resources on 1 node)"),
    (nodes(3), tasks(1, generic={"ssd": 1}), "no suitable node (insufficient resources on 3 nodes)"),
    (
        nodes(2),
        tasks(1, constraints=["node.role==manager"]),
        "no suitable node (scheduling constraints not satisfied on 2 nodes)",
    ),
    (nodes(1), tasks(1, platforms=["linux/arm64"]), "no suitable node (unsupported platform on 1 node)"),
    ([], tasks(1), "no suitable node"),
    (
        [*nodes(1, ready=False), *[NodeView(id=f"x{n}", role="worker") for n in range(3)]],
        tasks(1, constraints=["node.role==manager"]),
        "no suitable node (scheduling constraints not satisfied on 3 nodes; 1 node not available for new tasks)",
    ),
]


@pytest.mark.parametrize(("fleet_nodes", "wanted", "error"), EXPLANATIONS)
def test_every_refusal_is_explained(fleet_nodes: list[NodeView], wanted: list[Task], error: str) -> None:
    placement = put(fleet_of(*fleet_nodes), wanted)
    assert not placement.assigned
    assert [task.status.error for task in placement.refused] == [error]


def test_host_ports_are_had_once_on_each_node() -> None:
    placement = put(fleet_of(*nodes(2)), tasks(3, host_port=8080))
    assert counts(placement) == {"n01": 1, "n02": 1}
    assert placement.refused[0].status.error == "no suitable node (host-mode port already in use on 2 nodes)"


def test_no_more_than_so_many_on_a_node() -> None:
    placement = put(fleet_of(*nodes(2)), tasks(5, per_node=2))
    assert counts(placement) == {"n01": 2, "n02": 2}
    assert placement.refused[0].status.error == "no suitable node (max replicas per node limit exceed)"


def test_a_node_that_lacks_a_plugin_is_passed_over() -> None:
    wanted = tasks(1)
    wanted[0].spec.container.log.driver = "journald"
    without, unknown = NodeView(id="a", plugins=frozenset({"Log/k8s-file"})), NodeView(id="b")
    assert (
        put(fleet_of(without), wanted).refused[0].status.error
        == "no suitable node (missing plugin on 1 node)"
    )
    assert counts(put(fleet_of(without, unknown), wanted)) == {"b": 1}


def test_a_volume_driver_is_a_plugin() -> None:
    wanted = tasks(1)
    wanted[0].spec.container.mounts.add(volume_driver="nfs")
    wanted[0].spec.container.mounts.add(volume_driver="local")
    assert demand_of(wanted[0]).plugins == {"Volume/nfs"}


def test_what_is_remembered_of_failures_is_bounded() -> None:
    fleet = fleet_of(*nodes(1))
    failing(fleet, "n01", FAILURES_KEPT_MAX + 5, NOW)
    assert fleet.failures("n01", demand_of(tasks(1)[0]), NOW) == FAILURES_KEPT_MAX
    for version in range(2, FAILING_MAX + 2):
        task = placing.assign(tasks(1, version=version)[0], "n01", NOW)
        task.status.state = TASK_STATE_FAILED
        fleet.observe(task)
    assert fleet.failures("n01", demand_of(tasks(1)[0]), NOW) == 0


@pytest.mark.parametrize(
    ("platforms", "fits"),
    [
        ([], True),
        (["linux/amd64"], True),
        (["linux/x86_64"], True),
        (["windows/amd64"], False),
        (["windows/amd64", "linux/amd64"], True),
        (["linux"], True),
        (["linux/arm/v7"], False),
    ],
)
def test_platforms(platforms: list[str], fits: bool) -> None:
    assert bool(put(fleet_of(*nodes(1)), tasks(1, platforms=platforms)).assigned) is fits


def test_a_refusal_that_reads_the_same_changes_nothing() -> None:
    fleet = fleet_of(*nodes(1))
    first = put(fleet, tasks(1, memory=1)).refused
    again = put(fleet, list(first)).refused
    assert again[0] is first[0]


def test_a_task_for_one_node_is_only_checked_there() -> None:
    fleet = fleet_of(*nodes(2, resources=Resources(memory_bytes=10)))
    task = tasks(1, memory=8)[0]
    task.node_id = "n02"
    checked = placing.check(fleet, demand_of(task), task, NOW)
    assert (checked.node_id, checked.status.state) == ("n02", TASK_STATE_ASSIGNED)
    other = tasks(1, memory=8, service="other")[0]
    other.node_id = "n02"
    refused = placing.check(fleet, demand_of(other), other, NOW)
    assert refused.status.error == "insufficient resources on 1 node"
    other.node_id = "gone"
    assert placing.check(fleet, demand_of(other), other, NOW).status.error == "its node is unknown"


# Preferences.


def zoned(*zones: str) -> Fleet:
    return fleet_of(
        *[
            NodeView(id=f"n{number:02d}", labels={"zone": zone} if zone else {})
            for number, zone in enumerate(zones)
        ]
    )


def per_zone(fleet: Fleet) -> dict[str, int]:
    result: Counter[str] = Counter()
    for usage in fleet.nodes.values():
        result[usage.node.labels.get("zone", "")] += usage.active_by_service["web"]
    return dict(result)


def test_tasks_are_spread_over_the_values_of_a_label() -> None:
    fleet = zoned("a", "a", "a", "a", "b")
    put(fleet, tasks(6, spread_over=["node.labels.zone"]))
    assert per_zone(fleet) == {"a": 3, "b": 3}


def test_nodes_without_the_label_are_a_branch_of_their_own() -> None:
    fleet = zoned("a", "", "")
    put(fleet, tasks(4, spread_over=["node.labels.zone"]))
    assert per_zone(fleet) == {"a": 2, "": 2}


def test_a_full_branch_leaves_its_share_to_the_others() -> None:
    fleet = zoned("a", "b", "b")
    placement = put(fleet, tasks(7, spread_over=["node.labels.zone"], per_node=2))
    assert per_zone(fleet) == {"a": 2, "b": 4}
    assert len(placement.refused) == 1


def test_what_is_there_counts_also_on_nodes_that_will_not_do() -> None:
    fleet = zoned("a", "a", "b")
    for index, task in enumerate(tasks(4, version=9)):
        fleet.observe(placing.assign(task, "n00" if index < 4 else "n01", NOW))
    fleet.set_node(NodeView(id="n00", labels={"zone": "a"}, ready=False))
    put(fleet, tasks(4, spread_over=["node.labels.zone"]))
    assert per_zone(fleet) == {"a": 4, "b": 4}


def test_preferences_nest() -> None:
    fleet = fleet_of(
        *[
            NodeView(id=f"{zone}{rack}{number}", labels={"zone": zone}, engine_labels={"rack": rack})
            for zone in "ab"
            for rack in "xy"
            for number in range(2 if rack == "x" else 1)
        ]
    )
    put(fleet, tasks(8, spread_over=["node.labels.zone", "engine.labels.rack"]))
    per_rack: Counter[str] = Counter()
    for usage in fleet.nodes.values():
        per_rack[usage.node.id[:2]] += usage.active
    assert per_rack == {"ax": 2, "ay": 2, "bx": 2, "by": 2}


def test_what_is_no_label_is_no_preference() -> None:
    fleet = fleet_of(*nodes(2))
    assert counts(put(fleet, tasks(4, spread_over=["node.hostname"]))) == {"n01": 2, "n02": 2}


# Properties.

node_views = st.builds(
    NodeView,
    id=st.uuids(version=4).map(str),
    ready=st.sampled_from([True, True, True, False]),
    labels=st.sampled_from([{}, {"zone": "a"}, {"zone": "b"}]),
    resources=st.builds(
        Resources,
        nano_cpus=st.integers(0, 8),
        memory_bytes=st.integers(0, 20),
        generic=st.sampled_from([{}, {"ssd": 1}, {"ssd": 2}]),
    ),
)
groups = st.builds(
    tasks,
    st.integers(1, 12),
    service=st.sampled_from(["web", "db"]),
    version=st.integers(1, 2),
    memory=st.integers(0, 6),
    cpus=st.integers(0, 2),
    generic=st.sampled_from([{}, {}, {"ssd": 1}]),
    constraints=st.sampled_from([[], [], ["node.labels.zone==a"], ["node.labels.zone!=a"]]),
    spread_over=st.sampled_from([[], ["node.labels.zone"]]),
    per_node=st.sampled_from([0, 0, 1, 2]),
    host_port=st.sampled_from([0, 0, 80]),
)
fleets = st.lists(node_views, max_size=7, unique_by=lambda node: node.id)


@settings(deadline=None, max_examples=60)
@given(fleets, st.lists(groups, max_size=5))
def test_nothing_is_overrun_and_every_refusal_is_right(
    views: list[NodeView], wanted: list[list[Task]]
) -> None:
    fleet = fleet_of(*views)
    for number, group in enumerate(wanted):
        for task in group:
            task.id += f"-{number}"
        placement = put(fleet, group)
        assert len(placement.assigned) + len(placement.refused) == len(group)
        by_id = {view.id: view for view in views}
        pipeline = Pipeline(demand_of(group[0]))
        for task in placement.assigned:
            assert by_id[task.node_id].ready
        if placement.refused:
            assert not any(pipeline.passes(usage) for usage in fleet.nodes.values()), "a node would have done"
            error = placement.refused[0].status.error
            assert error == "no suitable node" if not views else error.startswith("no suitable node (")
    for usage in fleet.nodes.values():
        assert usage.room.memory_bytes >= 0 and usage.room.nano_cpus >= 0
        assert all(left >= 0 for left in usage.room.generic.values())
        assert all(count <= 1 for count in usage.host_ports.values())


@settings(deadline=None, max_examples=60)
@given(fleets, st.lists(groups, min_size=1, max_size=4))
def test_each_task_gets_the_best_node_there_is(views: list[NodeView], wanted: list[list[Task]]) -> None:
    """Against the plain way: rank all nodes anew for each task."""
    fleet = fleet_of(*views)
    plain = fleet_of(*views)
    for number, group in enumerate(wanted):
        demand = demand_of(group[0])
        for task in group:
            task.id += f"-{number}"
            del task.spec.placement.spread_over[:]
        demand = demand_of(group[0])
        pipeline = Pipeline(demand)
        expected = []
        for task in group:
            usable = [usage for usage in plain.nodes.values() if pipeline.passes(usage)]
            if usable:
                best = min(usable, key=lambda usage: rank(plain, demand, usage, NOW))
                plain.observe(placing.assign(task, best.node.id, NOW))
                expected.append(best.node.id)
        assert [task.node_id for task in put(fleet, group).assigned] == expected


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 8), st.integers(1, 40))
def test_equal_nodes_are_balanced_within_one(count: int, replicas: int) -> None:
    fleet = fleet_of(*nodes(count))
    put(fleet, tasks(replicas))
    active = [usage.active for usage in fleet.nodes.values()]
    assert sum(active) == replicas
    assert max(active) - min(active) <= 1


@settings(deadline=None, max_examples=60)
@given(fleets, st.lists(groups, max_size=4), st.randoms(use_true_random=False))
def test_a_fleet_that_was_told_everything_equals_one_built_anew(
    views: list[NodeView], wanted: list[list[Task]], random: object
) -> None:
    fleet = fleet_of(*views)
    present: dict[str, Task] = {}
    for number, group in enumerate(wanted):
        for task in group:
            task.id += f"-{number}"
        for task in put(fleet, group).assigned:
            present[task.id] = task
        for task_id in sorted(present):
            fate = random.random()  # type: ignore[attr-defined]
            changed = copy_of(present[task_id])
            if fate < 0.2:
                changed.desired_state = TASK_STATE_SHUTDOWN
            elif fate < 0.3:
                changed.status.state = TASK_STATE_SHUTDOWN
            elif fate < 0.4:
                fleet.forget(task_id)
                del present[task_id]
                continue
            fleet.observe(changed)
            present[task_id] = changed
        if views and random.random() < 0.3:  # type: ignore[attr-defined]
            fleet.drop_node(views[0].id)
            fleet.set_node(views[0])
    anew = Fleet()
    for task in present.values():
        anew.observe(task)
    for view in views:
        anew.set_node(view)
    assert {node_id: state(usage) for node_id, usage in fleet.nodes.items()} == {
        node_id: state(usage) for node_id, usage in anew.nodes.items()
    }
    assert [usage.node.id for usage in fleet.by_load()] == [usage.node.id for usage in anew.by_load()]
    demand = demand_of(tasks(1)[0])
    assert {usage.node.id for usage in fleet.peculiar(demand)} == {
        usage.node.id for usage in anew.peculiar(demand)
    }


def state(usage: object) -> object:
    return (
        usage.active,  # type: ignore[attr-defined]
        +usage.active_by_service,  # type: ignore[attr-defined]
        +usage.host_ports,  # type: ignore[attr-defined]
        usage.room.memory_bytes,  # type: ignore[attr-defined]
        usage.room.nano_cpus,  # type: ignore[attr-defined]
        {kind: left for kind, left in usage.room.generic.items() if left},  # type: ignore[attr-defined]
    )
