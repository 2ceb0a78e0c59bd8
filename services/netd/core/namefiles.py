"""The texts of a sandbox's hosts, resolv.conf and hostname files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from services.netd.core.state import State
from services.netd.model.endpoint import Endpoint
from services.netd.model.network import BRIDGE_NAME
from services.netd.model.sandbox import HOST_GATEWAY, DnsConfig, Mode, Sandbox

_LOCAL = (
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::\tip6-localnet",
    "ff00::\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
)

_SEARCH_NONE = "."
"""As a search domain: none at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NameFiles:
    """The three texts."""

    hosts: str
    resolv_conf: str
    hostname: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeNames:
    """What the node itself has.

    Attributes:
        hosts: Its hosts file, for sandboxes that share its network.
        resolv_conf: Its resolv.conf.
        fallback: Name servers for when all of the node's are on its loopback, where no sandbox reaches them.
        hostname: Its name.
    """

    hosts: str
    resolv_conf: str
    fallback: Sequence[str]
    hostname: str


def write(state: State, sandbox: Sandbox, node: NodeNames) -> NameFiles:
    """Return the files of a sandbox."""
    on_node = sandbox.spec.mode is Mode.HOST
    hostname = sandbox.spec.hostname or (node.hostname if on_node else sandbox.id[:12])
    extra = _extra(state, sandbox)
    if on_node:
        hosts = node.hosts if node.hosts.endswith("\n") or not node.hosts else node.hosts + "\n"
        hosts += _lines(extra)
    else:
        hosts = _lines(
            (*_LOCAL, *extra, *(line for end in sandbox.endpoints for line in endpoint_lines(sandbox, end)))
        )
    return NameFiles(
        hosts=hosts,
        resolv_conf=resolv_conf(sandbox.spec.dns, node, keep_loopback=on_node),
        hostname=hostname + "\n",
    )


def endpoint_lines(sandbox: Sandbox, endpoint: Endpoint) -> list[str]:
    """Return the lines of the hosts file that are there because of an endpoint."""
    hostname = sandbox.spec.hostname or sandbox.id[:12]
    names = [f"{hostname}.{sandbox.spec.domainname}"] if sandbox.spec.domainname else []
    return [f"{endpoint.address.ip}\t{' '.join([*names, hostname])}"]


def amend_hosts(text: str, removed: Iterable[str], added: Iterable[str]) -> str:
    """Return a hosts file with lines exchanged; those that the container itself wrote stay.

    Adding a line that is there, or removing one that is not, changes nothing.
    """
    gone = set(removed)
    lines = [line for line in text.splitlines() if line not in gone]
    lines += [line for line in added if line not in lines]
    return _lines(lines)


def resolv_conf(config: DnsConfig, node: NodeNames, *, keep_loopback: bool) -> str:
    """Return the resolv.conf: what the sandbox asks for, and for the rest what the node has.

    Args:
        config: What the sandbox asks for.
        node: What there is.
        keep_loopback: Whether name servers on the node's loopback can be reached.
    """
    servers, search, options = _parse(node.resolv_conf)
    if not keep_loopback:
        servers = [server for server in servers if not _is_loopback(server)] or list(node.fallback)
    servers = list(config.servers) or servers
    search = list(config.search) or search
    options = list(config.options) or options
    lines = [f"nameserver {server}" for server in servers]
    if search and search != [_SEARCH_NONE]:
        lines.append(f"search {' '.join(search)}")
    if options:
        lines.append(f"options {' '.join(options)}")
    return _lines(lines)


def _extra(state: State, sandbox: Sandbox) -> list[str]:
    """Return the lines that the user asked for."""
    gateway = _host_gateway(state, sandbox)
    lines = []
    for extra in sandbox.spec.extra_hosts:
        address = gateway if extra.address == HOST_GATEWAY else extra.address
        if address:
            lines.append(f"{address}\t{extra.name}")
    return lines


def _host_gateway(state: State, sandbox: Sandbox) -> str:
    """Return where the sandbox reaches its node: the gateway of its own network, or that of the default one."""
    if sandbox.spec.mode is Mode.HOST:
        return "127.0.0.1"
    if leading := sandbox.gateway_endpoint:
        return str(leading.gateway)
    for network in state.networks.values():
        if network.name == BRIDGE_NAME and network.ipam:
            return str(network.ipam.gateway)
    return ""


def _parse(text: str) -> tuple[list[str], list[str], list[str]]:
    """Return name servers, search domains and options; as in the resolver, the last search line counts."""
    servers: list[str] = []
    search: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        match words:
            case ["nameserver", server, *_]:
                servers.append(server)
            case ["search" | "domain", *domains]:
                search = domains
            case ["options", *given]:
                options += given
            case _:
                pass
    return servers, search, options


def _is_loopback(server: str) -> bool:
    try:
        return ip_address(server.split("%", maxsplit=1)[0]).is_loopback
    except ValueError:
        return False


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
