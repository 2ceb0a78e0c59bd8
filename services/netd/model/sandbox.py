"""Sandboxes: the network namespace of one container, with its endpoints, ports and name files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address

from services.kit import errors
from services.netd.model.endpoint import Endpoint, EndpointSpec
from services.netd.model.port import PortBinding, PortSpec

_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
_SYSCTL = re.compile(r"net(\.[a-zA-Z0-9_-]+)+")
_HOSTNAME = re.compile(r"[a-zA-Z0-9_]([a-zA-Z0-9_.-]{0,252}[a-zA-Z0-9_])?")

HOST_GATEWAY = "host-gateway"
"""In place of an address in `ExtraHost`: the node, as the sandbox reaches it."""


class Mode(StrEnum):
    """What a sandbox sees of the network."""

    NETWORKS = "networks"
    """A namespace of its own with an endpoint in each of its networks."""
    NONE = "none"
    """A namespace of its own with nothing but the loopback interface."""
    HOST = "host"
    """No namespace: the node's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsConfig:
    """How names are looked up; what is empty is taken from the node."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraHost:
    """A line of the hosts file that the user asked for; no address means the node (`HOST_GATEWAY`)."""

    name: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """What a caller asks for; two equal specs under one id are one request, sent again.

    Attributes:
        name: What people call the container.
        sysctls: Kernel parameters of the namespace, sorted by name.
        user_namespace: File that holds the user namespace which is to own the network's; empty for the node's.
    """

    id: str
    name: str = ""
    mode: Mode = Mode.NETWORKS
    hostname: str = ""
    domainname: str = ""
    endpoints: tuple[EndpointSpec, ...] = ()
    ports: tuple[PortSpec, ...] = ()
    dns: DnsConfig = DnsConfig()
    extra_hosts: tuple[ExtraHost, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    user_namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """A sandbox that is wanted: the kernel is made to match it.

    Attributes:
        endpoints: In the order of their interface names.
        ports: Where `spec.ports` lead, sorted; empty when nothing can be published.
    """

    spec: SandboxSpec
    endpoints: tuple[Endpoint, ...]
    ports: tuple[PortBinding, ...]
    created_at: datetime

    @property
    def id(self) -> str:
        """The caller's id of it."""
        return self.spec.id

    @property
    def gateway_endpoint(self) -> Endpoint | None:
        """The endpoint that leads to the world; ports are published to its address.

        Of those with a gateway, the first of the highest priority.
        """
        leading = [endpoint for endpoint in self.endpoints if endpoint.gateway is not None]
        return max(leading, key=lambda endpoint: endpoint.gateway_priority, default=None)

    @property
    def published_to(self) -> IPv4Address | None:
        """The address that `ports` lead to."""
        endpoint = self.gateway_endpoint
        return endpoint.address.ip if endpoint else None


def check_id(sandbox_id: str) -> None:
    """Refuse an id that could not be the name of a file.

    Raises:
        errors.Invalid: It is no id.
    """
    if not _ID.fullmatch(sandbox_id):
        raise errors.Invalid(f"invalid sandbox id {sandbox_id!r}", reason="SPEC_INVALID")


def check_hostname(name: str, what: str) -> None:
    """Refuse what would not be one word of a hosts file.

    Raises:
        errors.Invalid: It is no host name.
    """
    if not _HOSTNAME.fullmatch(name):
        raise errors.Invalid(f"invalid {what} {name!r}", reason="SPEC_INVALID")


def check_sysctl(name: str, value: str) -> None:
    """Refuse a kernel parameter that does not belong to a network namespace.

    Raises:
        errors.Invalid: It is not one of the network's.
    """
    if not _SYSCTL.fullmatch(name) or "\n" in value:
        raise errors.Invalid(
            f"invalid sysctl {name}={value!r}: a sandbox has those of the network only", reason="SPEC_INVALID"
        )
