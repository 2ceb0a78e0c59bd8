"""Whether a change that an operator asks for is wise, judged from a leader's view of its followers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.kit.errors import FailedPrecondition
from services.swarmd.raft.core.quorum import majority

if TYPE_CHECKING:
    from services.swarmd.raft.core.node import PeerStatus, Status


def refuse_quorum_loss(status: Status, member_id: int, silent_ticks_max: int) -> None:
    """Refuse to take this member's vote if the voters that remain and answer would be no majority.

    Raises:
        FailedPrecondition: Reason QUORUM_LOSS.
    """
    if member_id not in status.config.voters:
        return
    remaining = [voter for voter in status.config.voters if voter != member_id]
    answering = {peer.id for peer in status.peers if peer.silent_ticks <= silent_ticks_max} | {status.id}
    alive = [voter for voter in remaining if voter in answering]
    if remaining and len(alive) < majority(remaining):
        raise FailedPrecondition(
            f"without this manager only {len(alive)} of the remaining {len(remaining)} would answer, and nothing "
            "could be decided any more; bring the others back, or remove those first that are gone",
            reason="QUORUM_LOSS",
        )


def caught_up(status: Status, member_id: int, entries_max: int, silent_ticks_max: int) -> bool:
    """Tell whether a learner is alive and has nearly all of the log; others than learners need not be waited for."""
    if member_id not in status.config.learners:
        return True
    peer = _peer(status, member_id)
    if peer is None or peer.silent_ticks > silent_ticks_max:
        return False
    return peer.match > 0 and status.last_index - peer.match <= entries_max


def best_successor(status: Status) -> int | None:
    """Return the voter besides this one that holds most of the log, the one heard last among equals; None if none."""
    others = [peer for peer in status.peers if peer.id in status.config.voters]
    best = max(others, key=lambda peer: (peer.match, -peer.silent_ticks, -peer.id), default=None)
    return None if best is None else best.id


def _peer(status: Status, member_id: int) -> PeerStatus | None:
    return next((peer for peer in status.peers if peer.id == member_id), None)
