"""Known ways to break Raft. Each is a small change of the real code, and the simulation must find it.

They are what shows that the checkers can fail: a checker that never speaks proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

from services.swarmd.raft.core import effects, leader, log, messages, node, pipeline, quorum
from services.swarmd.raft.core.events import ReadIndex
from services.swarmd.raft.core.types import NOBODY, Role
from tests.sim.raft.disk import SimDisk


def _forgets_its_vote_in_a_crash() -> Iterator[Any]:
    start = node.RaftCore.__init__

    def forgetful(self: Any, *, recovered: Any, **rest: Any) -> None:
        start(self, recovered=replace(recovered, hard_state=replace(recovered.hard_state, vote=NOBODY)), **rest)

    yield mock.patch.object(node.RaftCore, "__init__", forgetful)


def _forgets_its_vote_with_its_role() -> Iterator[Any]:
    become_follower = node.RaftCore._become_follower

    def forgetful(self: Any, term: int, leader: int) -> None:
        become_follower(self, term, leader)
        self.vote = NOBODY

    yield mock.patch.object(node.RaftCore, "_become_follower", forgetful)


def _votes_for_everybody() -> Iterator[Any]:
    vote_requested = node.RaftCore._vote_requested

    def generous(self: Any, request: messages.VoteRequest) -> None:
        self.vote = NOBODY
        vote_requested(self, request)

    yield mock.patch.object(node.RaftCore, "_vote_requested", generous)


def _votes_for_shorter_logs() -> Iterator[Any]:
    yield mock.patch.object(log.RaftLog, "is_current", lambda _self, _index, _term: True)


def _takes_half_for_a_majority() -> Iterator[Any]:
    yield mock.patch.object(quorum, "majority", lambda voters: max(1, (len(voters) + 1) // 2))


def _commits_old_terms_by_counting() -> Iterator[Any]:
    advance = leader.Leadership.advance_commit

    def eager(self: Any) -> bool:
        index = quorum.agreed_index(self._log.config, self._held_by)
        if index > self._log.commit and self._log.term_at(index) != self._term:
            self._log.commit_to(index)
            return True
        return advance(self)

    yield mock.patch.object(leader.Leadership, "advance_commit", eager)


def _counts_itself_before_its_disk() -> Iterator[Any]:
    held_by = leader.Leadership._held_by

    def hasty(self: Any, member: int) -> int:
        return int(self._log.last_index if member == self._id else held_by(self, member))

    yield mock.patch.object(leader.Leadership, "_held_by", hasty)


def _sends_before_it_writes() -> Iterator[Any]:
    send = pipeline.Pipeline.send

    def hasty(self: Any, effect: effects.Send) -> None:
        send(self, replace(effect, after=0))

    yield mock.patch.object(pipeline.Pipeline, "send", hasty)


def _skips_the_sync() -> Iterator[Any]:
    yield mock.patch.object(SimDisk, "sync", lambda _self, _name: None)


def _old_appends_cut_off_the_log() -> Iterator[Any]:
    def eager(self: Any, entries: Any) -> None:
        if entries:
            if entries[0].index <= self.last_index:
                self._truncate(max(entries[0].index, self.commit + 1))
            self._extend([entry for entry in entries if entry.index > self.last_index])

    yield mock.patch.object(log.RaftLog, "splice", eager)


def _skips_the_check_of_the_entry_before() -> Iterator[Any]:
    requested = node.RaftCore._append_requested

    def careless(self: Any, request: messages.AppendRequest) -> None:
        if self.log.commit <= request.prev_index <= self.log.last_index:
            request = replace(request, prev_term=self.log.term_at(request.prev_index))
        requested(self, request)

    yield mock.patch.object(node.RaftCore, "_append_requested", careless)


def _believes_commits_beyond_what_was_compared() -> Iterator[Any]:
    requested = node.RaftCore._append_requested

    def credulous(self: Any, request: messages.AppendRequest) -> None:
        requested(self, request)
        self.log.commit_to(min(request.commit, self.log.last_index))

    yield mock.patch.object(node.RaftCore, "_append_requested", credulous)


def _acknowledges_more_than_was_compared() -> Iterator[Any]:
    acknowledge = node.RaftCore._acknowledge

    def boastful(self: Any, leader: int, index: int) -> None:
        acknowledge(self, leader, max(index, self.log.last_index) if index else index)

    yield mock.patch.object(node.RaftCore, "_acknowledge", boastful)


def _reads_without_asking_the_others() -> Iterator[Any]:
    step = node.RaftCore.step

    def confident(self: Any, event: Any) -> Any:
        if isinstance(event, ReadIndex) and self.role is Role.LEADER:
            return [effects.ReadReady(request_id=event.request_id, index=self.log.commit)]
        return step(self, event)

    yield mock.patch.object(node.RaftCore, "step", confident)


def _reads_before_the_terms_first_commit() -> Iterator[Any]:
    yield mock.patch.object(leader.Leadership, "committed_in_term", True)


def _changes_several_members_at_once() -> Iterator[Any]:
    yield mock.patch.object(leader.Leadership, "change_allowed", True)


def _changes_members_before_the_terms_first_commit() -> Iterator[Any]:
    def early(self: Any) -> bool:
        return bool(self._log.config_index <= self._log.commit)

    yield mock.patch.object(leader.Leadership, "change_allowed", property(early))


MUTATIONS: Mapping[str, Callable[[], Iterator[Any]]] = {
    mutation.__name__.lstrip("_"): mutation
    for mutation in (
        _forgets_its_vote_in_a_crash,
        _forgets_its_vote_with_its_role,
        _votes_for_everybody,
        _votes_for_shorter_logs,
        _takes_half_for_a_majority,
        _commits_old_terms_by_counting,
        _counts_itself_before_its_disk,
        _sends_before_it_writes,
        _skips_the_sync,
        _old_appends_cut_off_the_log,
        _skips_the_check_of_the_entry_before,
        _believes_commits_beyond_what_was_compared,
        _acknowledges_more_than_was_compared,
        _reads_without_asking_the_others,
        _reads_before_the_terms_first_commit,
        _changes_several_members_at_once,
        _changes_members_before_the_terms_first_commit,
    )
}


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """Break the algorithm in the way of this name."""
    (patch,) = MUTATIONS[name]()
    with patch:
        yield
