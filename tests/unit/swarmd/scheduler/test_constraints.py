"""The grammar of constraints, and what they match."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beeyard.swarm.v1 import objects_pb2
from services.kit import errors
from services.swarmd.scheduler.core.constraints import (
    Constraint,
    Operator,
    matches,
    matches_all,
    meets,
    parse,
    parse_all,
)
from services.swarmd.scheduler.core.nodes import NodeView, node_view

NODE = NodeView(
    id="abc",
    hostname="Host-1",
    address="10.1.2.3",
    role="manager",
    os="linux",
    architecture="x86_64",
    labels={"zone": "East", "Rack": "r1"},
    engine_labels={"disk": "ssd"},
)

keys = st.from_regex(r"[a-z_][a-z0-9\-_.]+", fullmatch=True)
values = st.from_regex(r"[A-Za-z0-9:\-_.*()?+\[\]\\^$|/]+", fullmatch=True)
blanks = st.text(alphabet=" \t", max_size=3)


@given(keys, st.sampled_from(list(Operator)), values, blanks, blanks, blanks, blanks)
def test_what_is_well_formed_is_parsed_and_rendered(
    key: str, operator: Operator, value: str, a: str, b: str, c: str, d: str
) -> None:
    constraint = parse(f"{a}{key}{b}{operator.value}{c}{value}{d}")
    assert constraint == Constraint(key, operator, value)
    assert parse(str(constraint)) == constraint


@given(st.text(alphabet=string.printable, max_size=30))
def test_parsing_is_total(text: str) -> None:
    refusal = None
    try:
        parse(text)
    except errors.Invalid as exc:
        refusal = exc
    if refusal is not None:
        assert repr(text) in refusal.message
        assert refusal.reason == "CONSTRAINT_INVALID"
        assert meets([text], NODE) is False


@pytest.mark.parametrize(
    "text",
    [
        "",
        "node.id",
        "node.id=abc",
        "node.id>abc",
        "==abc",
        "node.id==",
        "1node==a",
        "n==a",
        "node id==a",
        "node.id==a,b",
        "node.id==ä",
    ],
)
def test_what_is_malformed_is_refused(text: str) -> None:
    with pytest.raises(errors.Invalid):
        parse(text)


@pytest.mark.parametrize(
    ("expression", "met"),
    [
        ("node.id==abc", True),
        ("node.id == ABC", True),
        ("node.id!=abc", False),
        ("NODE.ID==abc", True),
        ("node.hostname==host-1", True),
        ("node.hostname==host", False),
        ("node.role==manager", True),
        ("node.role==worker", False),
        ("node.role!=worker", True),
        ("node.platform.os==Linux", True),
        ("node.platform.arch==x86_64", True),
        ("node.platform.arch==amd64", True),
        ("node.platform.arch!=amd64", False),
        ("node.platform.arch==arm64", False),
        ("node.labels.zone==east", True),
        ("node.labels.zone!=east", False),
        ("node.labels.Rack==r1", True),
        ("node.labels.rack==r1", False),
        ("node.labels.none!=x", True),
        ("node.labels.none==x", False),
        ("engine.labels.disk==ssd", True),
        ("engine.labels.zone==east", False),
        ("node.ip==10.1.2.3", True),
        ("node.ip==10.1.0.0/16", True),
        ("node.ip!=10.1.0.0/16", False),
        ("node.ip==10.2.0.0/16", False),
        ("node.ip!=10.2.0.0/16", True),
        ("node.ip==nonsense", False),
        ("node.ip!=nonsense", False),
        ("node.color==red", False),
        ("node.color!=red", False),
        ("node.labels.==x", False),
        ("node.labels.zone==e*", False),
    ],
)
def test_what_matches(expression: str, met: bool) -> None:
    assert matches(parse(expression), NODE) is met


def test_all_must_hold() -> None:
    assert matches_all(parse_all(["node.role==manager", "node.labels.zone==east"]), NODE)
    assert not matches_all(parse_all(["node.role==manager", "node.labels.zone==west"]), NODE)
    assert matches_all((), NODE)


def test_a_node_of_the_store_as_constraints_see_it() -> None:
    node = objects_pb2.Node(id="n1", role=objects_pb2.NODE_ROLE_MANAGER)
    node.spec.annotations.labels["zone"] = "a"
    node.spec.availability = objects_pb2.NODE_AVAILABILITY_PAUSE
    node.description.hostname = "host"
    node.description.architecture = "amd64"
    node.description.engine_labels["disk"] = "ssd"
    node.description.address = "[fd00::1]:2377"
    node.status.state = objects_pb2.NODE_STATE_READY
    view = node_view(node)
    assert (view.role, view.hostname, view.architecture, view.address) == (
        "manager",
        "host",
        "x86_64",
        "fd00::1",
    )
    assert (view.ready, view.paused, view.drained, view.gone) == (False, True, False, False)
    assert meets(["node.ip==fd00::/8", "engine.labels.disk==ssd", "node.labels.zone==a"], view)
    node.status.address = "192.0.2.7:53110"
    assert node_view(node).address == "192.0.2.7"
