"""Nodes by what people call them."""

from collections.abc import Sequence

import pytest

from beeyard.swarm.v1 import objects_pb2
from services.kit import errors
from services.swarmd.gateway import lookup
from services.swarmd.store import tables


class Nodes:
    """A store of nodes only."""

    def __init__(self, *nodes: objects_pb2.Node) -> None:
        self._nodes = {node.id: node for node in nodes}

    def get(self, _table: object, object_id: str) -> objects_pb2.Node | None:
        return self._nodes.get(object_id)

    def list(self, _table: object) -> Sequence[objects_pb2.Node]:
        return list(self._nodes.values())

    def find(self, index: object, key: str) -> Sequence[objects_pb2.Node]:
        assert index is tables.NODES_BY_HOSTNAME
        return [node for node in self._nodes.values() if node.description.hostname.casefold() == key]


def _node(node_id: str, hostname: str) -> objects_pb2.Node:
    return objects_pb2.Node(
        id=node_id, description=objects_pb2.NodeDescription(hostname=hostname, address=f"{hostname}:2377")
    )


STORE = Nodes(
    _node("abc1", "web-1"),
    _node("abd2", "web-2"),
    _node("x9", "abc1"),
    _node("y1", "twin"),
    _node("y2", "twin"),
)


@pytest.mark.parametrize(
    ("name", "node_id"),
    [("abc1", "abc1"), ("web-2", "abd2"), ("WEB-2", "abd2"), ("abd", "abd2"), ("x", "x9")],
)
def test_an_id_before_a_host_name_before_a_prefix(name: str, node_id: str) -> None:
    assert lookup.node_named(STORE, name).id == node_id


@pytest.mark.parametrize("name", ["ab", "twin", "y"])
def test_what_means_several_is_refused(name: str) -> None:
    with pytest.raises(errors.FailedPrecondition, match="2 nodes match") as refused:
        lookup.node_named(STORE, name)
    assert refused.value.reason == "NODE_AMBIGUOUS"


@pytest.mark.parametrize("name", ["", "nobody"])
def test_what_means_nobody_is_not_found(name: str) -> None:
    with pytest.raises(errors.NotFound) as refused:
        lookup.node_named(STORE, name)
    assert refused.value.reason == "NODE_NOT_FOUND"


def test_a_node_is_where_it_says() -> None:
    place = lookup.place_of(STORE.list(None)[0])
    assert (place.node_id, place.address, place.hostname) == ("abc1", "web-1:2377", "web-1")
    never_seen = objects_pb2.Node(id="m", manager=objects_pb2.ManagerStatus(address="10.0.0.1:2377"))
    assert lookup.place_of(never_seen).address == "10.0.0.1:2377"
