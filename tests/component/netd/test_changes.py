"""netd without its API, over a kernel in memory: record and effect, what a refusal leaves, what a death leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import IPv4Address

import pytest

from services.kit import errors
from services.netd.core.state import State
from services.netd.kernel.ports import Failure
from services.netd.model.endpoint import EndpointSpec
from services.netd.model.network import NetworkSpec
from services.netd.model.port import HostPort, PortRange, PortSpec, Protocol
from services.netd.model.sandbox import Mode, SandboxSpec
from services.netd.plan import operations as op
from services.netd.plan.operations import Operation
from tests.component.netd.conftest import Node
from tests.contract.netd.fake_kernel import FakeKernel

WEB = PortSpec(target=PortRange(first=80, last=80), host=PortRange(first=8080, last=8080))
SPEC = SandboxSpec(
    id="s",
    hostname="h",
    endpoints=(EndpointSpec(network="bridge"), EndpointSpec(network="web")),
    ports=(WEB,),
)

CREATE_OPERATIONS = 11
"""The table, the namespace, four for each network, and the way out."""


def picture(kernel: FakeKernel) -> tuple[object, ...]:
    """What of the kernel can be compared: all of it, but for the names of links that are new each time."""
    links = sorted((link.kind, link.master, link.up) for link in kernel.links.values())
    return links, sorted(kernel.namespaces), kernel.table


def claims(state: State) -> tuple[object, ...]:
    return {name: pool.taken for name, pool in state.pools.items()}, state.reservations, set(state.sandboxes)


async def operations_of_create(node: Node) -> list[Operation]:
    """Return what making the sandbox does, and take it back."""
    async with node.netd() as netd:
        await netd.networks.create(NetworkSpec(name="web"))
        before = len(node.kernel.applied)
        await netd.sandboxes.create(SPEC)
        done = node.kernel.applied[before:]
        await netd.sandboxes.remove("s")
    return done


async def test_a_start_makes_the_predefined_networks_once(node: Node) -> None:
    async with node.netd() as netd:
        first = dict(netd.state.networks)
        assert {network.name for network in first.values()} == {"bridge", "host", "none"}
    before = len(node.kernel.applied)
    async with node.netd() as netd:
        assert netd.state.networks == first
    assert node.kernel.applied[before:] == [], "there was nothing to do"


@pytest.mark.parametrize("position", range(CREATE_OPERATIONS))
async def test_whatever_is_refused_nothing_is_left(node: Node, position: int) -> None:
    operations = await operations_of_create(node)
    assert len(operations) == CREATE_OPERATIONS
    kind = type(operations[position])
    occurrence = [type(operation) for operation in operations[:position]].count(kind)
    async with node.netd() as netd:
        before, seen = claims(netd.state), picture(node.kernel)
        counted = 0

        def refuses(operation: Operation) -> bool:
            nonlocal counted
            if type(operation) is not kind:
                return False
            counted += 1
            return counted > occurrence

        node.kernel.refuses = refuses
        with pytest.raises(errors.Internal) as caught:
            await netd.sandboxes.create(SPEC)
        assert caught.value.reason == "KERNEL_FAILED"
        node.kernel.refuses = lambda _operation: False
        assert claims(netd.state) == before
        await netd.upkeep.repair()
        assert picture(node.kernel) == seen
        assert netd.files.sandboxes() == set()
        assert (await netd.sandboxes.create(SPEC)).id == "s", "and it can be had afterwards"


class Died(BaseException):
    """Stands for the end of the process."""


class Mortal(FakeKernel):
    """The same kernel, with a netd that dies before its nth operation."""

    def __init__(self, kernel: FakeKernel, survives: int) -> None:
        self.__dict__.update(kernel.__dict__)
        self._survives = survives

    def apply(self, operations: Sequence[Operation]) -> list[Failure]:
        for operation in operations:
            if self._survives == 0:
                raise Died
            self._survives -= 1
            if failures := super().apply([operation]):
                return failures
        return []


def transplant(mortal: Mortal, kernel: FakeKernel) -> None:
    """Give the kernel the state in which the dead netd left it."""
    for name in ("table", "links", "namespaces", "sysctls", "pairs"):
        setattr(kernel, name, getattr(mortal, name))


async def dies(node: Node, survives: int, act: str) -> bool:
    """Let netd die in the middle of a change; return whether it got that far."""
    mortal = Mortal(node.kernel, 10_000)
    try:
        async with node.netd(mortal) as netd:
            mortal._survives = survives
            if act == "create":
                await netd.sandboxes.create(SPEC)
            else:
                await netd.sandboxes.remove("s")
    except (Died, BaseExceptionGroup):
        return True
    finally:
        transplant(mortal, node.kernel)
    return False


@pytest.mark.parametrize("survives", range(CREATE_OPERATIONS + 1))
async def test_a_death_while_a_sandbox_is_made(node: Node, survives: int) -> None:
    """Its record says that it was meant: the next netd completes it, and the caller's retry finds it."""
    await operations_of_create(node)
    await dies(node, survives, "create")
    async with node.netd() as netd:
        assert set(netd.state.sandboxes) == {"s"}
        assert set(node.kernel.namespaces) == {"s"}
        operations = len(node.kernel.applied)
        sandbox = await netd.sandboxes.create(SPEC)
        assert len(node.kernel.applied) == operations, "the retry has nothing to do"
        assert netd.files.paths("s").hosts.exists()
        assert (await netd.upkeep.repair()).operations == []
        assert sandbox == netd.state.sandboxes["s"]


@pytest.mark.parametrize("survives", range(3))
async def test_a_death_while_a_sandbox_is_removed(node: Node, survives: int) -> None:
    async with node.netd() as netd:
        await netd.networks.create(NetworkSpec(name="web"))
        empty = picture(node.kernel)
        await netd.sandboxes.create(SPEC)
    await dies(node, survives, "remove")
    async with node.netd() as netd:
        assert netd.state.sandboxes == {}
        assert picture(node.kernel) == empty
        assert netd.files.sandboxes() == set()


async def test_what_is_recorded_is_read_again(node: Node) -> None:
    async with node.netd() as netd:
        await netd.networks.create(NetworkSpec(name="web", labels={"k": "v"}, internal=False), "request-1")
        await netd.sandboxes.create(SPEC)
        await netd.sandboxes.create(SandboxSpec(id="t", ports=(PortSpec(target=PortRange(first=1, last=3)),)))
        await netd.sandboxes.remove("t")
        state = netd.state
    async with node.netd() as netd:
        assert netd.state == state
        assert (await netd.networks.create(NetworkSpec(name="web"), "request-1")).name == "web", "asked again"
        with pytest.raises(errors.AlreadyExists):
            await netd.networks.create(NetworkSpec(name="web"), "request-2")


async def test_an_address_rests_across_a_restart(node: Node) -> None:
    async with node.netd() as netd:
        first = (await netd.sandboxes.create(SandboxSpec(id="a"))).endpoints[0].address
        await netd.sandboxes.remove("a")
    async with node.netd() as netd:
        assert (await netd.sandboxes.create(SandboxSpec(id="b"))).endpoints[0].address != first
        await node.clock.sleep(61)
        assert (await netd.sandboxes.create(SandboxSpec(id="c"))).endpoints[0].address == first


async def test_many_at_once_get_different_addresses_and_ports(node: Node) -> None:
    port = PortSpec(target=PortRange(first=80, last=80))
    async with node.netd() as netd:
        made = await asyncio.gather(
            *(netd.sandboxes.create(SandboxSpec(id=f"s{number}", ports=(port,))) for number in range(50))
        )
        assert len({sandbox.endpoints[0].address for sandbox in made}) == 50
        assert len({sandbox.ports[0].host for sandbox in made}) == 50
        assert (await netd.upkeep.repair()).operations == []


async def test_the_same_request_many_times_at_once_is_one(node: Node) -> None:
    async with node.netd() as netd:
        made = await asyncio.gather(*(netd.sandboxes.create(SandboxSpec(id="s")) for _ in range(10)))
        assert len(set(made)) == 1


async def test_a_caller_that_goes_away_does_not_stop_a_change(node: Node) -> None:
    async with node.netd() as netd:
        task = asyncio.get_running_loop().create_task(netd.sandboxes.create(SandboxSpec(id="s")))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await netd.sandboxes.remove("t")  # waits for its turn
        assert set(node.kernel.namespaces) == {"s"}


async def test_ports_of_programs_are_tried_and_avoided(node: Node) -> None:
    node.kernel.listeners = {
        HostPort(protocol=Protocol.TCP, port=port): "the program nginx (process 7)" for port in (8080, 8081)
    }
    wide = PortSpec(target=PortRange(first=80, last=80), host=PortRange(first=8080, last=8089))
    async with node.netd() as netd:
        sandbox = await netd.sandboxes.create(SandboxSpec(id="s", ports=(wide,)))
        assert sandbox.ports[0].host.port == 8082
        with pytest.raises(errors.FailedPrecondition, match="nginx"):
            await netd.sandboxes.create(SandboxSpec(id="t", ports=(WEB,)))


async def test_flows_are_forgotten_when_their_end_is_gone(node: Node) -> None:
    udp = PortSpec(
        target=PortRange(first=53, last=53), host=PortRange(first=53, last=53), protocol=Protocol.UDP
    )
    async with node.netd() as netd:
        sandbox = await netd.sandboxes.create(SandboxSpec(id="s", ports=(WEB, udp)))
        assert node.kernel.forgotten == [HostPort(protocol=Protocol.UDP, port=53)]
        await netd.sandboxes.remove("s")
        assert node.kernel.forgotten[1:] == [sandbox.endpoints[0].address.ip]


async def test_a_table_that_somebody_changed_is_mended_by_the_next_change(node: Node) -> None:
    async with node.netd() as netd:
        await netd.sandboxes.create(SandboxSpec(id="s", ports=(WEB,)))
        node.kernel.table = None
        await netd.sandboxes.create(SandboxSpec(id="t", ports=(PortSpec(target=PortRange(first=1, last=1)),)))
        assert node.kernel.table is not None
        assert ("6", "8080") in node.kernel.table.lookups["published"].elements


async def test_a_network_that_cannot_be_made_is_not_there(node: Node) -> None:
    async with node.netd() as netd:
        node.kernel.refuses = lambda operation: isinstance(operation, op.CreateBridge)
        with pytest.raises(errors.Internal):
            await netd.networks.create(NetworkSpec(name="web"))
        node.kernel.refuses = lambda _operation: False
        assert "web" not in {network.name for network in netd.state.networks.values()}
        await netd.networks.create(NetworkSpec(name="web"))


async def test_pruning_leaves_what_is_used(node: Node) -> None:
    async with node.netd() as netd:
        await netd.networks.create(NetworkSpec(name="web"))
        await netd.networks.create(NetworkSpec(name="idle", labels={"keep": "no"}))
        await netd.networks.create(NetworkSpec(name="spare"))
        await netd.sandboxes.create(SPEC)
        assert [network.name for network in await netd.networks.prune({"label": ["keep"]})] == ["idle"]
        assert [network.name for network in await netd.networks.prune({})] == ["spare"]
        with pytest.raises(errors.Invalid):
            await netd.networks.prune({"dangling": ["true"]})


async def test_a_sandbox_with_a_fixed_address_comes_back_at_once(node: Node) -> None:
    fixed = SandboxSpec(id="s", endpoints=(EndpointSpec(network="bridge", ip=IPv4Address("172.16.0.9")),))
    async with node.netd() as netd:
        for _ in range(2):
            assert str((await netd.sandboxes.create(fixed)).endpoints[0].address.ip) == "172.16.0.9"
            await netd.sandboxes.remove("s")


async def test_the_periodic_pass_mends(node: Node) -> None:
    async with node.netd() as netd:
        await netd.sandboxes.create(SandboxSpec(id="s"))
        node.kernel.apply([op.RemoveLink(name="beeyard0")])
        report = await netd.upkeep.repair()
        assert not report.failures
        assert node.kernel.links["beeyard0"].up
        assert (await netd.upkeep.repair()).operations == []


async def test_networks_tell_of_themselves_as_dockers(node: Node) -> None:
    async with node.netd() as netd:
        web = await netd.networks.create(NetworkSpec(name="web"), "once")
        assert await netd.networks.create(NetworkSpec(name="web"), "once") == web
        await netd.sandboxes.create(SPEC)
        await netd.sandboxes.create(SPEC)
        await netd.sandboxes.update_ports("s", [])
        await netd.sandboxes.disconnect("s", "web")
        await netd.sandboxes.connect("s", EndpointSpec(network="web"))
        await netd.sandboxes.remove("s")
        await netd.sandboxes.create(SandboxSpec(id="h", mode=Mode.HOST))
        await netd.networks.prune({})
        node.kernel.refuses = lambda _operation: True
        with pytest.raises(errors.Internal):
            await netd.networks.create(NetworkSpec(name="never"))
    names = {"name": "web", "type": "bridge"}
    told = [
        (event.action, event.attributes.get("name"), event.attributes.get("container")) for event in netd.told
    ]
    assert told == [
        ("create", "web", None),
        ("connect", "bridge", "s"),
        ("connect", "web", "s"),
        ("disconnect", "web", "s"),
        ("connect", "web", "s"),
        ("disconnect", "bridge", "s"),
        ("disconnect", "web", "s"),
        ("connect", "host", "h"),
        ("destroy", "web", None),
        ("prune", None, None),
    ]
    assert (netd.told[0].type, netd.told[0].id, netd.told[0].attributes) == ("network", web.id, names)
    assert (netd.told[-1].id, netd.told[-1].attributes) == ("", {"reclaimed": "0"})
