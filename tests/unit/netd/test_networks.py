"""What becomes of requests about networks."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from services.kit import errors
from services.netd.core import networks, options, sandboxes
from services.netd.core.networks import Host, HostSubnet, Settings
from services.netd.core.state import State, apply
from services.netd.model.endpoint import EndpointSpec
from services.netd.model.network import Driver, Network, NetworkSpec
from services.netd.model.sandbox import SandboxSpec
from tests.unit.netd.strategies import NODE_PORTS, NOW, NOWHERE, SETTINGS, base_state, new_ids

DOCKER_POOL = Settings(pool=[IPv4Network("172.17.0.0/16"), IPv4Network("172.18.0.0/15")], prefix=16)


def create(
    state: State,
    name: str,
    *,
    host: Host = NOWHERE,
    network_id: str = "",
    settings: Settings = SETTINGS,
    **fields: Any,
) -> State:
    change = networks.plan_create(
        state,
        NetworkSpec(name=name, **fields),
        settings=settings,
        host=host,
        network_id=network_id or (name * 64)[:64],
        now=NOW,
    )
    return apply(state, change)


def made(state: State, name: str) -> Network:
    return networks.find(state, name)


def reached(subnet: str, link: str = "eth0") -> Host:
    return Host(subnets=[HostSubnet(subnet=IPv4Network(subnet), link=link)], links=frozenset({link}))


def test_the_predefined_networks() -> None:
    state = base_state()
    assert {(network.name, network.driver) for network in state.networks.values()} == {
        ("bridge", Driver.BRIDGE),
        ("host", Driver.HOST),
        ("none", Driver.NULL),
    }
    assert made(state, "bridge").link == "beeyard0"
    assert (
        networks.plan_predefined(state, settings=SETTINGS, host=NOWHERE, network_ids=["x", "y", "z"], now=NOW)
        == []
    ), "what exists is not made again"


def test_the_default_subnet_gives_way_to_the_nodes_routes() -> None:
    def default_subnet(host: Host, settings: Settings = DOCKER_POOL) -> str:
        changes = networks.plan_predefined(
            State(), settings=settings, host=host, network_ids=["a", "b", "c"], now=NOW
        )
        ipam = changes[0].network.ipam
        assert ipam is not None
        return str(ipam.subnet)

    assert default_subnet(NOWHERE) == "172.17.0.0/16"
    assert default_subnet(reached("172.17.0.0/16", "docker0")) == "172.18.0.0/16"
    assert default_subnet(reached("172.16.0.0/15")) == "172.18.0.0/16"
    chosen = replace(DOCKER_POOL, default_subnet=IPv4Network("10.5.0.0/24"))
    assert default_subnet(NOWHERE, chosen) == "10.5.0.0/24"
    with pytest.raises(errors.FailedPrecondition) as caught:
        default_subnet(reached("10.0.0.0/8"), chosen)
    assert caught.value.reason == "SUBNET_OVERLAP"


def test_user_networks_get_subnets_one_after_the_other() -> None:
    state = create(create(base_state(), "x"), "y")
    subnets = [str(network.ipam.subnet) for network in state.networks.values() if network.ipam]
    assert subnets == ["172.17.0.0/24", "172.17.1.0/24", "172.17.2.0/24"]
    assert made(state, "x").link == "by-" + "x" * 12


def test_the_pool_may_be_exhausted() -> None:
    with pytest.raises(errors.Exhausted) as caught:
        create(base_state(), "x", host=reached("128.0.0.0/1"), settings=DOCKER_POOL)
    assert caught.value.reason == "ADDRESS_POOL_EXHAUSTED"


def test_a_name_is_taken_once() -> None:
    with pytest.raises(errors.AlreadyExists, match="network with name x already exists") as caught:
        create(create(base_state(), "x"), "x", network_id="0" * 64)
    assert caught.value.reason == "NETWORK_EXISTS"
    for name in ("bridge", "host", "none"):
        with pytest.raises(errors.AlreadyExists):
            create(base_state(), name)


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "a\nb", "x" * 256, "..", "é"])
def test_a_name_is_a_word(name: str) -> None:
    with pytest.raises(errors.Invalid):
        create(base_state(), name, network_id="0" * 64)


def test_subnets_do_not_overlap() -> None:
    state = create(base_state(), "x", subnet=IPv4Network("10.1.0.0/16"))
    with pytest.raises(errors.FailedPrecondition, match="network x") as caught:
        create(state, "y", subnet=IPv4Network("10.1.4.0/24"))
    assert caught.value.reason == "SUBNET_OVERLAP"
    with pytest.raises(errors.FailedPrecondition, match="through eth0"):
        create(state, "y", subnet=IPv4Network("192.0.2.0/25"), host=reached("192.0.2.0/24"))


def test_an_interface_belongs_to_one_network() -> None:
    state = create(base_state(), "x", driver_opts={"com.docker.network.bridge.name": "mybridge"})
    assert made(state, "x").link == "mybridge"
    for host in (NOWHERE, Host(subnets=[], links=frozenset({"mybridge"}))):
        with pytest.raises(errors.FailedPrecondition):
            create(
                state if host is NOWHERE else base_state(),
                "y",
                host=host,
                driver_opts={"com.docker.network.bridge.name": "mybridge"},
            )


@pytest.mark.parametrize(
    ("driver", "error"),
    [
        ("overlay", errors.Unsupported),
        ("macvlan", errors.Unsupported),
        ("nonsense", errors.Unsupported),
        ("host", errors.PermissionDenied),
        ("null", errors.PermissionDenied),
    ],
)
def test_drivers_that_cannot_be_had(driver: str, error: type[errors.BeeyardError]) -> None:
    with pytest.raises(error):
        create(base_state(), "x", driver=driver)


def test_addresses_need_a_subnet() -> None:
    with pytest.raises(errors.Invalid):
        create(base_state(), "x", gateway=IPv4Address("10.0.0.1"))


def test_finding_by_name_id_and_prefix() -> None:
    state = create(base_state(), "x", network_id="abc1" + "0" * 60)
    state = create(state, "y", network_id="abc2" + "0" * 60)
    state = create(state, "abc", network_id="d" * 64)
    assert networks.find(state, "abc").id == "d" * 64, "a name goes before a prefix"
    assert networks.find(state, "abc1").name == "x"
    assert networks.find(state, "abc2" + "0" * 60).name == "y"
    with pytest.raises(errors.Invalid, match="ambiguous"):
        networks.find(create(base_state_without_abc(state), "q", network_id="abc3" + "0" * 60), "abc")
    assert networks.find(state, "default").name == "bridge"
    for nobody in ("", "zzz"):
        with pytest.raises(errors.NotFound) as caught:
            networks.find(state, nobody)
        assert caught.value.reason == "NETWORK_NOT_FOUND"


def base_state_without_abc(state: State) -> State:
    return replace(
        state, networks={key: network for key, network in state.networks.items() if network.name != "abc"}
    )


def test_what_is_in_use_or_predefined_stays() -> None:
    state = create(base_state(), "x")
    networks.check_removable(state, made(state, "x"))
    change = sandboxes.plan_create(
        state,
        SandboxSpec(id="s", name="web", endpoints=(EndpointSpec(network="x"),)),
        node=NODE_PORTS,
        chance=new_ids(),
    )
    assert change is not None
    state = apply(state, change)
    with pytest.raises(errors.FailedPrecondition, match=r"network x has active endpoints \(web\)") as caught:
        networks.check_removable(state, made(state, "x"))
    assert caught.value.reason == "NETWORK_IN_USE"
    for name in ("bridge", "host", "none"):
        with pytest.raises(errors.PermissionDenied, match="pre-defined network"):
            networks.check_removable(state, made(state, name))


def test_bridge_options() -> None:
    said = options.parse(
        {
            "com.docker.network.driver.mtu": "1400",
            "com.docker.network.bridge.enable_ip_masquerade": "false",
            "com.docker.network.bridge.host_binding_ipv4": "127.0.0.1",
            "com.docker.network.bridge.enable_icc": "true",
        }
    )
    assert (said.mtu, said.masquerade, str(said.host_ip), said.link) == (1400, False, "127.0.0.1", "")


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("com.docker.network.driver.mtu", "67", errors.Invalid),
        ("com.docker.network.driver.mtu", "many", errors.Invalid),
        ("com.docker.network.bridge.name", "has space", errors.Invalid),
        ("com.docker.network.bridge.name", "sixteen-letters-", errors.Invalid),
        ("com.docker.network.bridge.name", 'x"; drop', errors.Invalid),
        ("com.docker.network.bridge.enable_ip_masquerade", "maybe", errors.Invalid),
        ("com.docker.network.bridge.host_binding_ipv4", "::1", errors.Unsupported),
        ("com.docker.network.bridge.enable_icc", "false", errors.Unsupported),
        ("com.docker.network.unknown", "1", errors.Invalid),
    ],
)
def test_bridge_options_that_are_refused(key: str, value: str, error: type[errors.BeeyardError]) -> None:
    with pytest.raises(error):
        create(base_state(), "x", driver_opts={key: value})


def test_labels_have_a_limit() -> None:
    with pytest.raises(errors.Invalid, match="labels"):
        create(base_state(), "x", labels={"k": "v" * 70_000})
