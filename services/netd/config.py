"""The settings of netd: /etc/beeyard/netd.toml."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from typing import TypeVar

from services.kit import errors
from services.kit.config import DaemonConfig
from services.netd.core.networks import Settings
from services.netd.ipam.pool import PREFIX_MAX, PREFIX_MIN
from services.netd.model.network import MTU_DEFAULT, MTU_MAX, MTU_MIN
from services.netd.model.port import PortRange

T = TypeVar("T")

REPAIR_INTERVAL_S_MIN = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NetdConfig(DaemonConfig):
    """What can be set."""

    bridge_subnet_pool: tuple[str, ...] = ("172.17.0.0/16", "172.18.0.0/15", "172.20.0.0/14", "172.24.0.0/13")
    """Where bridge networks get their subnets from; what overlaps with a route of the node is passed over."""
    bridge_subnet_prefix: int = 16
    """How long the prefix of such a subnet is."""
    bridge_subnet: str = ""
    """The subnet of the default network `bridge`; empty takes the first free one of the pool."""
    bridge_mtu: int = MTU_DEFAULT
    """The largest packet in bridge networks that do not say otherwise."""
    ephemeral_ports: str = "32768-60999"
    """Where a published port is chosen from if none is asked for."""
    dns_fallback: tuple[str, ...] = ("8.8.8.8", "8.8.4.4")
    """Name servers for containers of a node whose own are all on its loopback."""
    repair_interval_s: float = 30.0
    """How often the kernel is compared with the records."""

    def __post_init__(self) -> None:
        """Refuse what does not parse."""
        _ = self.networks, self.ephemeral
        for server in self.dns_fallback:
            _parse(IPv4Address, server, "dns_fallback")
        if self.repair_interval_s < REPAIR_INTERVAL_S_MIN:
            raise _invalid("repair_interval_s", f"must be at least {REPAIR_INTERVAL_S_MIN}")

    @property
    def networks(self) -> Settings:
        """What new networks are made with."""
        if not PREFIX_MIN <= self.bridge_subnet_prefix <= PREFIX_MAX:
            raise _invalid("bridge_subnet_prefix", f"must be {PREFIX_MIN} to {PREFIX_MAX}")
        if not MTU_MIN <= self.bridge_mtu <= MTU_MAX:
            raise _invalid("bridge_mtu", f"must be {MTU_MIN} to {MTU_MAX}")
        if not self.bridge_subnet_pool:
            raise _invalid("bridge_subnet_pool", "must not be empty")
        return Settings(
            pool=[_parse(IPv4Network, subnet, "bridge_subnet_pool") for subnet in self.bridge_subnet_pool],
            prefix=self.bridge_subnet_prefix,
            default_subnet=_parse(IPv4Network, self.bridge_subnet, "bridge_subnet")
            if self.bridge_subnet
            else None,
            mtu=self.bridge_mtu,
        )

    @property
    def ephemeral(self) -> PortRange:
        """Where published ports are chosen from."""
        first, _, last = self.ephemeral_ports.partition("-")
        try:
            return PortRange(first=int(first), last=int(last))
        except (ValueError, errors.Invalid):
            raise _invalid(
                "ephemeral_ports", f"{self.ephemeral_ports!r} is not a range like 32768-60999"
            ) from None


def _parse(kind: Callable[[str], T], text: str, key: str) -> T:
    try:
        return kind(text)
    except ValueError as error:
        raise _invalid(key, str(error)) from None


def _invalid(key: str, message: str) -> errors.Invalid:
    return errors.Invalid(f"{key} {message}", metadata={"key": key})
