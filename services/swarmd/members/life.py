"""What is asked of a node's life, and what it tells of it. Values only."""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from beeyard.swarm.v1 import objects_pb2
    from services.swarmd.gateway.ports import NodePlace


class Phase(enum.Enum):
    """A node's place in its life."""

    INACTIVE = "inactive"
    """Not in a swarm."""
    PENDING = "pending"
    """Joining."""
    ACTIVE = "active"
    """Member."""
    LOCKED = "locked"
    """Manager whose state is encrypted with a key that it does not have."""
    ERROR = "error"
    """Member that cannot do what it is a member for; it goes on trying, unless it was removed."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Init:
    """Found a swarm."""

    spec: objects_pb2.ClusterSpec
    availability: objects_pb2.NodeAvailability.ValueType
    listen_address: str = ""
    advertise_address: str = ""
    force_new_cluster: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """Become a member of a swarm."""

    remote_addresses: tuple[str, ...]
    token: str
    availability: objects_pb2.NodeAvailability.ValueType
    listen_address: str = ""
    advertise_address: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LocalView:
    """What a node knows of its swarm, also without a leader."""

    phase: Phase
    error: str = ""
    node_id: str = ""
    cluster_id: str = ""
    address: str = ""
    is_manager: bool = False
    managers: tuple[NodePlace, ...] = ()
    certificate_expires_at: datetime | None = None
    leader_node_id: str = ""
    raft_term: int = 0
    raft_applied: int = 0
