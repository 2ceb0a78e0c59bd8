"""Majorities: of acknowledged log positions, and of votes.

A decision needs a majority of the voters; in a joint configuration one of each half. An empty half agrees
with everything, so that a plain configuration is a joint one with an empty second half; a configuration
without any voter agrees to nothing, as there would be nobody to remember it.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from services.swarmd.raft.core.membership import Config


class Verdict(Enum):
    """What the votes that arrived so far amount to."""

    PENDING = "pending"
    WON = "won"
    LOST = "lost"


def majority(voters: Sequence[int]) -> int:
    """Return how many of these voters make a majority."""
    return len(voters) // 2 + 1


def agreed_index(config: Config, acked: Callable[[int], int]) -> int:
    """Return the highest index that a quorum acknowledged, where `acked(voter)` is how far that voter did."""
    if not config.voters:
        return 0
    index = _agreed_by(config.voters, acked)
    return min(index, _agreed_by(config.outgoing, acked)) if config.outgoing else index


def _agreed_by(voters: Sequence[int], acked: Callable[[int], int]) -> int:
    ordered = sorted(map(acked, voters), reverse=True)
    return ordered[majority(voters) - 1]


def verdict(config: Config, votes: Mapping[int, bool]) -> Verdict:
    """Return whether these votes win, lose, or wait for more; votes of others than the voters do not count."""
    if not config.voters:
        return Verdict.LOST
    halves = [_verdict_of(config.voters, votes)]
    if config.outgoing:
        halves.append(_verdict_of(config.outgoing, votes))
    if Verdict.LOST in halves:
        return Verdict.LOST
    return Verdict.PENDING if Verdict.PENDING in halves else Verdict.WON


def _verdict_of(voters: Sequence[int], votes: Mapping[int, bool]) -> Verdict:
    granted = sum(votes.get(voter, False) for voter in voters)
    missing = sum(voter not in votes for voter in voters)
    needed = majority(voters)
    if granted >= needed:
        return Verdict.WON
    return Verdict.PENDING if granted + missing >= needed else Verdict.LOST


def has_quorum(config: Config, alive: Callable[[int], bool]) -> bool:
    """Tell whether the voters for which `alive` holds make a quorum."""
    return (
        verdict(config, {voter: alive(voter) for voter in (*config.voters, *config.outgoing)}) is Verdict.WON
    )
