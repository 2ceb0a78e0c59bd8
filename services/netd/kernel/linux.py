"""The real kernel: operations become netlink messages, nftables scripts and namespace calls."""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Self, assert_never

from services.kit import errors, log
from services.netd.core.networks import Host, HostSubnet
from services.netd.firewall import listing, render, ruleset
from services.netd.firewall.table import Seen, Table
from services.netd.kernel import answers, conntrack, links, listeners, netns, nft, sysctl
from services.netd.kernel.netlink import NetlinkError, Request, Socket
from services.netd.kernel.ports import Failure, Scope
from services.netd.model.port import HostPort
from services.netd.plan import operations as op
from services.netd.plan.desired import Attachment
from services.netd.plan.observed import DefaultRoute, Link, Observed, SeenNamespace
from services.netd.plan.operations import NODE, Operation

_log = log.get(__name__)

_SETTLE_ATTEMPTS_MAX = 20
_SETTLE_WAIT_S = 0.001

_GONE = frozenset({errno.ENODEV, errno.ESRCH, errno.EADDRNOTAVAIL})
"""What the kernel says when there is nothing to remove."""


class Linux:
    """The network of the namespace of the thread that makes it, and of the sandboxes below a directory.

    Args:
        namespaces: Where the files are that hold the sandboxes' namespaces; it exists.
    """

    def __init__(self, namespaces: Path) -> None:
        self._directory = namespaces
        self._handles: dict[str, netns.Handle] = {}
        with contextlib.ExitStack() as on_failure:
            self._route = Socket(links.NETLINK_ROUTE)
            on_failure.callback(self._route.close)
            self._netfilter = Socket(conntrack.NETLINK_NETFILTER)
            on_failure.callback(self._netfilter.close)
            self._traveller = netns.Traveller()
            on_failure.callback(self._traveller.close)
            self._nft = nft.Context()
            on_failure.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def components(self) -> Mapping[str, str]:
        """Return the programs and libraries that this rests on, with their versions."""
        return {"libnftables": self._nft.version()}

    def obstacles(self) -> Sequence[str]:
        """Return what of others is in the way of our packets, as sentences."""
        return [
            f"the chain {where} drops what is forwarded unless its own table says otherwise:"
            " containers may not reach, nor be reached from, outside"
            for where in listing.forward_drops(self._nft.list_chains(), ruleset.TABLE)
        ]

    def close(self) -> None:
        """Let go of everything; the kernel keeps what was applied."""
        for handle in self._handles.values():
            handle.close()
        self._handles.clear()
        self._nft.close()
        self._traveller.close()
        self._netfilter.close()
        self._route.close()

    # What is

    def observe(self, scope: Scope) -> Observed:
        """Return what the kernel looks like."""
        return Observed(
            table=self._table() if scope.table else None,
            links={link.name: link for link in _links(self._route, scope.links).values()},
            namespaces=self._namespaces(scope.sandboxes, scope.doomed),
            sysctls=sysctl.read_all(scope.sysctls),
            ipv6=sysctl.has_ipv6(),
        )

    def survey(self, links_of_ours: frozenset[str]) -> Host:
        """Return what of the node a new network must not collide with."""
        known = {link.index: link for link in answers.list_links(self._route)}
        found: dict[IPv4Network, str] = {}
        reached = [(route.link_index, route.destination) for route in answers.list_routes(self._route)]
        reached += [(index, address.network) for index, address in answers.list_addresses(self._route)]
        for index, subnet in reached:
            name = known[index].name if index in known else ""
            if name not in links_of_ours and subnet.prefixlen > 0:
                found.setdefault(subnet, name)
        return Host(
            subnets=[HostSubnet(subnet=subnet, link=link) for subnet, link in sorted(found.items())],
            links=frozenset(link.name for link in known.values()),
        )

    def holder(self, port: HostPort) -> str:
        """Return which program has a port of the node; empty if none has."""
        return listeners.holder(port)

    def _table(self) -> Seen | None:
        found = self._nft.list_table(ruleset.FAMILY, ruleset.TABLE)
        return None if found is None else listing.parse(found)

    def _namespaces(
        self, sandboxes: Sequence[str] | None, doomed: Sequence[str]
    ) -> dict[str, SeenNamespace | None]:
        if sandboxes is None:
            present = {path.name for path in self._directory.iterdir()}
            sandboxes = sorted(present | self._handles.keys())
        found: dict[str, SeenNamespace | None] = {}
        for sandbox_id in sandboxes:
            if sandbox_id in self._handles or self._path(sandbox_id).exists():
                found[sandbox_id] = SeenNamespace() if sandbox_id in doomed else self._inside(sandbox_id)
        return found

    def _inside(self, sandbox_id: str) -> SeenNamespace | None:
        try:
            handle = self._handle(sandbox_id)
            if not netns.is_held(handle.path):
                _log.warning("namespace_file_lost", sandbox=sandbox_id, path=str(handle.path))
                netns.hold(handle)
            interfaces = _links(handle.socket, None)
            routes = tuple(
                DefaultRoute(
                    gateway=route.gateway,
                    interface=interfaces[route.link_index].name if route.link_index in interfaces else "",
                    ours=route.protocol == links.ROUTE_PROTOCOL,
                )
                for route in answers.list_routes(handle.socket)
                if route.destination.prefixlen == 0
            )
        except OSError as error:
            _log.warning("namespace_unusable", sandbox=sandbox_id, error=str(error))
            return None
        return SeenNamespace(links={link.name: link for link in interfaces.values()}, default_routes=routes)

    def _handle(self, sandbox_id: str) -> netns.Handle:
        """Return the open namespace of a sandbox."""
        handle = self._handles.get(sandbox_id)
        if handle is None:
            handle = self._handles[sandbox_id] = self._traveller.open(self._path(sandbox_id))
        return handle

    # What is to be

    def apply(self, operations: Sequence[Operation]) -> list[Failure]:
        """Perform operations in their order."""
        failures: list[Failure] = []
        failed: set[str] = set()
        for operation in operations:
            subject = op.subject(operation)
            if subject in failed:
                continue
            try:
                self._perform(operation)
            except (OSError, errors.BeeyardError) as error:
                failed.add(subject)
                failures.append(Failure(operation=operation, error=error))
        return failures

    def forget_flows(self, addresses: Sequence[IPv4Address], ports: Sequence[HostPort]) -> None:
        """Make connection tracking forget addresses that are gone, and UDP ports whose meaning has changed."""
        for address in addresses:
            conntrack.forget_address(self._netfilter, address)
        conntrack.forget_ports(self._netfilter, ports)

    def _perform(self, operation: Operation) -> None:
        match operation:
            case op.ApplyTable(change=change):
                self._nft.apply(
                    render.render_table(change) if isinstance(change, Table) else render.render_delta(change)
                )
            case op.SetSysctl(name=name, value=value):
                sysctl.write(name, value)
            case op.CreateBridge(bridge=bridge):
                self._route.call(links.create_bridge(bridge.link, mac=bridge.mac, mtu=bridge.mtu))
            case op.SetLink(name=name, mac=mac, mtu=mtu, adopt=adopt):
                group = links.GROUP if adopt else None
                self._route.call(links.set_properties(name, mac=mac, mtu=mtu, group=group))
            case op.CreateNamespace(namespace=namespace):
                path = self._path(namespace.sandbox_id)
                self._handles[namespace.sandbox_id] = self._traveller.create(
                    path, namespace.sysctls, namespace.user_namespace
                )
            case op.RemoveNamespace(sandbox_id=sandbox_id):
                if handle := self._handles.pop(sandbox_id, None):
                    handle.close()
                netns.release(self._path(sandbox_id))
            case op.CreatePair(sandbox_id=sandbox_id, attachment=attachment):
                self._create_pair(sandbox_id, attachment)
            case op.RemoveLink(sandbox_id=sandbox_id, name=name):
                _call_unless_gone(self._socket(sandbox_id), links.delete_link(name))
            case op.SetUp(sandbox_id=sandbox_id, link=link):
                self._socket(sandbox_id).call(links.set_up(link))
            case op.Enslave(link=link, bridge=bridge):
                self._route.call(links.set_master(link, master_index=_index(self._route, bridge)))
            case op.ActivatePort(sandbox_id=sandbox_id, attachment=attachment):
                self._activate_port(sandbox_id, attachment)
            case op.AddAddress(sandbox_id=sandbox_id, link=link, address=address):
                socket = self._socket(sandbox_id)
                socket.call(links.add_address(address, index=_index(socket, link)))
            case op.RemoveAddress(link=link, address=address):
                _call_unless_gone(self._route, links.remove_address(address, index=_index(self._route, link)))
            case op.AddDefaultRoute(sandbox_id=sandbox_id, gateway=gateway, interface=interface):
                socket = self._socket(sandbox_id)
                socket.call(links.add_default_route(gateway, index=_index(socket, interface)))
            case op.RemoveDefaultRoute(sandbox_id=sandbox_id, gateway=gateway, interface=interface):
                socket = self._socket(sandbox_id)
                _call_unless_gone(
                    socket, links.remove_default_route(gateway, index=_index(socket, interface))
                )
            case _:
                assert_never(operation)

    def _create_pair(self, sandbox_id: str, attachment: Attachment) -> None:
        request = links.create_veth(
            attachment.host_link,
            master_index=_index(self._route, attachment.bridge),
            mtu=attachment.mtu,
            peer=attachment.interface,
            peer_mac=attachment.mac,
            peer_namespace_fd=self._handle(sandbox_id).descriptor,
        )
        self._route.call(request)

    def _activate_port(self, sandbox_id: str, attachment: Attachment) -> None:
        if sysctl.has_ipv6():  # a bridge port needs no address of its own, nor what comes with one
            sysctl.write(f"net/ipv6/conf/{attachment.host_link}/disable_ipv6", "1")
        self._route.call(links.activate_port(attachment.host_link))
        # The kernel lets packets into a link only after it has noticed that the other end is there, on its own time:
        # at once as a rule, a second later at worst. The bridge's first port is such an event for the bridge itself.
        for socket, link in (
            (self._socket(sandbox_id), attachment.interface),
            (self._route, attachment.bridge),
        ):
            if not _settled(socket, link):
                _log.warning("link_slow", sandbox=sandbox_id, link=link)

    def _path(self, sandbox_id: str) -> Path:
        return self._directory / sandbox_id

    def _socket(self, sandbox_id: str) -> Socket:
        return self._route if sandbox_id == NODE else self._handle(sandbox_id).socket


def _links(socket: Socket, names: Sequence[str] | None) -> dict[int, Link]:
    """Return links with their addresses, by index."""
    found = list(answers.list_links(socket)) if names is None else list(answers.get_links(socket, names))
    addresses: dict[int, list[IPv4Interface]] = {}
    if found:
        for index, address in answers.list_addresses(socket):
            addresses.setdefault(index, []).append(address)
    return {
        link.index: Link(
            name=link.name,
            kind=link.kind,
            mac=link.mac,
            mtu=link.mtu,
            up=link.up,
            ours=link.group == links.GROUP,
            master=socket.name(link.master_index),
            hairpin=link.hairpin,
            addresses=tuple(addresses.get(link.index, ())),
        )
        for link in found
    }


def _settled(socket: Socket, link: str) -> bool:
    """Return whether packets can leave through a link, after a short wait if need be."""
    for _ in range(_SETTLE_ATTEMPTS_MAX):
        socket.synchronize(link)
        if socket.running(link):
            return True
        threading.Event().wait(_SETTLE_WAIT_S)
    return False


def _index(socket: Socket, name: str) -> int:
    index = socket.index(name)
    if index == 0:
        raise OSError(errno.ENODEV, f"there is no interface {name}")
    return index


def _call_unless_gone(socket: Socket, request: Request) -> None:
    """Send a request to remove something that may be gone already."""
    try:
        socket.call(request)
    except NetlinkError as error:
        if error.errno not in _GONE:
            raise
