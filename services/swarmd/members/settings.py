"""What may be set for a swarm. Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from services.kit import errors

if TYPE_CHECKING:
    from beeyard.swarm.v1 import objects_pb2

HEARTBEAT_MS: Final = (100, 60_000)
CERTIFICATE_MS: Final = (3_600_000, 20 * 365 * 86_400_000)
SNAPSHOT_ENTRIES: Final = 10_000
POOL_MASK: Final = (16, 29)
DATA_PATH_PORTS: Final = (1024, 49151)
POOLS_MAX: Final = 32
NAME_CHARS_MAX: Final = 64
LABELS_MAX: Final = 256


def check(spec: objects_pb2.ClusterSpec) -> None:
    """Return if the settings can be had.

    Raises:
        errors.Invalid: SPEC_INVALID.
        errors.Unsupported: UNSUPPORTED: autolock.
    """
    if spec.autolock:
        raise errors.Unsupported(
            "autolock is not supported by this release: the managers' state is encrypted with a key that lies beside it"
        )
    _within("the pace of heartbeats", spec.heartbeat_period_ms, HEARTBEAT_MS, "ms")
    _within("the life of certificates", spec.certificate_expiry_ms, CERTIFICATE_MS, "ms")
    if spec.snapshot_interval not in {0, SNAPSHOT_ENTRIES}:
        raise errors.Unsupported(
            f"this release takes a snapshot every {SNAPSHOT_ENTRIES} entries; the interval cannot be set"
        )
    _within("the length of subnets", spec.default_address_pool_mask, POOL_MASK)
    _within("the data path port", spec.data_path_port, DATA_PATH_PORTS)
    if len(spec.annotations.name) > NAME_CHARS_MAX or not spec.annotations.name.isprintable():
        raise _invalid(f"the name of a swarm has at most {NAME_CHARS_MAX} printable characters")
    if len(spec.annotations.labels) > LABELS_MAX:
        raise _invalid(f"a swarm has at most {LABELS_MAX} labels")
    if len(spec.default_address_pool) > POOLS_MAX:
        raise _invalid(f"a swarm has at most {POOLS_MAX} address pools")
    pools: list[ipaddress.IPv4Network] = []
    for text in spec.default_address_pool:
        try:
            pool = ipaddress.IPv4Network(text)
        except ValueError as exc:
            raise _invalid(f"the address pool {text!r} is not an IPv4 network: {exc}") from exc
        if spec.default_address_pool_mask and pool.prefixlen > spec.default_address_pool_mask:
            raise _invalid(f"the address pool {text} is smaller than /{spec.default_address_pool_mask}")
        for other in pools:
            if pool.overlaps(other):
                raise _invalid(f"the address pools {other} and {pool} overlap")
        pools.append(pool)


def _within(name: str, value: int, bounds: tuple[int, int], unit: str = "") -> None:
    lowest, highest = bounds
    if value and not lowest <= value <= highest:
        raise _invalid(
            f"{name} must be between {lowest} and {highest}{f' {unit}' if unit else ''}, not {value}"
        )


def _invalid(message: str) -> errors.Invalid:
    return errors.Invalid(message, reason="SPEC_INVALID")
