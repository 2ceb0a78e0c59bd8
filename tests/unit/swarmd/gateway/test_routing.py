"""Where a control call is served: the table of what a node is against what a method needs."""

import pytest

from services.swarmd.gateway import methods, routing
from services.swarmd.gateway.ports import NodePlace
from services.swarmd.gateway.routing import AwaitLeader, PassOn, Reach, Refuse, Serve, Situation, Standing

LEADER = NodePlace(node_id="m1", address="10.0.0.1:2377")
LEADS = Situation(standing=Standing.MANAGER, leading=True, leader=LEADER)
FOLLOWS = Situation(standing=Standing.MANAGER, leader=LEADER)
ELECTS = Situation(standing=Standing.MANAGER, may_soon_lead=True)
LEADERLESS = Situation(standing=Standing.MANAGER)


def _outcome(kind: Reach, situation: Situation, **wishes: bool) -> str:
    wishes = {"stale_read": False, "passed_on": False} | wishes
    match routing.decide(kind, situation, **wishes):
        case Serve():
            return "serve"
        case PassOn():
            return "leader"
        case AwaitLeader():
            return "wait"
        case Refuse(error):
            return error.reason


@pytest.mark.parametrize(
    ("situation", "node", "manager", "read", "write"),
    [
        (Situation(standing=Standing.OUTSIDE), "serve", "NOT_IN_SWARM", "NOT_IN_SWARM", "NOT_IN_SWARM"),
        (Situation(standing=Standing.WORKER), "serve", "NOT_A_MANAGER", "NOT_A_MANAGER", "NOT_A_MANAGER"),
        (Situation(standing=Standing.LOCKED), "serve", "SWARM_LOCKED", "SWARM_LOCKED", "SWARM_LOCKED"),
        (Situation(standing=Standing.STARTING), "serve", "wait", "wait", "wait"),
        (LEADS, "serve", "serve", "serve", "serve"),
        (FOLLOWS, "serve", "serve", "leader", "leader"),
        (ELECTS, "serve", "serve", "wait", "wait"),
        (LEADERLESS, "serve", "serve", "serve", "NO_LEADER"),
    ],
)
def test_every_situation(situation: Situation, node: str, manager: str, read: str, write: str) -> None:
    assert _outcome(Reach.NODE, situation) == node
    assert _outcome(Reach.MANAGER, situation) == manager
    assert _outcome(Reach.LEADER_READ, situation) == read
    assert _outcome(Reach.LEADER, situation) == write


def test_a_read_that_may_be_old_stays_where_it_is() -> None:
    assert _outcome(Reach.LEADER_READ, FOLLOWS, stale_read=True) == "serve"
    assert _outcome(Reach.LEADER, FOLLOWS, stale_read=True) == "leader"


def test_a_call_is_passed_on_once() -> None:
    assert _outcome(Reach.LEADER, FOLLOWS, passed_on=True) == "NOT_LEADER"
    assert _outcome(Reach.LEADER, LEADS, passed_on=True) == "serve"
    assert _outcome(Reach.LEADER, LEADERLESS, passed_on=True) == "NO_LEADER"


def test_who_does_not_lead_says_who_does() -> None:
    error = routing.not_leader(LEADER)
    assert error.metadata == {"leader_address": "10.0.0.1:2377", "leader_node_id": "m1"}


def test_every_control_method_has_its_place() -> None:
    reach = {path.rpartition(".")[2]: routing.reach(method) for path, method in methods.CONTROL.items()}
    of = {kind: {name for name, its in reach.items() if its is kind} for kind in Reach}
    assert of[Reach.NODE] == {
        f"ClusterService/{name}"
        for name in ("InitSwarm", "JoinSwarm", "LeaveSwarm", "UnlockSwarm", "GetLocalState")
    }
    assert of[Reach.MANAGER] == {"WatchService/Watch", "LogService/GetServiceLogs"}
    writes = ("Create", "Update", "Remove", "Issue", "Set", "Rotate")
    assert all(not name.partition("/")[2].startswith(writes) for name in of[Reach.LEADER_READ])
    assert {"ClusterService/GetJoinTokens", "ClusterService/GetUnlockKey"} <= of[Reach.LEADER]
