"""swarmctl network …: networks of the node (netd) and of the swarm (swarmd) under one roof, as in docker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from beeyard.network.v1 import network_pb2 as pb
from beeyard.swarm.v1 import control_pb2 as control
from cli import api, clock, complete, locate, swarm_lists
from cli.command import (
    command,
    filter_option,
    for_each,
    format_option,
    inspect_format_option,
    no_trunc_option,
    parse_filters,
    quiet_option,
    with_session,
)
from cli.format import output
from cli.natural_order import natural
from cli.specs import network as specs
from cli.specs import values
from cli.specs.options import Whole, add, many, switch, text
from cli.views import network as view
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from beeyard.swarm.v1 import objects_pb2 as swarm
    from cli.session import Session

TIMEOUT_S = 60.0
PRUNE_TIMEOUT_S = 300.0
_NO_SWARM = frozenset(
    {"DAEMON_UNREACHABLE", "SOCKET_PERMISSION_DENIED", "NOT_IN_SWARM", "NOT_A_MANAGER", "UNSUPPORTED"}
)
"""Reasons for which there is no swarm to ask: the node's own networks are all there is."""


def on_wire(given: Mapping[str, Sequence[str]]) -> Mapping[str, pb.StringList]:
    """Filters as netd takes them."""
    return {key: pb.StringList(values=values) for key, values in given.items()}


def _local(session: Session, chosen: Mapping[str, Sequence[str]]) -> list[pb.Network]:
    request = pb.ListNetworksRequest(filters=on_wire(chosen))
    found: list[pb.Network] = []
    while True:
        page = session.call(api.Networks.ListNetworks, request, timeout_s=TIMEOUT_S)
        found += page.networks
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def _of_swarm(session: Session, chosen: Mapping[str, Sequence[str]]) -> list[swarm.SwarmNetwork]:
    """List the swarm's networks; none if there is no swarm to ask."""
    if set(chosen) - {"id", "label", "name", "driver", "scope"} or "swarm" not in chosen.get(
        "scope", ["swarm"]
    ):
        return []
    wanted = {key: found for key, found in chosen.items() if key != "scope"}
    request = control.ListNetworksRequest(filters=swarm_lists.filters(wanted))
    found: list[swarm.SwarmNetwork] = []
    try:
        while True:
            page = session.call(api.SwarmNetworks.ListNetworks, request, timeout_s=swarm_lists.READ_TIMEOUT_S)
            found += page.networks
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token
    except errors.BeeyardError as exc:
        if exc.reason not in _NO_SWARM:
            raise
        return []


@command()
@filter_option
@format_option
@no_trunc_option
@quiet_option
@with_session
def ls(session: Session, filters: tuple[str, ...], style: str, *, no_trunc: bool, quiet: bool) -> None:
    """List networks."""
    chosen = parse_filters(filters)
    rows = [view.row(network, full=no_trunc) for network in _local(session, chosen)]
    known = {row["Name"] for row in rows if row["Scope"] == "swarm"}
    rows += [
        view.swarm_row(network, full=no_trunc)
        for network in _of_swarm(session, chosen)
        if network.spec.annotations.name not in known
    ]
    output.print_rows(
        sorted(rows, key=lambda row: natural(row["Name"])),
        style=style,
        default=view.DEFAULT,
        headers=view.HEADERS,
        quiet_field="ID" if quiet else "",
    )


def show(session: Session, name: str) -> dict[str, Any]:
    """Describe a network of the node, else one of the swarm.

    Raises:
        errors.NotFound: There is neither.
    """
    try:
        request = pb.GetNetworkRequest(network=name)
        return view.inspect(session.call(api.Networks.GetNetwork, request, timeout_s=TIMEOUT_S).network)
    except errors.NotFound as exc:
        missing = exc
    try:
        wanted = control.GetNetworkRequest(network=name)
        answer = session.call(api.SwarmNetworks.GetNetwork, wanted, timeout_s=swarm_lists.READ_TIMEOUT_S)
    except errors.BeeyardError as exc:
        if isinstance(exc, errors.NotFound) or exc.reason in _NO_SWARM:
            raise missing from None
        raise
    return view.swarm_inspect(answer.network)


@command()
@inspect_format_option
@click.option("-v", "--verbose", is_flag=True, help="Verbose output for diagnostics (all is shown always)")
@click.argument("networks", metavar="NETWORK...", nargs=-1, required=True, shell_complete=complete.networks)
@with_session
def inspect(session: Session, style: str, networks: tuple[str, ...], *, verbose: bool) -> int:
    """Display detailed information on one or more networks."""
    del verbose
    found: list[dict[str, Any]] = []

    def look(name: str) -> None:
        found.append(show(session, name))

    code = for_each(networks, look)
    output.print_inspect(found, style)
    return code


@command()
@specs.create_options
@click.argument("name", metavar="NETWORK")
@with_session
def create(session: Session, name: str, **given: Any) -> None:
    """Create a network."""
    if specs.is_swarm(given):
        wanted = control.CreateNetworkRequest(spec=specs.build_swarm(name, given))
        print(session.call(api.SwarmNetworks.CreateNetwork, wanted, timeout_s=TIMEOUT_S).network.id)
        return
    request = pb.CreateNetworkRequest(spec=specs.build(name, given), request_id=clock.request_id())
    made = session.call(api.Networks.CreateNetwork, request, timeout_s=TIMEOUT_S)
    for warning in made.warnings:
        click.echo(f"WARNING: {warning}", err=True)
    print(made.network.id)


@command()
@click.option("-f", "--force", is_flag=True, help="Do not error if the network does not exist")
@click.argument("networks", metavar="NETWORK...", nargs=-1, required=True, shell_complete=complete.networks)
@with_session
def rm(session: Session, networks: tuple[str, ...], *, force: bool) -> int:
    """Remove one or more networks."""

    def remove(name: str) -> str:
        try:
            _remove(session, name)
        except errors.NotFound:
            if not force:
                raise
            return ""
        return name

    return for_each(networks, remove)


def _remove(session: Session, name: str) -> None:
    """Remove the node's network of that name, else the swarm's."""
    try:
        found = session.call(
            api.Networks.GetNetwork, pb.GetNetworkRequest(network=name), timeout_s=TIMEOUT_S
        ).network
        if found.scope != pb.NETWORK_SCOPE_SWARM:
            request = pb.RemoveNetworkRequest(network=found.id)
            session.call(api.Networks.RemoveNetwork, request, timeout_s=TIMEOUT_S)
            return
        missing = None
    except errors.NotFound as exc:
        missing = exc
    try:
        wanted = control.RemoveNetworkRequest(network=name)
        session.call(api.SwarmNetworks.RemoveNetwork, wanted, timeout_s=TIMEOUT_S)
    except errors.BeeyardError as exc:
        if missing is not None and (isinstance(exc, errors.NotFound) or exc.reason in _NO_SWARM):
            raise missing from None
        raise


@command()
@add(
    [
        many("--alias", metavar="strings", help="Add network-scoped alias for the container"),
        many("--driver-opt", metavar="strings", help="Driver options for the network"),
        click.option("--gw-priority", type=Whole(-(1 << 31), (1 << 31) - 1), default=0,
                     metavar="int", help="The highest gw-priority provides the default gateway"),
        text("--ip", metavar="ip", help='IPv4 address (e.g., "172.30.100.104")'),
        text("--ip6", metavar="ip", help='IPv6 address (e.g., "2001:db8::33")'),
    ]
)  # fmt: skip
@click.argument("network", metavar="NETWORK", shell_complete=complete.networks)
@click.argument("container", metavar="CONTAINER", shell_complete=complete.containers)
@with_session
def connect(session: Session, network: str, container: str, **given: Any) -> None:
    """Connect a container to a network."""
    endpoint = pb.EndpointSpec(
        network=network,
        aliases=[part for alias in given["alias"] for part in alias.split(",")],
        ip=str(specs.address(given["ip"], "--ip")) if given["ip"] else "",
        ip6=str(specs.address(given["ip6"], "--ip6")) if given["ip6"] else "",
        options=values.mapping(given["driver_opt"], "--driver-opt"),
        gateway_priority=given["gw_priority"],
    )
    request = pb.ConnectNetworkRequest(
        network=network, sandbox_id=locate.get(session, container).id, endpoint=endpoint
    )
    session.call(api.Networks.ConnectNetwork, request, timeout_s=TIMEOUT_S)


@command()
@add([switch("-f", "--force", help="Force the container to disconnect from a network")])
@click.argument("network", metavar="NETWORK", shell_complete=complete.networks)
@click.argument("container", metavar="CONTAINER", shell_complete=complete.containers)
@with_session
def disconnect(session: Session, network: str, container: str, *, force: bool) -> None:
    """Disconnect a container from a network."""
    request = pb.DisconnectNetworkRequest(
        network=network, sandbox_id=locate.get(session, container).id, force=force
    )
    session.call(api.Networks.DisconnectNetwork, request, timeout_s=TIMEOUT_S)


@command()
@click.option("--filter", "given", multiple=True, metavar="filter", help='Provide filters (e.g. "until=1h")')
@click.option("-f", "--force", is_flag=True, help="Do not prompt for confirmation")
@with_session
def prune(session: Session, given: tuple[str, ...], *, force: bool) -> None:
    """Remove all unused networks."""
    request = pb.PruneNetworksRequest(filters=on_wire(parse_filters(given)))
    if not force:
        from cli.prompt import confirm

        confirm("This will remove all custom networks not used by at least one container.", "network prune")
    done = session.call(api.Networks.PruneNetworks, request, timeout_s=PRUNE_TIMEOUT_S)
    if done.deleted:
        output.print_lines(["Deleted Networks:", *done.deleted, ""])
