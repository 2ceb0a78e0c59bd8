"""The settings of swarmd: `/etc/beeyard/swarmd.toml`."""

from __future__ import annotations

import dataclasses

from services.kit import errors
from services.kit.config import DaemonConfig
from services.swarmd.members import addresses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SwarmdConfig(DaemonConfig):
    """What an administrator sets. What a swarm sets stands in its own object, what a node is in its state."""

    listen: str = "0.0.0.0:2377"
    """host:port for nodes and clients with a certificate; `swarm init` and `swarm join` may say another one."""
    enroll_listen: str = "0.0.0.0:2378"
    """host:port for machines that are to join. The port after that of `listen` is found without being told."""
    advertise: str = ""
    """host[:port] at which other nodes reach `listen`; empty picks the address of the default route."""
    hostname: str = ""
    """The name of this node; empty is the system's."""
    group: str = "beeyard"
    """Who may use the socket besides root."""
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    """Labels of this engine, for constraints on engine.labels."""

    def __post_init__(self) -> None:
        """Check the addresses."""
        for key in ("listen", "enroll_listen"):
            try:
                addresses.parse_listen(getattr(self, key))
            except errors.Invalid as exc:
                raise errors.Invalid(exc.message, metadata={"key": key}) from exc
        if self.advertise:
            try:
                addresses.parse(self.advertise)
            except errors.Invalid as exc:
                raise errors.Invalid(exc.message, metadata={"key": "advertise"}) from exc
