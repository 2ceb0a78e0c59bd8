"""The database says what the state says, after any history."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from services.netd import encoding
from services.netd.core.state import AddNetwork, Change, PutSandbox, RemoveNetwork, RemoveSandbox, State
from services.netd.model.sandbox import ExtraHost, Mode, SandboxSpec
from services.netd.records import Records
from tests.unit.netd.strategies import NOW, base_state, histories


def changes(before: State, after: State) -> list[Change]:
    """Return changes that lead from one state to the other."""
    until = NOW.timestamp() + 60
    steps: list[Change] = [
        RemoveSandbox(sandbox_id=name, rest_until=until)
        for name in before.sandboxes
        if name not in after.sandboxes
    ]
    steps += [
        PutSandbox(sandbox=sandbox, rest_until=until)
        for name, sandbox in after.sandboxes.items()
        if name in before.sandboxes and sandbox != before.sandboxes[name]
    ]
    steps += [RemoveNetwork(network_id=name) for name in before.networks if name not in after.networks]
    steps += [
        AddNetwork(network=network) for name, network in after.networks.items() if name not in before.networks
    ]
    steps += [
        PutSandbox(sandbox=sandbox, rest_until=until)
        for name, sandbox in after.sandboxes.items()
        if name not in before.sandboxes
    ]
    return steps


@settings(max_examples=40, deadline=None)
@given(histories())
def test_what_is_written_is_read(history: tuple[State, State]) -> None:
    async def run(directory: Path) -> None:
        now = NOW.timestamp()
        records = await Records.open(directory / "netd.sqlite")
        try:
            written = State()
            for target in history:
                written = await records.write(written, changes(written, target), now)
                assert written == await records.load(now)
            emptied = await records.write(written, changes(written, base_state()), now)
            assert emptied == await records.load(now)
            later = await records.load(now + 61)
            assert all(not pool.resting for pool in later.pools.values())
        finally:
            await records.close()

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(Path(directory)))


async def test_all_or_nothing(tmp_path: Path) -> None:
    records = await Records.open(tmp_path / "netd.sqlite")
    try:
        network = next(network for network in base_state().networks.values() if network.ipam)
        twin = replace(network, id="0" * 64)
        with pytest.raises(sqlite3.IntegrityError):
            await records.write(State(), [AddNetwork(network=network), AddNetwork(network=twin)], 0)
        assert await records.load(0) == State()
    finally:
        await records.close()


def test_a_spec_survives_its_encoding() -> None:
    spec = SandboxSpec(
        id="s",
        name="n",
        mode=Mode.NONE,
        hostname="h",
        domainname="d",
        extra_hosts=(ExtraHost(name="a", address="host-gateway"),),
        sysctls=(("net.ipv4.ip_forward", "1"),),
    )
    assert encoding.decode_spec(encoding.encode_spec(spec)) == spec
