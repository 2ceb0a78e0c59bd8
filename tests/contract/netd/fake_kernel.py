"""A kernel in memory: as strict as the real one about what there must be before something can be done to it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import assert_never

from services.netd.core.networks import Host, HostSubnet
from services.netd.firewall.delta import Delta
from services.netd.firewall.table import Atoms, Lookup, Seen, SeenChain, Table
from services.netd.kernel.ports import Failure, Scope
from services.netd.model.port import HostPort
from services.netd.plan import operations as op
from services.netd.plan.observed import DefaultRoute, Link, Observed, SeenNamespace
from services.netd.plan.operations import NODE, Operation


@dataclass
class Namespace:
    links: dict[str, Link] = field(default_factory=dict)
    routes: list[DefaultRoute] = field(default_factory=list)
    sysctls: Mapping[str, str] = field(default_factory=dict)


class FakeKernel:
    """Implements `kernel.ports.Kernel`.

    Tests may change `links`, `namespaces`, `sysctls` and `table` as an administrator would.
    """

    def __init__(self) -> None:
        self.table: Seen | None = None
        self.links: dict[str, Link] = {"lo": Link(name="lo", kind="", mac="", mtu=65536, up=True)}
        self.namespaces: dict[str, Namespace] = {}
        self.sysctls: dict[str, str] = {"net/ipv4/ip_forward": "0"}
        self.pairs: dict[str, tuple[str, str]] = {}
        self.subnets: list[HostSubnet] = []
        self.listeners: dict[HostPort, str] = {}
        self.forgotten: list[object] = []
        self.applied: list[Operation] = []
        self.refuses: Callable[[Operation], bool] = lambda _operation: False

    def observe(self, scope: Scope) -> Observed:
        links = {
            name: link for name, link in self.links.items() if scope.links is None or name in scope.links
        }
        wanted = self.namespaces if scope.sandboxes is None else scope.sandboxes
        return Observed(
            table=self.table if scope.table else None,
            links=links,
            namespaces={
                name: SeenNamespace(
                    links=dict(self.namespaces[name].links),
                    default_routes=tuple(self.namespaces[name].routes),
                )
                for name in wanted
                if name in self.namespaces
            },
            sysctls={name: self.sysctls[name] for name in scope.sysctls if name in self.sysctls},
        )

    def apply(self, operations: Sequence[Operation]) -> list[Failure]:
        failures: list[Failure] = []
        failed: set[str] = set()
        for operation in operations:
            subject = op.subject(operation)
            if subject in failed:
                continue
            try:
                if self.refuses(operation):
                    raise OSError(errno.EPERM, "refused")
                self._perform(operation)
            except OSError as error:
                failed.add(subject)
                failures.append(Failure(operation=operation, error=error))
            else:
                self.applied.append(operation)
        return failures

    def survey(self, links: frozenset[str]) -> Host:
        return Host(subnets=self.subnets, links=frozenset(self.links))

    def holder(self, port: HostPort) -> str:
        return next((who for taken, who in self.listeners.items() if taken.overlaps(port)), "")

    def forget_flows(self, addresses: Sequence[IPv4Address], ports: Sequence[HostPort]) -> None:
        self.forgotten += [*addresses, *ports]

    def components(self) -> Mapping[str, str]:
        return {"memory": "1"}

    def obstacles(self) -> Sequence[str]:
        return []

    def close(self) -> None:
        pass

    def _perform(self, operation: Operation) -> None:
        match operation:
            case op.ApplyTable(change=change):
                self.table = change.seen if isinstance(change, Table) else changed(self._table(), change)
            case op.SetSysctl(name=name, value=value):
                if name not in self.sysctls:
                    raise OSError(errno.ENOENT, name)
                self.sysctls[name] = value
            case op.CreateBridge(bridge=bridge):
                self._add(
                    Link(name=bridge.link, kind="bridge", mac=bridge.mac, mtu=bridge.mtu, up=False, ours=True)
                )
            case op.SetLink(name=name, mac=mac, mtu=mtu, adopt=adopt):
                link = self._link(NODE, name)
                self.links[name] = replace(
                    link, mac=mac or link.mac, mtu=mtu or link.mtu, ours=link.ours or adopt
                )
            case op.CreateNamespace(namespace=namespace):
                if namespace.sandbox_id in self.namespaces:
                    raise OSError(errno.EEXIST, namespace.sandbox_id)
                self.namespaces[namespace.sandbox_id] = Namespace(
                    links={"lo": Link(name="lo", kind="", mac="", mtu=65536, up=True)},
                    sysctls=namespace.sysctls,
                )
            case op.RemoveNamespace(sandbox_id=sandbox_id):
                for name in list(self.namespaces[sandbox_id].links):
                    self._remove(sandbox_id, name)
                del self.namespaces[sandbox_id]
            case op.CreatePair(sandbox_id=sandbox_id, attachment=pair):
                inside = self._inside(sandbox_id)
                if pair.interface in inside.links:
                    raise OSError(errno.EEXIST, pair.interface)
                self._link(NODE, pair.bridge)
                self._add(
                    Link(
                        name=pair.host_link,
                        kind="veth",
                        mac="",
                        mtu=pair.mtu,
                        up=False,
                        ours=True,
                        master=pair.bridge,
                    )
                )
                inside.links[pair.interface] = Link(
                    name=pair.interface, kind="veth", mac=pair.mac, mtu=pair.mtu, up=False, ours=True
                )
                self.pairs[pair.host_link] = (sandbox_id, pair.interface)
            case op.RemoveLink(sandbox_id=sandbox_id, name=name):
                self._remove(sandbox_id, name)
            case op.SetUp(sandbox_id=sandbox_id, link=name):
                self._put(sandbox_id, replace(self._link(sandbox_id, name), up=True))
            case op.Enslave(link=name, bridge=bridge):
                self._link(NODE, bridge)
                self._put(NODE, replace(self._link(NODE, name), master=bridge))
            case op.ActivatePort(attachment=pair):
                self._put(NODE, replace(self._link(NODE, pair.host_link), up=True, hairpin=True))
            case op.AddAddress(sandbox_id=sandbox_id, link=name, address=address):
                link = self._link(sandbox_id, name)
                self._put(sandbox_id, replace(link, addresses=(*link.addresses, address)))
            case op.RemoveAddress(link=name, address=address):
                link = self._link(NODE, name)
                self._put(
                    NODE, replace(link, addresses=tuple(kept for kept in link.addresses if kept != address))
                )
            case op.AddDefaultRoute(sandbox_id=sandbox_id, gateway=gateway, interface=interface):
                link = self._link(sandbox_id, interface)
                if not link.up or not any(gateway in address.network for address in link.addresses):
                    raise OSError(errno.ENETUNREACH, "the gateway cannot be reached")
                if self._inside(sandbox_id).routes:
                    raise OSError(errno.EEXIST, "default")
                route = DefaultRoute(gateway=gateway, interface=interface, ours=True)
                self._inside(sandbox_id).routes.append(route)
            case op.RemoveDefaultRoute(sandbox_id=sandbox_id, gateway=gateway, interface=interface):
                route = DefaultRoute(gateway=gateway, interface=interface, ours=True)
                if route in self._inside(sandbox_id).routes:
                    self._inside(sandbox_id).routes.remove(route)
            case _:
                assert_never(operation)

    def _table(self) -> Seen:
        if self.table is None:
            raise OSError(errno.ENOENT, "there is no table")
        return self.table

    def _inside(self, sandbox_id: str) -> Namespace:
        if sandbox_id not in self.namespaces:
            raise OSError(errno.ENOENT, sandbox_id)
        return self.namespaces[sandbox_id]

    def _links(self, sandbox_id: str) -> dict[str, Link]:
        return self.links if sandbox_id == NODE else self._inside(sandbox_id).links

    def _link(self, sandbox_id: str, name: str) -> Link:
        if name not in self._links(sandbox_id):
            raise OSError(errno.ENODEV, name)
        return self._links(sandbox_id)[name]

    def _put(self, sandbox_id: str, link: Link) -> None:
        self._links(sandbox_id)[link.name] = link

    def _add(self, link: Link) -> None:
        if link.name in self.links:
            raise OSError(errno.EEXIST, link.name)
        self.links[link.name] = link
        for name in (f"net/ipv4/conf/{link.name}/route_localnet", f"net/ipv6/conf/{link.name}/disable_ipv6"):
            self.sysctls[name] = "0"

    def _remove(self, sandbox_id: str, name: str) -> None:
        """Remove a link with all that hangs on it; one that is not there is fine."""
        if name not in self._links(sandbox_id):
            return
        del self._links(sandbox_id)[name]
        if sandbox_id != NODE:
            inside = self._inside(sandbox_id)
            inside.routes = [route for route in inside.routes if route.interface != name]
            for host_link in [end for end, other in self.pairs.items() if other == (sandbox_id, name)]:
                del self.pairs[host_link]
                self._remove(NODE, host_link)
            return
        for key in [key for key in self.sysctls if key.split("/")[3:4] == [name]]:
            del self.sysctls[key]
        for link in self.links.values():
            if link.master == name:
                self.links[link.name] = replace(link, master="")
        if other := self.pairs.pop(name, None):
            self._remove(*other)


def changed(seen: Seen, delta: Delta) -> Seen:
    """Return a table after a delta; raises OSError where nftables would refuse it."""
    lookups = dict(seen.lookups)
    chains = dict(seen.chains)
    for lookup in delta.new_lookups:
        _absent(lookup.name, lookups)
        lookups[lookup.name] = replace(lookup, elements={})
    for chain in (*delta.new_chains, *delta.changed_chains):
        if chain in delta.new_chains:
            _absent(chain.name, chains)
        else:
            _present(chain.name, chains)
        chains[chain.name] = SeenChain(hook=chain.hook, rules=tuple(rule.identity for rule in chain.rules))
    for name, (_, keys) in delta.removed_elements.items():
        elements = dict(lookups[name].elements)
        for key in keys:
            _present(key, elements)
            del elements[key]
        lookups[name] = replace(lookups[name], elements=elements)
    for name, (_, added) in delta.added_elements.items():
        for key in added:
            _absent(key, lookups[name].elements)
        _targets(added, chains)
        lookups[name] = replace(lookups[name], elements={**lookups[name].elements, **added})
    for name in delta.removed_chains:
        _present(name, chains)
        del chains[name]
        _unreferenced(name, lookups.values())
    for lookup in delta.removed_lookups:
        _present(lookup.name, lookups)
        del lookups[lookup.name]
    return Seen(lookups=lookups, chains=chains)


def _present(name: object, where: Mapping[object, object] | Mapping[str, object]) -> None:
    if name not in where:
        raise OSError(errno.ENOENT, str(name))


def _absent(name: object, where: object) -> None:
    if name in where:  # type: ignore[operator]
        raise OSError(errno.EEXIST, str(name))


def _targets(added: Mapping[Atoms, Atoms], chains: Mapping[str, SeenChain]) -> None:
    for value in added.values():
        for atom in value:
            if atom.startswith("goto "):
                _present(atom.removeprefix("goto "), chains)


def _unreferenced(chain: str, lookups: Sequence[Lookup] | object) -> None:
    for lookup in lookups:  # type: ignore[attr-defined]
        if (f"goto {chain}",) in lookup.elements.values():
            raise OSError(errno.EBUSY, chain)
