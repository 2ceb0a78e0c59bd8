"""What all parts of a node stand on, whatever it is in the swarm. Made once, by the daemon."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from services.kit.seams import Clock, NewId, Rng
    from services.swarmd.config import SwarmdConfig
    from services.swarmd.gateway.callers import Callers
    from services.swarmd.gateway.channels import LocalChannels
    from services.swarmd.gateway.front import Front
    from services.swarmd.gateway.slots import Slots
    from services.swarmd.identity import IdentityStore
    from services.swarmd.members.standpoint import Standpoint


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The daemon's own things."""

    config: SwarmdConfig
    directory: Path
    """Its durable state: <root>/swarmd."""
    hostname: str
    version: str
    identity: IdentityStore
    standpoint: Standpoint
    slots: Slots
    callers: Callers
    local: LocalChannels
    front: Front
    clock: Clock
    rng: Rng
    new_id: NewId
