"""The two famous mistakes, played out to their end on a table: what the rules against them prevent.

The simulation finds both by the rules that they break; here is shown that more than a rule is at stake.
"""

from __future__ import annotations

from pathlib import Path

from services.swarmd.raft.core import events
from services.swarmd.raft.core.membership import Promote, Remove
from services.swarmd.raft.core.types import Role
from tests.golden.raft.group import Group
from tests.golden.raft.script import run
from tests.sim.raft.mutations import mutated

FIGURE_3_7 = Path(__file__).resolve().parents[2] / "golden" / "raft" / "scripts" / "figure_3_7.txt"


def test_figure_3_7_loses_a_committed_entry_if_old_terms_are_committed_by_counting() -> None:
    with mutated("commits_old_terms_by_counting"):
        lost = run(FIGURE_3_7)
    before, after = lost.split("# (d)")
    assert "apply [3/2 old]" in before, "it was applied on the leader"
    assert "[1/1 (voters 1,2,3,4,5), 2/2 -, 3/3 -, 4/5 -]" in after, "and then replaced"


def members_disagree_after_two_changes() -> bool:
    """Play the hole in the one-at-a-time rule; tell whether two members applied different entries at one index."""
    scene = Group()
    scene.found(4, learners=[5])
    scene.elect(1)
    # 1 gives 5 its vote, in an entry that nobody else gets.
    scene.step(1, events.ChangeMembers(request_id=1, change=Promote(member_id=5)))
    scene.drop()
    # 2 is elected by itself, 3 and 4, and removes 1 before anything of its term is committed; 3 has both entries.
    scene.cut = {1}
    for member in (3, 4):
        for _ in range(scene.settings.election_ticks_min):
            scene.step(member, events.Tick())
    scene.step(2, events.Campaign())
    while scene.nodes[2].core.role is not Role.LEADER:
        scene.deliver()
    scene.drop()
    scene.step(2, events.ChangeMembers(request_id=2, change=Remove(member_id=1)))
    scene.cut = {1, 4, 5}
    scene.step(2, events.Tick())
    scene.stabilize([2, 3])
    scene.drop()
    # 1 comes back. By its log, it, 4 and 5 are a majority.
    scene.cut = {2, 3}
    for member in (1, 4, 5):
        for _ in range(2 * scene.settings.election_ticks_min):
            scene.step(member, events.Tick())
    scene.drop()
    for _ in range(2):  # the first time it learns the term
        scene.step(1, events.Campaign())
        scene.stabilize([1, 4, 5])
    applied: dict[int, int] = {}
    for node in scene.nodes.values():
        for entry in node.applied:
            if applied.setdefault(entry.index, entry.term) != entry.term:
                return True
    return False


def test_two_changes_at_once_make_two_majorities() -> None:
    assert not members_disagree_after_two_changes()
    with mutated("changes_members_before_the_terms_first_commit"):
        assert members_disagree_after_two_changes()
