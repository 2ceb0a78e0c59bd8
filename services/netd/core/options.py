"""Docker's driver options of a bridge network. One that is not known is refused by name, not dropped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from services.kit import errors
from services.netd.model.address import ANY, parse_address
from services.netd.model.network import MTU_MAX, MTU_MIN, check_link_name

_TRUE = frozenset({"1", "t", "true"})
_FALSE = frozenset({"0", "f", "false"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeOptions:
    """What the options say; empty or None where they say nothing."""

    link: str = ""
    mtu: int | None = None
    masquerade: bool = True
    host_ip: IPv4Address = ANY


def parse(options: Mapping[str, str]) -> BridgeOptions:
    """Return what the options of a bridge network say.

    Raises:
        errors.Invalid: An option is unknown, or its value is none.
        errors.Unsupported: An option is known but asks for what there is not.
    """
    link, mtu, masquerade, host_ip = "", None, True, ANY
    for key, value in options.items():
        match key:
            case "com.docker.network.bridge.name":
                check_link_name(value)
                link = value
            case "com.docker.network.driver.mtu":
                mtu = _mtu(value)
            case "com.docker.network.bridge.enable_ip_masquerade":
                masquerade = _boolean(key, value)
            case "com.docker.network.bridge.host_binding_ipv4":
                host_ip = parse_address(value, key)
            case "com.docker.network.bridge.enable_icc":
                if not _boolean(key, value):
                    raise errors.Unsupported(
                        f"option {key}=false is not supported", reason="OPTION_UNSUPPORTED"
                    )
            case "com.docker.network.bridge.default_bridge":
                pass  # what Docker itself says of its own default network
            case _:
                raise errors.Invalid(f"unknown option {key!r} of a bridge network", reason="SPEC_INVALID")
    return BridgeOptions(link=link, mtu=mtu, masquerade=masquerade, host_ip=host_ip)


def _mtu(value: str) -> int:
    if not value.isdecimal() or not MTU_MIN <= int(value) <= MTU_MAX:
        raise errors.Invalid(f"invalid MTU {value!r}: must be {MTU_MIN} to {MTU_MAX}", reason="SPEC_INVALID")
    return int(value)


def _boolean(key: str, value: str) -> bool:
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise errors.Invalid(f"option {key}: {value!r} is neither true nor false", reason="SPEC_INVALID")
