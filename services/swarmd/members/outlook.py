"""What a node tells of itself: to programs, and to people."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from services.kit import errors
from services.swarmd.ca import renewal
from services.swarmd.gateway import routing
from services.swarmd.members.life import LocalView, Phase

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from services.swarmd.identity import MemberState
    from services.swarmd.members.member import Member
    from services.swarmd.members.standpoint import Standpoint


def view(
    *,
    state: MemberState | None,
    member: Member | None,
    standpoint: Standpoint,
    pending: bool,
    error: str,
) -> LocalView:
    """Return what a node knows of its swarm.

    Args:
        state: What it is a member of.
        member: The running member, while it runs.
        standpoint: What it is right now.
        pending: It is just becoming a member.
        error: Why the member does not run.
    """
    if state is None:
        if error:
            return LocalView(phase=Phase.ERROR, error=error)
        return LocalView(phase=Phase.PENDING if pending else Phase.INACTIVE)
    known = LocalView(
        phase=Phase.ERROR if error else Phase.PENDING,
        error=error,
        node_id=state.node_id,
        cluster_id=state.cluster_id,
        address=state.advertise_address,
        is_manager=bool(state.raft_id),
    )
    if member is None:
        return known
    phase, complaint = _phase(member, standpoint, pending=pending)
    manager = member.manager
    leader = manager.leadership.leader() if manager is not None else None
    return dataclasses.replace(
        known,
        phase=phase,
        error=complaint,
        is_manager=member.tls.is_manager,
        managers=tuple(member.managers.places),
        certificate_expires_at=member.tls.identity.not_after,
        leader_node_id=leader.node_id if leader is not None else "",
        raft_term=manager.raft_term if manager is not None else 0,
        raft_applied=manager.raft_applied if manager is not None else 0,
    )


def facts(known: LocalView) -> Sequence[tuple[str, str, str]]:
    """Return (key, label, value) for `swarmctl info`."""
    told = [("SWARM_STATE", "Swarm", known.phase.value)]
    if known.node_id:
        expires = known.certificate_expires_at
        told += [
            ("SWARM_NODE_ID", "NodeID", known.node_id),
            ("SWARM_IS_MANAGER", "Is Manager", str(known.is_manager).lower()),
            ("SWARM_CLUSTER_ID", "ClusterID", known.cluster_id),
            ("SWARM_NODE_ADDRESS", "Node Address", known.address),
            ("SWARM_MANAGERS", "Manager Addresses", " ".join(place.address for place in known.managers)),
            ("SWARM_CERTIFICATE_EXPIRES", "Certificate Expiry", f"{expires:%Y-%m-%d}" if expires else ""),
        ]
    return told


def warnings(known: LocalView, member: Member | None, now: datetime) -> Sequence[str]:
    """Return what is not as it should be."""
    found = [f"swarm: {known.error}"] if known.error else []
    if member is not None:
        present = member.tls.identity
        if renewal.endangered(present.not_before, present.not_after, now):
            found.append(
                f"the certificate of this node expires on {present.not_after:%Y-%m-%d} and could not be renewed"
            )
    return found


def _phase(member: Member, standpoint: Standpoint, *, pending: bool) -> tuple[Phase, str]:
    failure = member.part.failure
    if failure is not None:
        locked = isinstance(failure, errors.BeeyardError) and failure.reason == "SWARM_LOCKED"
        return (Phase.LOCKED if locked else Phase.ERROR), str(failure)
    if pending or (member.tls.is_manager and not member.part.answers):
        return Phase.PENDING, ""
    situation = standpoint.situation()
    leaderless = member.manager is not None and situation.leader is None and not situation.may_soon_lead
    return Phase.ACTIVE, routing.NO_LEADER_MESSAGE if leaderless else ""
