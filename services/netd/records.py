"""What is recorded, on disk: <root>/netd/netd.sqlite.

A change is written here before anything is done about it. The constraints repeat what the decisions guarantee: two
owners of an address or an interface name cannot be written down even by mistake.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any, Self, assert_never

from services.kit.sqlite import Database
from services.netd import encoding
from services.netd.core.state import (
    AddNetwork,
    Change,
    PutSandbox,
    RemoveNetwork,
    RemoveSandbox,
    State,
    apply,
    freed,
)
from services.netd.ipam import pool
from services.netd.model.endpoint import Endpoint
from services.netd.model.network import Driver, Ipam, Network
from services.netd.model.port import HostPort, PortBinding, Protocol
from services.netd.model.sandbox import Sandbox

MIGRATIONS = (
    """
    CREATE TABLE networks (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        driver TEXT NOT NULL,
        subnet TEXT,
        gateway TEXT,
        ip_range TEXT,
        reserved TEXT NOT NULL,
        link TEXT NOT NULL,
        mtu INTEGER NOT NULL,
        internal INTEGER NOT NULL,
        attachable INTEGER NOT NULL,
        masquerade INTEGER NOT NULL,
        host_ip TEXT NOT NULL,
        labels TEXT NOT NULL,
        driver_opts TEXT NOT NULL,
        created_at TEXT NOT NULL,
        request_id TEXT NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX networks_link ON networks (link) WHERE link != '';
    CREATE TABLE sandboxes (
        id TEXT PRIMARY KEY,
        spec TEXT NOT NULL,
        created_at TEXT NOT NULL
    ) STRICT;
    CREATE TABLE endpoints (
        id TEXT PRIMARY KEY,
        sandbox_id TEXT NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
        network_id TEXT NOT NULL REFERENCES networks (id),
        position INTEGER NOT NULL,
        address TEXT NOT NULL,
        prefix INTEGER NOT NULL,
        mac TEXT NOT NULL,
        interface TEXT NOT NULL,
        host_link TEXT NOT NULL UNIQUE,
        gateway TEXT,
        gateway_priority INTEGER NOT NULL,
        aliases TEXT NOT NULL,
        UNIQUE (network_id, address),
        UNIQUE (sandbox_id, interface)
    ) STRICT;
    CREATE TABLE ports (
        sandbox_id TEXT NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
        protocol TEXT NOT NULL,
        host_ip TEXT NOT NULL,
        host_port INTEGER NOT NULL,
        target INTEGER NOT NULL,
        shared INTEGER NOT NULL,
        PRIMARY KEY (sandbox_id, protocol, host_ip, host_port, target)
    ) STRICT;
    CREATE UNIQUE INDEX ports_unshared ON ports (protocol, host_ip, host_port) WHERE NOT shared;
    CREATE TABLE resting (
        network_id TEXT NOT NULL REFERENCES networks (id) ON DELETE CASCADE,
        address TEXT NOT NULL,
        until REAL NOT NULL,
        PRIMARY KEY (network_id, address)
    ) STRICT;
    """,
)


class Records:
    """The database of one node's networks and sandboxes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open or create the database.

        Raises:
            errors.FailedPrecondition: A newer version of netd wrote it.
            errors.Internal: It is damaged.
        """
        return cls(await Database.open(path, MIGRATIONS))

    async def close(self) -> None:
        """Finish what was submitted and close the file."""
        await self._database.close()

    async def load(self, now: float) -> State:
        """Return what is recorded; rests that are over at `now` are left out."""
        return await self._database.read(lambda connection: _load(connection, now))

    async def write(self, before: State, changes: Iterable[Change], now: float) -> State:
        """Record changes that were decided on `before`, all or none; return the state after them once it is durable."""
        steps = []
        state = before
        for change in changes:
            steps.append((change, freed(state, change)))
            state = apply(state, change)

        def write_all(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM resting WHERE until <= ?", (now,))
            for change, addresses in steps:
                _write(connection, change, addresses)

        await self._database.write(write_all)
        return state


def _write(connection: sqlite3.Connection, change: Change, addresses: list[tuple[str, IPv4Address]]) -> None:
    match change:
        case AddNetwork(network=network):
            _insert(connection, "networks", _network_row(network))
        case RemoveNetwork(network_id=network_id):
            connection.execute("DELETE FROM networks WHERE id = ?", (network_id,))
        case PutSandbox(sandbox=sandbox):
            connection.execute("DELETE FROM sandboxes WHERE id = ?", (sandbox.id,))
            _insert_sandbox(connection, sandbox)
            _rest(connection, addresses, change.rest_until)
        case RemoveSandbox(sandbox_id=sandbox_id):
            connection.execute("DELETE FROM sandboxes WHERE id = ?", (sandbox_id,))
            _rest(connection, addresses, change.rest_until)
        case _:
            assert_never(change)


def _insert_sandbox(connection: sqlite3.Connection, sandbox: Sandbox) -> None:
    row = {
        "id": sandbox.id,
        "spec": json.dumps(encoding.encode_spec(sandbox.spec)),
        "created_at": sandbox.created_at.isoformat(),
    }
    _insert(connection, "sandboxes", row)
    for position, endpoint in enumerate(sandbox.endpoints):
        _insert(connection, "endpoints", _endpoint_row(sandbox.id, position, endpoint))
        connection.execute(
            "DELETE FROM resting WHERE network_id = ? AND address = ?",
            (endpoint.network_id, str(endpoint.address.ip)),
        )
    for binding in sandbox.ports:
        _insert(connection, "ports", _binding_row(sandbox.id, binding))


def _rest(connection: sqlite3.Connection, addresses: list[tuple[str, IPv4Address]], until: float) -> None:
    for network_id, address in addresses:
        connection.execute(
            "INSERT OR REPLACE INTO resting (network_id, address, until) VALUES (?, ?, ?)",
            (network_id, str(address), until),
        )


def _insert(connection: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> None:
    columns = ", ".join(row)
    values = ", ".join(f":{column}" for column in row)
    connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({values})", row)  # noqa: S608 (names of our own)


def _load(connection: sqlite3.Connection, now: float) -> State:
    state = State()
    for row in connection.execute("SELECT * FROM networks"):
        state = apply(state, AddNetwork(network=_network(row)))
    endpoints: dict[str, list[Endpoint]] = {}
    for row in connection.execute("SELECT * FROM endpoints ORDER BY sandbox_id, position"):
        endpoints.setdefault(row["sandbox_id"], []).append(_endpoint(row))
    ports: dict[str, list[PortBinding]] = {}
    for row in connection.execute("SELECT * FROM ports"):
        ports.setdefault(row["sandbox_id"], []).append(_binding(row))
    for row in connection.execute("SELECT * FROM sandboxes"):
        sandbox = Sandbox(
            spec=encoding.decode_spec(json.loads(row["spec"])),
            endpoints=tuple(endpoints.get(row["id"], ())),
            ports=tuple(sorted(ports.get(row["id"], ()))),
            created_at=datetime.fromisoformat(row["created_at"]),
        )
        state = apply(state, PutSandbox(sandbox=sandbox, rest_until=now))
    return _with_rests(state, connection.execute("SELECT * FROM resting ORDER BY until"), now)


def _with_rests(state: State, rows: Iterable[sqlite3.Row], now: float) -> State:
    pools = dict(state.pools)
    for row in rows:
        if row["until"] > now:
            known = pools[row["network_id"]]
            pools[row["network_id"]] = pool.rest(known, IPv4Address(row["address"]), row["until"])
    return State(
        networks=state.networks, sandboxes=state.sandboxes, pools=pools, reservations=state.reservations
    )


def _network_row(network: Network) -> dict[str, Any]:
    ipam = network.ipam
    return {
        "id": network.id,
        "name": network.name,
        "driver": network.driver.value,
        "subnet": str(ipam.subnet) if ipam else None,
        "gateway": str(ipam.gateway) if ipam else None,
        "ip_range": str(ipam.ip_range) if ipam and ipam.ip_range else None,
        "reserved": json.dumps(
            {name: str(address) for name, address in ipam.reserved.items()} if ipam else {}
        ),
        "link": network.link,
        "mtu": network.mtu,
        "internal": network.internal,
        "attachable": network.attachable,
        "masquerade": network.masquerade,
        "host_ip": str(network.host_ip),
        "labels": json.dumps(dict(network.labels)),
        "driver_opts": json.dumps(dict(network.driver_opts)),
        "created_at": network.created_at.isoformat(),
        "request_id": network.request_id,
    }


def _network(row: sqlite3.Row) -> Network:
    ipam = None
    if row["subnet"] is not None:
        reserved = json.loads(row["reserved"])
        ipam = Ipam(
            subnet=IPv4Network(row["subnet"]),
            gateway=IPv4Address(row["gateway"]),
            ip_range=IPv4Network(row["ip_range"]) if row["ip_range"] is not None else None,
            reserved={name: IPv4Address(address) for name, address in reserved.items()},
        )
    return Network(
        id=row["id"],
        name=row["name"],
        driver=Driver(row["driver"]),
        ipam=ipam,
        link=row["link"],
        mtu=row["mtu"],
        internal=bool(row["internal"]),
        attachable=bool(row["attachable"]),
        masquerade=bool(row["masquerade"]),
        host_ip=IPv4Address(row["host_ip"]),
        labels=json.loads(row["labels"]),
        driver_opts=json.loads(row["driver_opts"]),
        created_at=datetime.fromisoformat(row["created_at"]).astimezone(UTC),
        request_id=row["request_id"],
    )


def _endpoint_row(sandbox_id: str, position: int, endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "sandbox_id": sandbox_id,
        "network_id": endpoint.network_id,
        "position": position,
        "address": str(endpoint.address.ip),
        "prefix": endpoint.address.network.prefixlen,
        "mac": endpoint.mac,
        "interface": endpoint.interface,
        "host_link": endpoint.host_link,
        "gateway": str(endpoint.gateway) if endpoint.gateway else None,
        "gateway_priority": endpoint.gateway_priority,
        "aliases": json.dumps(endpoint.aliases),
    }


def _endpoint(row: sqlite3.Row) -> Endpoint:
    return Endpoint(
        id=row["id"],
        network_id=row["network_id"],
        address=IPv4Interface((row["address"], row["prefix"])),
        mac=row["mac"],
        interface=row["interface"],
        host_link=row["host_link"],
        gateway=IPv4Address(row["gateway"]) if row["gateway"] is not None else None,
        gateway_priority=row["gateway_priority"],
        aliases=tuple(json.loads(row["aliases"])),
    )


def _binding_row(sandbox_id: str, binding: PortBinding) -> dict[str, Any]:
    return {
        "sandbox_id": sandbox_id,
        "protocol": binding.host.protocol.value,
        "host_ip": str(binding.host.host_ip),
        "host_port": binding.host.port,
        "target": binding.target,
        "shared": binding.shared,
    }


def _binding(row: sqlite3.Row) -> PortBinding:
    host = HostPort(
        protocol=Protocol(row["protocol"]), port=row["host_port"], host_ip=IPv4Address(row["host_ip"])
    )
    return PortBinding(host=host, target=row["target"], shared=bool(row["shared"]))
