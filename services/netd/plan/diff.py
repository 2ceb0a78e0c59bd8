"""The operations that make the kernel match: desired minus observed, in an order that is safe at every step.

    sysctls of the node, rules, what goes, bridges, sandboxes

Rules come first, whichever way it goes: a network is fenced in before its bridge is up, and a port no longer leads to
an address before that goes. Inside a sandbox the far end of a pair is complete before the node's end comes up,
because a bridge port that is up without its peer loses the first packets.

After all operations have succeeded, the difference is empty; a test holds this for any pair of states.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from services.netd.firewall import delta
from services.netd.firewall.table import Seen, Table
from services.netd.plan import operations as op
from services.netd.plan.desired import Attachment, Bridge, Desired, Namespace
from services.netd.plan.observed import DefaultRoute, Link, Observed, SeenNamespace
from services.netd.plan.operations import Operation


def diff(desired: Desired, observed: Observed) -> list[Operation]:
    """Return what to do so that `observed` becomes `desired`.

    `observed` covers at least what `desired` says; what else it shows and is ours, goes.
    """
    return [
        *_sysctls(desired.sysctls, observed, link=""),
        *_table(desired.table, observed.table),
        *_removals(desired, observed),
        *(step for bridge in desired.bridges.values() for step in _bridge(bridge, observed)),
        *(step for namespace in desired.namespaces.values() for step in _namespace(namespace, observed)),
    ]


def _table(wanted: Table, seen: Seen | None) -> Iterator[Operation]:
    change = delta.plan(seen, wanted)
    if isinstance(change, Table) or not change.empty:
        yield op.ApplyTable(change=change)


def _removals(desired: Desired, observed: Observed) -> Iterator[Operation]:
    for sandbox_id in observed.namespaces:
        if sandbox_id not in desired.namespaces:
            yield op.RemoveNamespace(sandbox_id=sandbox_id)
    attachments = {
        attachment.host_link: attachment
        for namespace in desired.namespaces.values()
        for attachment in namespace.attachments
    }
    for link in observed.links.values():
        if not link.ours:
            continue
        wanted_kind = "bridge" if link.name in desired.bridges else "veth" if link.name in attachments else ""
        if link.kind != wanted_kind:
            yield op.RemoveLink(name=link.name)


def _bridge(bridge: Bridge, observed: Observed) -> Iterator[Operation]:
    seen = observed.links.get(bridge.link)
    if seen is None or seen.kind != "bridge":
        yield op.CreateBridge(bridge=bridge)
        yield from _sysctls(bridge.sysctls, observed, link=bridge.link)
        yield op.AddAddress(link=bridge.link, address=bridge.address)
        yield op.SetUp(link=bridge.link)
        return
    yield from _sysctls(bridge.sysctls, observed, link=bridge.link)
    mac = bridge.mac if seen.mac != bridge.mac else None
    mtu = bridge.mtu if seen.mtu != bridge.mtu else None
    if mac or mtu or not seen.ours:
        yield op.SetLink(name=bridge.link, mac=mac, mtu=mtu, adopt=not seen.ours)
    for address in seen.addresses:
        if address != bridge.address:
            yield op.RemoveAddress(link=bridge.link, address=address)
    if bridge.address not in seen.addresses:
        yield op.AddAddress(link=bridge.link, address=bridge.address)
    if not seen.up:
        yield op.SetUp(link=bridge.link)


def _namespace(namespace: Namespace, observed: Observed) -> Iterator[Operation]:
    sandbox_id = namespace.sandbox_id
    seen = observed.namespaces.get(sandbox_id)
    if seen is None:
        if sandbox_id in observed.namespaces:
            yield op.RemoveNamespace(sandbox_id=sandbox_id)
        yield op.CreateNamespace(namespace=namespace)
        seen = SeenNamespace()
    yield from _superfluous(namespace, seen)
    made = []
    for attachment in namespace.attachments:
        inside, outside = seen.links.get(attachment.interface), observed.links.get(attachment.host_link)
        if inside is None or outside is None:
            # One end without the other is a stranger with the name of ours, or half of a pair that is being taken down.
            if inside is not None:
                yield op.RemoveLink(name=attachment.interface, sandbox_id=sandbox_id)
            if outside is not None:
                yield op.RemoveLink(name=attachment.host_link)
            yield from _new_pair(sandbox_id, attachment)
            made.append(attachment)
        else:
            yield from _mend_inside(sandbox_id, attachment, inside)
    yield from _default_route(namespace, seen.default_routes, {attachment.interface for attachment in made})
    for attachment in namespace.attachments:
        if attachment in made:
            yield op.ActivatePort(sandbox_id=sandbox_id, attachment=attachment)
        else:
            yield from _mend_outside(sandbox_id, attachment, observed.links[attachment.host_link])


def _new_pair(sandbox_id: str, attachment: Attachment) -> Iterator[Operation]:
    yield op.CreatePair(sandbox_id=sandbox_id, attachment=attachment)
    yield op.AddAddress(link=attachment.interface, address=attachment.address, sandbox_id=sandbox_id)
    yield op.SetUp(link=attachment.interface, sandbox_id=sandbox_id)


def _mend_inside(sandbox_id: str, attachment: Attachment, seen: Link) -> Iterator[Operation]:
    """Give an interface back what it lost; what the container added to it stays."""
    if attachment.address not in seen.addresses:
        yield op.AddAddress(link=attachment.interface, address=attachment.address, sandbox_id=sandbox_id)
    if not seen.up:
        yield op.SetUp(link=attachment.interface, sandbox_id=sandbox_id)


def _mend_outside(sandbox_id: str, attachment: Attachment, seen: Link) -> Iterator[Operation]:
    if not seen.ours or seen.mtu != attachment.mtu:
        mtu = attachment.mtu if seen.mtu != attachment.mtu else None
        yield op.SetLink(name=attachment.host_link, mtu=mtu, adopt=not seen.ours)
    if seen.master != attachment.bridge:
        yield op.Enslave(link=attachment.host_link, bridge=attachment.bridge, sandbox_id=sandbox_id)
    if seen.master != attachment.bridge or not seen.up or not seen.hairpin:
        yield op.ActivatePort(sandbox_id=sandbox_id, attachment=attachment)


def _superfluous(namespace: Namespace, seen: SeenNamespace) -> Iterator[Operation]:
    """Remove interfaces of networks that the sandbox left; they carry our mark."""
    wanted = {attachment.interface for attachment in namespace.attachments}
    for link in seen.links.values():
        if link.ours and link.name not in wanted:
            yield op.RemoveLink(name=link.name, sandbox_id=namespace.sandbox_id)


def _default_route(
    namespace: Namespace, seen: tuple[DefaultRoute, ...], made_anew: set[str]
) -> Iterator[Operation]:
    """Keep exactly our default route, unless the container has set one of its own.

    Routes of ours through an interface that goes, or is made anew, are gone with it.
    """
    staying = {attachment.interface for attachment in namespace.attachments} - made_anew
    present = [route for route in seen if not route.ours or route.interface in staying]
    right = False
    for route in present:
        if not route.ours:
            continue
        if (route.gateway, route.interface) == (namespace.gateway, namespace.gateway_interface):
            right = True
        elif route.gateway is not None:
            yield op.RemoveDefaultRoute(
                sandbox_id=namespace.sandbox_id, gateway=route.gateway, interface=route.interface
            )
    if namespace.gateway is not None and not right and all(route.ours for route in present):
        yield op.AddDefaultRoute(
            sandbox_id=namespace.sandbox_id, gateway=namespace.gateway, interface=namespace.gateway_interface
        )


def _sysctls(wanted: Mapping[str, str], observed: Observed, *, link: str) -> Iterator[Operation]:
    for name, value in wanted.items():
        if observed.sysctls.get(name) != value and (observed.ipv6 or not name.startswith("net/ipv6/")):
            yield op.SetSysctl(name=name, value=value, link=link)
