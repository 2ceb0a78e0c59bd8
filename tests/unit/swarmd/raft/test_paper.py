"""The sentences of the dissertation (Ongaro 2014) that say what a member must do, one test each.

A test's name has the section; its docstring is the sentence, in short. Each makes a scene, lets one thing happen, and
looks.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from services.swarmd.raft.core import effects, events, messages
from services.swarmd.raft.core.membership import Demote, Promote, Remove
from services.swarmd.raft.core.node import RaftCore
from services.swarmd.raft.core.types import (
    NOBODY,
    Entry,
    EntryKind,
    HardState,
    Recovered,
    Role,
    Settings,
    Snapshot,
    SnapshotMeta,
)
from tests.golden.raft.group import Group

TERM = 2
"""The term of the first election; a cluster is founded in term 1."""


def group(voters: int = 3) -> Group:
    made = Group()
    made.found(voters)
    return made


def led(voters: int = 3) -> Group:
    """Return a group that member 1 leads."""
    made = group(voters)
    made.elect(1)
    return made


def sent(of: Group, kind: type) -> list[messages.Message]:
    return [message for message in of.table if isinstance(message, kind)]


def with_log(member_id: int, voters: int, *terms: int, term: int = 0, vote: int = NOBODY) -> Recovered:
    """Return what a member of that cluster recovers with entries of these terms after the founding one."""
    founding = group(voters).nodes[member_id].core.log.between(1, 1)
    entries = [*founding, *(Entry(at, of, data=b"x") for at, of in enumerate(terms, 2))]
    state = HardState(term=term or max(terms, default=1), vote=vote, commit=1)
    return Recovered(hard_state=state, entries=tuple(entries))


# ---- 3.3 terms


def test_3_3_a_stale_member_takes_over_the_larger_term() -> None:
    """If one server's current term is smaller than the other's, it updates its current term to the larger value."""
    scene = led()
    scene.step(2, events.Received(message=messages.Heartbeat(sender=3, to=2, term=9, commit=1)))
    assert scene.nodes[2].core.term == 9
    assert scene.nodes[2].core.leader == 3


@pytest.mark.parametrize("role", [Role.CANDIDATE, Role.LEADER])
def test_3_3_a_candidate_or_leader_reverts_to_follower_when_its_term_is_stale(role: Role) -> None:
    """If a candidate or leader discovers that its term is out of date, it immediately reverts to follower state."""
    scene = led() if role is Role.LEADER else group()
    if role is Role.CANDIDATE:
        scene.step(1, events.Campaign())
        scene.deliver()
        scene.deliver()
    assert scene.nodes[1].core.role is role
    answer = messages.AppendResponse(sender=2, to=1, term=9, index=0)
    scene.step(1, events.Received(message=answer))
    assert scene.nodes[1].core.role is Role.FOLLOWER
    assert scene.nodes[1].core.term == 9


def test_3_3_a_request_with_a_stale_term_is_rejected() -> None:
    """If a server receives a request with a stale term number, it rejects the request."""
    scene = led()
    before = scene.nodes[2].core.log.last_index
    entry = Entry(before + 1, 1, data=b"old")
    late = messages.AppendRequest(
        sender=3, to=2, term=1, prev_index=before, prev_term=TERM, commit=0, entries=(entry,)
    )
    scene.step(2, events.Received(message=late))
    assert scene.nodes[2].core.log.last_index == before
    (answer,) = scene.table
    assert answer.term == TERM, "the answer tells the sender the new term"


# ---- 3.4 elections


def test_3_4_members_start_as_followers() -> None:
    """When servers start up, they begin as followers."""
    assert {node.core.role for node in group().nodes.values()} == {Role.FOLLOWER}


def test_3_4_a_follower_stays_one_as_long_as_it_hears_a_leader() -> None:
    """A server remains in follower state as long as it receives valid RPCs from a leader or candidate."""
    scene = led()
    for _ in range(50):
        scene.step(2, events.Tick())
        scene.step(2, events.Received(message=messages.Heartbeat(sender=1, to=2, term=TERM, commit=1)))
    assert scene.nodes[2].core.role is Role.FOLLOWER


def test_3_4_a_leader_sends_heartbeats_to_all() -> None:
    """Leaders send periodic heartbeats to all followers in order to maintain their authority."""
    scene = led(5)
    scene.step(1, events.Tick())
    assert {message.to for message in sent(scene, messages.Heartbeat)} == {2, 3, 4, 5}


def test_3_4_a_follower_that_hears_nothing_begins_an_election() -> None:
    """If a follower receives no communication over the election timeout, it begins an election."""
    scene = group()
    for _ in range(scene.settings.election_ticks_max):
        scene.step(2, events.Tick())
    assert {message.to for message in sent(scene, messages.VoteRequest)} == {1, 3}


def test_3_4_a_candidate_increments_its_term_votes_for_itself_and_asks_all() -> None:
    """It increments its current term, votes for itself and issues RequestVote RPCs to each of the other servers."""
    scene = group(5)
    scene.step(1, events.Campaign())
    scene.deliver()
    scene.deliver()
    core = scene.nodes[1].core
    assert (core.role, core.term, core.vote) == (Role.CANDIDATE, TERM, 1)
    real = [
        message for message in scene.table if isinstance(message, messages.VoteRequest) and not message.pre
    ]
    assert {message.to for message in real} == {2, 3, 4, 5}
    assert scene.nodes[1].disk.hard_state.vote == 1, "its own vote is durable before anybody is asked"


@pytest.mark.parametrize(
    ("voters", "granted", "role"),
    [
        (1, 0, Role.LEADER),
        (3, 1, Role.LEADER),
        (3, 0, Role.CANDIDATE),
        (5, 1, Role.CANDIDATE),
        (5, 2, Role.LEADER),
        (5, 4, Role.LEADER),
    ],
)
def test_3_4_a_candidate_wins_with_a_majority(voters: int, granted: int, role: Role) -> None:
    """A candidate wins an election if it receives votes from a majority of the servers for the same term."""
    scene = group(voters)
    scene.step(1, events.Campaign())
    scene.deliver()
    scene.deliver()
    for voter in range(2, 2 + granted):
        vote = messages.VoteResponse(sender=voter, to=1, term=TERM, granted=True)
        scene.step(1, events.Received(message=vote))
    assert scene.nodes[1].core.role is role


def test_3_4_a_candidate_that_is_denied_by_a_majority_gives_up() -> None:
    """Not in the paper: it knows that it lost, and waits a whole timeout."""
    scene = group()
    scene.step(1, events.Campaign())
    scene.deliver()
    scene.deliver()
    for voter in (2, 3):
        vote = messages.VoteResponse(sender=voter, to=1, term=TERM, granted=False)
        scene.step(1, events.Received(message=vote))
    assert scene.nodes[1].core.role is Role.FOLLOWER
    assert scene.nodes[1].core.vote == 1, "and remembers its vote"


@pytest.mark.parametrize(
    ("vote", "candidate", "granted"), [(NOBODY, 1, True), (NOBODY, 3, True), (1, 1, True), (1, 3, False)]
)
def test_3_4_one_vote_a_term_first_come_first_served(vote: int, candidate: int, granted: bool) -> None:
    """Each server will vote for at most one candidate in a given term, on a first-come-first-served basis."""
    scene = Group()
    scene.add(2, with_log(2, 3, term=7, vote=vote))
    ask = messages.VoteRequest(sender=candidate, to=2, term=7, last_index=9, last_term=6)
    scene.step(2, events.Received(message=ask))
    (answer,) = sent(scene, messages.VoteResponse)
    assert isinstance(answer, messages.VoteResponse)
    assert answer.granted is granted


@pytest.mark.parametrize("term", [TERM, TERM + 1])
def test_3_4_a_candidate_recognises_a_leader_of_its_term_or_a_later_one(term: int) -> None:
    """If the leader's term is at least as large as the candidate's, the candidate returns to follower state."""
    scene = group()
    scene.step(1, events.Campaign())
    scene.deliver()
    scene.deliver()
    scene.step(1, events.Received(message=messages.Heartbeat(sender=2, to=1, term=term, commit=1)))
    assert scene.nodes[1].core.role is Role.FOLLOWER
    assert scene.nodes[1].core.leader == 2


def test_3_4_election_timeouts_are_chosen_anew_from_an_interval() -> None:
    """Election timeouts are chosen randomly from a fixed interval; it restarts with another one each time."""
    settings = Settings(election_ticks_min=10, election_ticks_max=20)
    seen = set()
    for seed in range(100):
        recovered = with_log(1, 3)
        core = RaftCore(own_id=1, recovered=recovered, settings=settings, rng=random.Random(seed))
        ticks = 0
        while core.role is Role.FOLLOWER:
            core.step(events.Tick())
            ticks += 1
        seen.add(ticks)
    assert seen == set(range(10, 20))


def test_3_4_followers_rarely_time_out_together() -> None:
    """Randomized election timeouts ensure that split votes are rare."""
    settings = Settings(election_ticks_min=10, election_ticks_max=20)
    together = 0
    for seed in range(300):
        ticks = [0, 0]
        for at in (0, 1):
            core = RaftCore(
                own_id=at + 1,
                recovered=with_log(at + 1, 3),
                settings=settings,
                rng=random.Random(2 * seed + at),
            )
            while core.role is Role.FOLLOWER:
                core.step(events.Tick())
                ticks[at] += 1
        together += ticks[0] == ticks[1]
    assert together < 60


# ---- 3.5 replication


def test_3_5_the_leader_appends_and_sends_in_parallel() -> None:
    """The leader appends the command to its log as a new entry, then issues AppendEntries RPCs in parallel."""
    scene = led()
    scene.nodes[1].manual = True
    scene.propose(1, "x")
    assert scene.nodes[1].core.log.last_index == 3
    assert {message.to for message in sent(scene, messages.AppendRequest)} == {2, 3}


def test_3_5_an_entry_is_committed_when_a_majority_has_it() -> None:
    """A log entry is committed once the leader that created the entry has replicated it on a majority."""
    scene = led(5)
    scene.propose(1, "x")
    scene.deliver(lambda message: message.to == 2)
    scene.deliver(lambda message: message.sender == 2)
    assert scene.nodes[1].core.log.commit == 2
    scene.deliver(lambda message: message.to == 3)
    scene.deliver(lambda message: message.sender == 3)
    assert scene.nodes[1].core.log.commit == 3


def test_3_5_followers_learn_the_commit_position_from_the_leader() -> None:
    """The leader includes its highest committed index in future AppendEntries RPCs so that other servers find out."""
    scene = led()
    scene.propose(1, "x")
    scene.stabilize()
    assert [node.applied[-1].data for node in scene.nodes.values()] == [b"x"] * 3


def test_3_5_entries_are_applied_in_the_order_of_the_log() -> None:
    """Once a follower learns that an entry is committed, it applies it to its state machine, in log order."""
    scene = led()
    scene.propose(1, *"abcdefgh")
    scene.stabilize()
    for node in scene.nodes.values():
        assert [entry.index for entry in node.applied] == list(range(1, 11))


@pytest.mark.parametrize(
    ("follower", "prev_index", "prev_term", "agrees"),
    [
        ([2, 2, 3], 4, 3, True),
        ([2, 2, 3], 3, 2, True),
        ([2, 2, 3], 4, 2, False),
        ([2, 2, 3], 5, 3, False),
        ([], 1, 1, True),
        ([], 2, 2, False),
    ],
)
def test_3_5_the_consistency_check(
    follower: list[int], prev_index: int, prev_term: int, agrees: bool
) -> None:
    """If the follower does not find an entry in its log with the same index and term, it refuses the new entries."""
    scene = Group()
    scene.add(2, with_log(2, 3, *follower, term=4))
    request = messages.AppendRequest(
        sender=1, to=2, term=4, prev_index=prev_index, prev_term=prev_term, commit=1
    )
    scene.step(2, events.Received(message=request))
    (answer,) = sent(scene, messages.AppendResponse)
    assert isinstance(answer, messages.AppendResponse)
    assert answer.rejected is not agrees


@pytest.mark.parametrize(
    ("follower", "leader", "after"),
    [
        ([2, 3, 4, 4], [2, 3, 4, 4, 5], [2, 3, 4, 4, 5]),  # figure 3.6: lacks entries
        ([2, 3, 4, 4, 4, 4], [2, 3, 5], [2, 3, 5]),  # has entries that nobody else has
        ([2, 2, 2, 2], [2, 3, 3], [2, 3, 3]),  # both
        ([2, 3, 3], [2, 3, 3], [2, 3, 3]),
        ([], [2, 2, 2], [2, 2, 2]),
    ],
)
def test_3_5_the_leader_makes_followers_logs_equal_its_own(
    follower: list[int], leader: list[int], after: list[int]
) -> None:
    """The leader handles inconsistencies by forcing the followers' logs to duplicate its own."""
    scene = Group()
    scene.add(1, with_log(1, 3, *leader, term=9))
    scene.add(2, with_log(2, 3, *follower, term=9))
    scene.elect(1)
    assert scene.terms(2) == scene.terms(1) == [1, *after, 10]


def test_3_5_an_old_append_takes_nothing_away() -> None:
    """If an existing entry conflicts with a new one, delete it and all that follow; and only then."""
    scene = led()
    scene.propose(1, "a")
    late = [message for message in scene.table if message.to == 2]
    scene.stabilize()
    scene.propose(1, "b")
    scene.stabilize()
    for message in late:
        scene.step(2, events.Received(message=message))
    assert scene.terms(2) == scene.terms(1)


def test_3_5_a_leader_never_overwrites_its_own_log() -> None:
    """A leader never overwrites or deletes entries in its own log (leader append-only)."""
    scene = Group()
    scene.add(1, with_log(1, 3, 2, 2, term=9))
    scene.add(2, with_log(2, 3, term=9))
    scene.elect(1)
    scene.propose(1, "x")
    scene.stabilize()
    assert scene.terms(1)[:3] == [1, 2, 2]


def test_3_5_a_follower_skips_a_whole_term_in_one_refusal() -> None:
    """With this optimization, one AppendEntries RPC will be required for each term with conflicting entries."""
    scene = Group()
    scene.add(1, with_log(1, 2, *[2] * 3, *[5] * 20, term=9))
    scene.add(2, with_log(2, 2, *[2] * 3, *[4] * 40, term=9))
    refusals: list[messages.Message] = []

    def count(message: messages.Message) -> bool:
        if isinstance(message, messages.AppendResponse) and message.rejected:
            refusals.append(message)
        return True

    scene.on_post = count
    scene.elect(1)
    assert scene.terms(2) == scene.terms(1)
    assert len(refusals) <= 2


# ---- 3.6 safety


@pytest.mark.parametrize(
    ("voter", "last_index", "last_term", "granted"),
    [
        ([2, 2], 3, 2, True),  # the same
        ([2, 2], 4, 2, True),  # longer
        ([2, 2], 2, 2, False),  # shorter
        ([2, 2], 2, 3, True),  # of a later term, though shorter
        ([2, 2], 9, 1, False),  # of an earlier term, though longer
        ([2, 3], 3, 2, False),
        ([2, 3], 3, 3, True),
    ],
)
def test_3_6_1_the_voter_denies_its_vote_to_a_less_current_log(
    voter: list[int], last_index: int, last_term: int, granted: bool
) -> None:
    """The voter denies its vote if its own log is more up-to-date than that of the candidate."""
    scene = Group()
    scene.add(2, with_log(2, 3, *voter, term=6))
    ask = messages.VoteRequest(sender=1, to=2, term=7, last_index=last_index, last_term=last_term)
    scene.step(2, events.Received(message=ask))
    (answer,) = sent(scene, messages.VoteResponse)
    assert isinstance(answer, messages.VoteResponse)
    assert answer.granted is granted


def test_3_6_2_only_entries_of_the_own_term_are_committed_by_counting() -> None:
    """Raft never commits log entries from previous terms by counting replicas. (Figure 3.7 is among the scripts.)"""
    scene = Group(replace(Group().settings, message_bytes_max=1, inflight_messages_max=1))
    scene.add(1, with_log(1, 3, 2, 2, term=2))
    scene.add(2, with_log(2, 3, term=2))
    scene.step(1, events.Campaign())
    for _ in range(20):
        if scene.terms(2) == [1, 2, 2]:
            break
        scene.deliver()
    scene.deliver(lambda message: message.sender == 2)
    core = scene.nodes[1].core
    assert core.status().peers[0].match == 3
    assert core.log.commit == 1
    scene.stabilize()
    assert core.log.commit == 4, "the entry of its own term takes those before it along"


def test_3_6_2_a_leader_opens_its_term_with_an_empty_entry() -> None:
    """The leader appends a blank no-op entry at the start of its term (6.4 gives the reason for reads)."""
    scene = led()
    last = scene.nodes[1].core.log.between(2, 2)[0]
    assert (last.kind, last.term) == (EntryKind.NOOP, TERM)


# ---- 3.7 to 3.10


def test_3_8_term_vote_and_log_survive_a_restart() -> None:
    """Each server persists its current term and vote, and its log, before responding to RPCs."""
    scene = led()
    scene.propose(1, "x")
    scene.stabilize()
    for node in scene.nodes.values():
        before = node.core
        node.restart()
        after = node.core
        assert (after.term, after.vote) == (before.term, before.vote)
        assert after.log.last_index == before.log.last_index
        assert node.core.role is Role.FOLLOWER


def test_3_8_nothing_is_acknowledged_before_it_is_durable() -> None:
    """Servers persist newly added log entries before acknowledging them."""
    scene = led()
    scene.nodes[2].manual = True
    scene.propose(1, "x")
    scene.deliver(lambda message: message.to == 2)
    assert not sent(scene, messages.AppendResponse)
    scene.nodes[2].write()
    assert sent(scene, messages.AppendResponse)


def test_3_10_leadership_is_transferred_to_a_current_log() -> None:
    """The prior leader fully updates the target's log, then sends a TimeoutNow request to it."""
    scene = led()
    scene.cut = {2}
    scene.propose(1, "x")
    scene.stabilize()
    scene.cut = set()
    scene.step(1, events.TransferLeadership(to=2))
    assert not sent(scene, messages.TimeoutNow)
    scene.step(1, events.Tick())
    scene.stabilize()
    assert scene.nodes[2].core.role is Role.LEADER
    assert scene.terms(2)[:3] == [1, TERM, TERM]


def test_3_10_the_prior_leader_stops_accepting_requests() -> None:
    """The prior leader stops accepting new client requests."""
    scene = led()
    scene.step(1, events.TransferLeadership(to=2))
    answers = scene.nodes[1].core.step(events.Propose(proposals=(events.Proposal(request_id=1, data=b"x"),)))
    assert [answer.reason for answer in answers if isinstance(answer, effects.Refused)] == [
        effects.Refusal.TRANSFERRING
    ]


def test_3_10_a_transfer_is_given_up_after_an_election_timeout() -> None:
    """If leadership transfer does not complete after about an election timeout, the prior leader aborts it."""
    scene = led()
    scene.step(1, events.TransferLeadership(to=2))
    scene.drop()
    for _ in range(scene.settings.election_ticks_min):
        scene.step(1, events.Tick())
        scene.stabilize([1, 3])
    scene.propose(1, "x")
    assert scene.nodes[1].core.log.last_index == 3


# ---- 4 membership


def test_4_1_a_configuration_counts_as_soon_as_it_is_in_the_log() -> None:
    """The new configuration takes effect on each server as soon as it is added to that server's log."""
    scene = led()
    scene.nodes[1].manual = True
    scene.step(1, events.ChangeMembers(request_id=1, change=Remove(member_id=3)))
    assert scene.nodes[1].core.config.voters == (1, 2)


def test_4_1_a_configuration_is_taken_back_with_its_entry() -> None:
    """A server falls back to the previous configuration in its log if the entry is removed."""
    scene = led()
    scene.cut = {1}
    scene.step(1, events.ChangeMembers(request_id=1, change=Remove(member_id=3)))
    scene.drop()
    for member in (2, 3):
        for _ in range(scene.settings.election_ticks_min):
            scene.step(member, events.Tick())
    scene.elect(2)
    assert 3 not in scene.nodes[1].core.config
    scene.cut = set()
    scene.step(2, events.Tick())
    scene.stabilize()
    assert scene.nodes[1].core.config.voters == (1, 2, 3)


def test_4_1_only_one_change_at_a_time() -> None:
    """Changes are only allowed one server at a time; the previous one must be committed before."""
    scene = led()
    scene.step(1, events.ChangeMembers(request_id=1, change=Remove(member_id=3)))
    answers = scene.nodes[1].core.step(events.ChangeMembers(request_id=2, change=Remove(member_id=2)))
    assert [answer.reason for answer in answers if isinstance(answer, effects.Refused)] == [
        effects.Refusal.CHANGE_IN_PROGRESS
    ]


def test_4_2_1_a_new_member_does_not_count_until_it_caught_up() -> None:
    """A new server joins as a non-voting member: the leader replicates to it, but does not count it."""
    scene = Group()
    scene.found(2, learners=[3])
    scene.step(1, events.Campaign())
    scene.stabilize()
    scene.cut = {2}
    scene.propose(1, "x")
    scene.stabilize()
    core = scene.nodes[1].core
    assert {peer.id: peer.match for peer in core.status().peers} == {2: 2, 3: 3}
    assert core.log.commit == 2


def test_4_2_1_a_learner_does_not_stand_for_election() -> None:
    """Non-voting members do not start elections."""
    scene = Group()
    scene.found(2, learners=[3])
    for _ in range(100):
        scene.step(3, events.Tick())
    assert scene.nodes[3].core.role is Role.FOLLOWER
    assert scene.nodes[3].core.leader == NOBODY, "but it knows that there is no leader"


@pytest.mark.parametrize("change", [Remove(member_id=1), Demote(member_id=1)])
def test_4_2_2_a_leader_that_leaves_steps_down_when_that_is_committed(change: Remove | Demote) -> None:
    """A leader that is removed from the configuration steps down once the new configuration entry is committed."""
    scene = led()
    scene.step(1, events.ChangeMembers(request_id=1, change=change))
    assert scene.nodes[1].core.status().role is Role.LEADER
    scene.stabilize()
    assert scene.nodes[1].core.status().role is Role.FOLLOWER
    assert [node.core.role for node in scene.nodes.values()].count(Role.LEADER) == 1


def test_4_2_2_a_leader_that_leaves_does_not_count_itself() -> None:
    """There will be a period where a leader replicates log entries but does not count itself in majorities."""
    scene = led()
    scene.step(1, events.ChangeMembers(request_id=1, change=Remove(member_id=1)))
    scene.deliver(lambda message: message.to == 2)
    scene.deliver(lambda message: message.sender == 2)
    assert scene.nodes[1].core.log.commit == 2, "of 2 and 3, only 2 has it"


def test_4_2_2_a_voter_need_not_know_the_candidate() -> None:
    """A server grants votes without consulting its current configuration."""
    scene = led()
    for _ in range(scene.settings.election_ticks_max):
        scene.step(2, events.Tick())
    scene.drop()
    stranger = messages.VoteRequest(sender=9, to=2, term=20, last_index=99, last_term=19)
    scene.step(2, events.Received(message=stranger))
    (answer,) = sent(scene, messages.VoteResponse)
    assert isinstance(answer, messages.VoteResponse)
    assert answer.granted


def test_4_2_3_elections_are_ignored_while_the_leader_is_heard() -> None:
    """If a server receives a RequestVote within the minimum election timeout of hearing a leader, it ignores it."""
    scene = led()
    ask = messages.VoteRequest(sender=3, to=2, term=20, last_index=99, last_term=19)
    scene.step(2, events.Received(message=ask))
    assert scene.nodes[2].core.term == TERM
    assert not scene.table


def test_4_2_3_a_transfer_is_let_through() -> None:
    """A flag in the RequestVote says that the disruption is intended, by the leader."""
    scene = led()
    ask = messages.VoteRequest(sender=3, to=2, term=20, last_index=99, last_term=19, transfer=True)
    scene.step(2, events.Received(message=ask))
    assert scene.nodes[2].core.term == 20
    assert scene.nodes[2].core.vote == 3


def test_4_promotion_waits_for_its_own_majority() -> None:
    """The majority that commits a configuration is that of the configuration itself."""
    scene = Group()
    scene.found(1, learners=[2])
    scene.elect(1)
    scene.cut = {2}
    scene.step(1, events.ChangeMembers(request_id=1, change=Promote(member_id=2)))
    scene.stabilize()
    assert scene.nodes[1].core.log.commit == 2


# ---- 5 compaction


def test_5_1_a_follower_far_behind_gets_the_snapshot() -> None:
    """The leader must occasionally send snapshots to followers that lag behind."""
    scene = led()
    scene.cut = {3}
    scene.propose(1, *"abcdef")
    scene.stabilize()
    scene.take_snapshot(1, 8, 8)
    scene.cut = set()
    scene.step(1, events.Tick())
    scene.stabilize()
    assert scene.nodes[3].core.log.snapshot.index == 8
    assert scene.nodes[3].core.log.commit == 8


def test_5_1_a_snapshot_of_what_is_here_keeps_the_entries_after_it() -> None:
    """If the follower has the snapshot's last entry, the entries following it are still valid and must be retained."""
    scene = led()
    scene.nodes[3].manual = True
    scene.propose(1, "a", "b")
    scene.deliver(lambda message: message.to == 3)
    log = scene.nodes[1].core.log
    meta = SnapshotMeta(index=3, term=TERM, config=log.config)
    late = messages.InstallSnapshot(sender=1, to=3, term=TERM, snapshot=Snapshot(meta=meta, data=b""))
    scene.step(3, events.Received(message=late))
    assert scene.terms(3) == [1, TERM, TERM, TERM]
    assert scene.nodes[3].core.log.commit == 3


# ---- 6.4 reads


def test_6_4_a_read_waits_for_the_terms_first_commit() -> None:
    """If the leader has not yet marked an entry from its current term committed, it waits until it has done so."""
    scene = group()
    scene.step(1, events.Campaign())
    for _ in range(4):
        scene.deliver()
    scene.drop()
    scene.step(1, events.ReadIndex(request_id=7))
    assert not sent(scene, messages.Heartbeat)


def test_6_4_a_read_needs_a_round_of_heartbeats() -> None:
    """The leader needs to make sure it has not been superseded: it issues heartbeats and waits for a majority."""
    scene = led()
    scene.notes.clear()
    scene.step(1, events.ReadIndex(request_id=7))
    assert not any("may be served" in note for note in scene.notes)
    scene.deliver(lambda message: message.to == 2)
    scene.deliver(lambda message: message.sender == 2)
    assert any("read 7 may be served at 2" in note for note in scene.notes)


def test_6_4_an_answer_to_an_earlier_heartbeat_is_no_confirmation() -> None:
    """The round must begin after the read."""
    scene = led()
    scene.step(1, events.Tick())
    scene.deliver()
    scene.notes.clear()
    scene.step(1, events.ReadIndex(request_id=7))
    scene.deliver(lambda message: isinstance(message, messages.HeartbeatResponse))
    assert not any("may be served" in note for note in scene.notes)


# ---- 9.6 pre-vote


def test_9_6_a_pre_vote_changes_nothing() -> None:
    """A server does not increment its term unless it learns that it could win."""
    scene = led()
    scene.cut = {3}
    for _ in range(100):
        scene.step(3, events.Tick())
    assert scene.nodes[3].core.term == TERM
    assert scene.nodes[3].core.vote == 1


def test_9_6_a_voter_that_hears_the_leader_gives_no_pre_vote() -> None:
    """A server would grant it only if it has not received heartbeats from a valid leader for a baseline timeout."""
    scene = led()
    ask = messages.VoteRequest(sender=3, to=2, term=TERM + 1, last_index=9, last_term=TERM, pre=True)
    scene.step(2, events.Received(message=ask))
    assert not scene.table
    for _ in range(scene.settings.election_ticks_min):
        scene.step(2, events.Tick())
    scene.step(2, events.Received(message=ask))
    (answer,) = sent(scene, messages.VoteResponse)
    assert isinstance(answer, messages.VoteResponse)
    assert answer.granted
    after = scene.nodes[2].core.status()
    assert (after.term, after.vote) == (TERM, 1), "and it promised nothing"
