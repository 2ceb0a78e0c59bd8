"""Known ways to break Raft. Each is a small change of the real code, and the simulation must find it.

They are what shows that the checkers can fail: a checker that never speaks proves nothing. Each has a ground on which
it shows soon, a world that is bad in the way that matters for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

from services.swarmd.raft.core import effects, leader, log, messages, node, pipeline, quorum
from services.swarmd.raft.core.events import ReadIndex
from services.swarmd.raft.core.types import NOBODY, Role, Settings
from tests.sim.raft.disk import SimDisk

Patch = Any  # mock keeps the type of its patchers to itself

_QUICK = Settings(election_ticks_min=6, election_ticks_max=12)
_ONE_BY_ONE = replace(_QUICK, message_bytes_max=1, inflight_messages_max=1)

STORM: Mapping[str, Any] = {
    "members": 3,
    "turbulence": 0.95,
    "clients": 5,
    "think_ms_max": 100.0,
    "delay_ms_max": 100.0,
    "loss": 0.05,
    "fault_every_ticks": 10.0,
    "snapshot_every": 1000,
    "membership_changes": False,
    "skew_max": 1.1,
    "slow_disk": 0.0,
    "settings": _QUICK,
}
"""Leaders fail young, so that logs differ in every way."""

SINGLE_STEPS: Mapping[str, Any] = {**STORM, "settings": _ONE_BY_ONE}
"""The same, and entries go out one by one, so that leaders fail in between."""

BOUNCING: Mapping[str, Any] = {
    **STORM,
    "members": 4,
    "clients": 1,
    "think_ms_max": 800.0,
    "fault_every_ticks": 3.0,
}
"""Members die and come back all the time."""

OPERATORS: Mapping[str, Any] = {
    **STORM,
    "turbulence": 0.4,
    "membership_changes": True,
    "fault_every_ticks": 4.0,
}
"""Members come and go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A fault, and where it shows."""

    patch: Callable[[], Patch]
    ground: Mapping[str, Any] = field(default_factory=dict)
    seeds_max: int = 40
    """Within how many seeds it must be found."""


def _forgets_its_vote_in_a_crash() -> Patch:
    start = node.RaftCore.__init__

    def forgetful(self: Any, *, recovered: Any, **rest: Any) -> None:
        start(
            self, recovered=replace(recovered, hard_state=replace(recovered.hard_state, vote=NOBODY)), **rest
        )

    return mock.patch.object(node.RaftCore, "__init__", forgetful)


def _forgets_its_vote_with_its_role() -> Patch:
    become_follower = node.RaftCore._become_follower

    def forgetful(self: Any, term: int, leader: int) -> None:
        become_follower(self, term, leader)
        self.vote = NOBODY

    return mock.patch.object(node.RaftCore, "_become_follower", forgetful)


def _votes_for_everybody() -> Patch:
    vote_requested = node.RaftCore._vote_requested

    def generous(self: Any, request: messages.VoteRequest) -> None:
        self.vote = NOBODY
        vote_requested(self, request)

    return mock.patch.object(node.RaftCore, "_vote_requested", generous)


def _votes_for_shorter_logs() -> Patch:
    return mock.patch.object(log.RaftLog, "is_current", return_value=True)


def _takes_half_for_a_majority() -> Patch:
    def half(voters: Any) -> int:
        return max(1, (len(voters) + 1) // 2)

    return mock.patch.object(quorum, "majority", half)


def _commits_old_terms_by_counting() -> Patch:
    advance = leader.Leadership.advance_commit

    def eager(self: Any) -> bool:
        index = quorum.agreed_index(self._log.config, self._held_by)
        if index > self._log.commit and self._log.term_at(index) != self._term:
            self._log.commit_to(index)
            return True
        return advance(self)

    return mock.patch.object(leader.Leadership, "advance_commit", eager)


def _counts_itself_before_its_disk() -> Patch:
    held_by = leader.Leadership._held_by

    def hasty(self: Any, member: int) -> int:
        return int(self._log.last_index if member == self._id else held_by(self, member))

    return mock.patch.object(leader.Leadership, "_held_by", hasty)


def _sends_before_it_writes() -> Patch:
    send = pipeline.Pipeline.send

    def hasty(self: Any, effect: effects.Send) -> None:
        send(self, replace(effect, after=0))

    return mock.patch.object(pipeline.Pipeline, "send", hasty)


def _skips_the_sync() -> Patch:
    return mock.patch.object(SimDisk, "sync", return_value=None)


def _old_appends_cut_off_the_log() -> Patch:
    def eager(self: Any, entries: Any) -> None:
        if entries:
            if entries[0].index <= self.last_index:
                self._truncate(max(entries[0].index, self.commit + 1))
            self._extend([entry for entry in entries if entry.index > self.last_index])

    return mock.patch.object(log.RaftLog, "splice", eager)


def _skips_the_check_of_the_entry_before() -> Patch:
    requested = node.RaftCore._append_requested

    def careless(self: Any, request: messages.AppendRequest) -> None:
        if self.log.commit <= request.prev_index <= self.log.last_index:
            request = replace(request, prev_term=self.log.term_at(request.prev_index))
        requested(self, request)

    return mock.patch.object(node.RaftCore, "_append_requested", careless)


def _believes_commits_beyond_what_was_compared() -> Patch:
    requested = node.RaftCore._append_requested

    def credulous(self: Any, request: messages.AppendRequest) -> None:
        requested(self, request)
        self.log.commit_to(min(request.commit, self.log.last_index))

    return mock.patch.object(node.RaftCore, "_append_requested", credulous)


def _reads_without_asking_the_others() -> Patch:
    step = node.RaftCore.step

    def confident(self: Any, event: Any) -> Any:
        if isinstance(event, ReadIndex) and self.role is Role.LEADER:
            return [effects.ReadReady(request_id=event.request_id, index=self.log.commit)]
        return step(self, event)

    return mock.patch.object(node.RaftCore, "step", confident)


def _reads_before_the_terms_first_commit() -> Patch:
    return mock.patch.object(leader.Leadership, "committed_in_term", True)


def _changes_several_members_at_once() -> Patch:
    return mock.patch.object(leader.Leadership, "change_allowed", True)


def _changes_members_before_the_terms_first_commit() -> Patch:
    def early(self: Any) -> bool:
        return bool(self._log.config_index <= self._log.commit)

    return mock.patch.object(leader.Leadership, "change_allowed", property(early))


MUTATIONS: Mapping[str, Mutation] = {
    mutation.patch.__name__.lstrip("_"): mutation
    for mutation in (
        Mutation(patch=_forgets_its_vote_in_a_crash, ground=BOUNCING),
        Mutation(patch=_forgets_its_vote_with_its_role, ground=STORM),
        Mutation(patch=_votes_for_everybody),
        Mutation(patch=_votes_for_shorter_logs),
        Mutation(patch=_takes_half_for_a_majority),
        Mutation(patch=_commits_old_terms_by_counting, ground=SINGLE_STEPS),
        Mutation(patch=_counts_itself_before_its_disk),
        Mutation(patch=_sends_before_it_writes),
        Mutation(patch=_skips_the_sync),
        Mutation(patch=_old_appends_cut_off_the_log),
        Mutation(patch=_skips_the_check_of_the_entry_before, ground=STORM),
        Mutation(patch=_believes_commits_beyond_what_was_compared, ground=STORM),
        Mutation(patch=_reads_without_asking_the_others, ground=STORM),
        Mutation(patch=_reads_before_the_terms_first_commit, ground=STORM),
        Mutation(patch=_changes_several_members_at_once, ground=OPERATORS),
        Mutation(patch=_changes_members_before_the_terms_first_commit, ground=OPERATORS),
    )
}


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """Break the algorithm in the way of this name."""
    with MUTATIONS[name].patch():
        yield
