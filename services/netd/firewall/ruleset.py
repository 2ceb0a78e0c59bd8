"""The table that the networks and sandboxes of a node need.

Packets meet the chains in this order:

    raw          nothing from outside may be, or go to, 127.0.0.0/8: `route_localnet` is on for our bridges
    prerouting   packets to an address of the node, from anywhere: to `publish`
    output       the same for packets that the node itself sends
    publish      a published port leads to its sandbox
    forward      internal networks stay inside, networks stay apart, only published ports are reached from outside
    postrouting  the node's address on what leaves; on what comes back to where it started

Matching on addresses rather than interfaces in `postrouting` is deliberate: with `bridge-nf-call-iptables` on, which
is what new namespaces have, a packet that returns to the bridge it came from shows the wrong input interface.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.netd.firewall.table import Atoms, Chain, Hook, Lookup, Rule, Table
from services.netd.model.address import ANY
from services.netd.model.network import Network
from services.netd.model.port import HostPort, PortBinding, Protocol
from services.netd.model.sandbox import Sandbox

FAMILY = "ip"
TABLE = "beeyard"

RANGE_PORTS_MIN = 8
"""Published runs of at least so many ports that keep their number become one element instead of many."""

_NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17}
"""By number: names are looked up in /etc/protocols, which small systems do not have."""

_PORTED = f"meta l4proto {{ {', '.join(str(number) for number in _NUMBERS.values())} }}"

_IP, _PORT, _PROTOCOL, _INTERFACE = "ipv4_addr", "inet_service", "inet_proto", "ifname"


def build(networks: Iterable[Network], sandboxes: Iterable[Sandbox]) -> Table:
    """Return the table for `networks` and the ports that `sandboxes` publish."""
    ports = _Published(sandboxes)
    return Table(
        family=FAMILY,
        name=TABLE,
        lookups=(*_network_lookups(networks), *ports.lookups()),
        chains=(*_BASE_CHAINS, _PUBLISH, *ports.chains()),
    )


def _network_lookups(networks: Iterable[Network]) -> list[Lookup]:
    bridges = [network for network in networks if network.link]
    subnets = {network.id: (str(network.ipam.subnet),) for network in bridges if network.ipam}
    masqueraded = [network.id for network in bridges if network.masquerade and not network.internal]
    return [
        Lookup(name="bridges", key=(_INTERFACE,), elements={(network.link,): () for network in bridges}),
        Lookup(
            name="internal",
            key=(_INTERFACE,),
            elements={(network.link,): () for network in bridges if network.internal},
        ),
        Lookup(
            name="same_bridge",
            key=(_INTERFACE, _INTERFACE),
            elements={(network.link, network.link): () for network in bridges},
        ),
        Lookup(name="subnets", key=(_IP,), interval=True, elements=dict.fromkeys(subnets.values(), ())),
        Lookup(
            name="masqueraded",
            key=(_IP,),
            interval=True,
            elements={subnets[network_id]: () for network_id in masqueraded if network_id in subnets},
        ),
    ]


class _Published:
    """The published ports of all sandboxes, sorted into the maps that hold them."""

    def __init__(self, sandboxes: Iterable[Sandbox]) -> None:
        self._single: dict[Atoms, Atoms] = {}
        self._single_on: dict[Atoms, Atoms] = {}
        self._ranges: dict[Atoms, Atoms] = {}
        self._shared: dict[HostPort, list[Atoms]] = {}
        for sandbox in sandboxes:
            if (address := sandbox.published_to) is None:
                continue
            singles = []
            for run in _runs(sandbox.ports):
                if len(run) < RANGE_PORTS_MIN:
                    singles += run
                    continue
                first, last = run[0].host, run[-1].host
                self._ranges[_number(first), f"{first.port}-{last.port}"] = (str(address),)
            for binding in singles:
                self._add(binding, (str(address), str(binding.target)))

    def _add(self, binding: PortBinding, target: Atoms) -> None:
        if binding.shared:
            self._shared.setdefault(binding.host, []).append(target)
        elif binding.host.host_ip == ANY:
            self._single[_key(binding.host)] = target
        else:
            self._single_on[_key(binding.host)] = target

    def lookups(self) -> list[Lookup]:
        """Return the maps."""
        shared: dict[Atoms, Atoms] = {}
        shared_on: dict[Atoms, Atoms] = {}
        for host in self._shared:
            (shared if host.host_ip == ANY else shared_on)[_key(host)] = (f"goto {_chain_name(host)}",)
        any_key, on_key = (_PROTOCOL, _PORT), (_IP, _PROTOCOL, _PORT)
        return [
            Lookup(name="published_on", key=on_key, value=(_IP, _PORT), elements=self._single_on),
            Lookup(name="published", key=any_key, value=(_IP, _PORT), elements=self._single),
            Lookup(name="published_range", key=any_key, value=(_IP,), interval=True, elements=self._ranges),
            Lookup(name="shared_on", key=on_key, value=("verdict",), elements=shared_on),
            Lookup(name="shared", key=any_key, value=("verdict",), elements=shared),
        ]

    def chains(self) -> list[Chain]:
        """Return a chain that spreads connections, for each shared port."""
        return [_balancer(host, sorted(targets)) for host, targets in sorted(self._shared.items())]


def _runs(bindings: Iterable[PortBinding]) -> list[list[PortBinding]]:
    """Split bindings into runs of adjacent ports of any address that keep their number; all others stand alone."""
    runs: list[list[PortBinding]] = []
    for binding in sorted(bindings):
        keeps = binding.host.port == binding.target and binding.host.host_ip == ANY and not binding.shared
        previous = runs[-1][-1] if runs else None
        adjacent = (
            previous is not None
            and keeps
            and previous.host.port == previous.target
            and previous.host.host_ip == ANY
            and not previous.shared
            and previous.host.protocol == binding.host.protocol
            and previous.host.port + 1 == binding.host.port
        )
        if adjacent:
            runs[-1].append(binding)
        else:
            runs.append([binding])
    return runs


def _balancer(host: HostPort, targets: list[Atoms]) -> Chain:
    """Return the chain that gives each new connection to a shared port to the next target.

    The second rule is for packets that are on their way while the chain is replaced: those miss the map of the old one.
    Without it some connections are refused during a change; with it none was in tens of thousands.
    """
    choices = ", ".join(f"{number} : {' . '.join(target)}" for number, target in enumerate(targets))
    address, port = targets[0]
    rules = (
        Rule(
            name="balance",
            text=f"{_PORTED} dnat ip addr . port to numgen inc mod {len(targets)} map {{ {choices} }}",
        ),
        Rule(name="balance-fallback", text=f"{_PORTED} dnat to {address}:{port}"),
    )
    return Chain(name=_chain_name(host), rules=rules)


def _chain_name(host: HostPort) -> str:
    where = "" if host.host_ip == ANY else f"_{host.host_ip}"
    return f"shared{where}_{host.protocol}_{host.port}"


def _key(host: HostPort) -> Atoms:
    key = (_number(host), str(host.port))
    return key if host.host_ip == ANY else (str(host.host_ip), *key)


def _number(host: HostPort) -> str:
    return str(_NUMBERS[host.protocol])


_TO_NODE = Rule(name="to-node", text="fib daddr type local jump publish")

_BASE_CHAINS = (
    Chain(
        name="raw",
        hook=Hook(kind="filter", hook="prerouting", priority=-300),
        rules=(
            Rule(name="guard-loopback-target", text='iifname != "lo" ip daddr 127.0.0.0/8 drop'),
            Rule(name="guard-loopback-source", text='iifname != "lo" ip saddr 127.0.0.0/8 drop'),
        ),
    ),
    Chain(name="prerouting", hook=Hook(kind="nat", hook="prerouting", priority=-100), rules=(_TO_NODE,)),
    Chain(name="output", hook=Hook(kind="nat", hook="output", priority=-100), rules=(_TO_NODE,)),
    Chain(
        name="forward",
        hook=Hook(kind="filter", hook="forward", priority=0),
        rules=(
            Rule(name="established", text="ct state established,related accept"),
            Rule(name="internal-out", text="iifname @internal oifname != @internal drop"),
            Rule(name="internal-in", text="oifname @internal iifname != @internal drop"),
            Rule(name="published", text="ct status dnat accept"),
            Rule(name="same-bridge", text="iifname . oifname @same_bridge accept"),
            Rule(name="apart", text="oifname @bridges drop"),
        ),
    ),
    Chain(
        name="postrouting",
        hook=Hook(kind="nat", hook="postrouting", priority=100),
        rules=(
            Rule(name="from-loopback", text="ip saddr 127.0.0.0/8 oifname @bridges masquerade"),
            Rule(name="hairpin", text="ct status dnat ip saddr @subnets oifname @bridges masquerade"),
            Rule(name="egress", text="ip saddr @masqueraded oifname != @bridges masquerade"),
        ),
    ),
)

_PUBLISH = Chain(
    name="publish",
    rules=(
        Rule(
            name="published-on",
            text=f"{_PORTED} dnat ip addr . port to ip daddr . meta l4proto . th dport map @published_on",
        ),
        Rule(name="shared-on", text="ip daddr . meta l4proto . th dport vmap @shared_on"),
        Rule(
            name="published", text=f"{_PORTED} dnat ip addr . port to meta l4proto . th dport map @published"
        ),
        Rule(name="shared", text="meta l4proto . th dport vmap @shared"),
        Rule(
            name="published-range", text=f"{_PORTED} dnat ip to meta l4proto . th dport map @published_range"
        ),
    ),
)
