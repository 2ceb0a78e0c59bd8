"""The texts of hosts, resolv.conf and hostname."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.netd.core import namefiles, networks, sandboxes
from services.netd.core.namefiles import NodeNames
from services.netd.core.state import State, apply
from services.netd.model.endpoint import EndpointSpec
from services.netd.model.network import NetworkSpec
from services.netd.model.sandbox import DnsConfig, ExtraHost, Mode, Sandbox, SandboxSpec, check_hostname
from tests.unit.netd.strategies import NODE_PORTS, NOW, NOWHERE, SETTINGS, base_state, new_ids, unhurried

NODE = NodeNames(
    hosts="127.0.0.1 localhost\n10.0.0.5 node",
    resolv_conf="# made by somebody\nnameserver 127.0.0.53\nnameserver 10.0.0.1\nsearch example.org\noptions edns0\n",
    fallback=("8.8.8.8",),
    hostname="node",
)


def sandbox(**fields: Any) -> tuple[State, Sandbox]:
    state = apply(
        base_state(),
        networks.plan_create(
            base_state(),
            NetworkSpec(name="web"),
            settings=SETTINGS,
            host=NOWHERE,
            network_id="9" * 64,
            now=NOW,
        ),
    )
    change = sandboxes.plan_create(
        state, SandboxSpec(**{"id": "f" * 64, **fields}), node=NODE_PORTS, chance=new_ids()
    )
    assert change is not None
    return apply(state, change), change.sandbox


def write(**fields: Any) -> namefiles.NameFiles:
    return namefiles.write(*sandbox(**fields), NODE)


def test_hosts() -> None:
    texts = write(
        hostname="h",
        domainname="example.org",
        endpoints=(EndpointSpec(network="bridge"), EndpointSpec(network="web")),
        extra_hosts=(
            ExtraHost(name="db", address="10.9.9.9"),
            ExtraHost(name="node", address="host-gateway"),
        ),
    )
    assert texts.hosts.splitlines()[:2] == [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
    ]
    assert texts.hosts.splitlines()[-4:] == [
        "10.9.9.9\tdb",
        "172.17.0.1\tnode",
        "172.17.0.2\th.example.org h",
        "172.17.1.2\th.example.org h",
    ]
    assert texts.hostname == "h\n"


def test_a_sandbox_without_a_name_is_called_by_its_id() -> None:
    texts = write()
    assert texts.hostname == "ffffffffffff\n"
    assert "172.17.0.2\tffffffffffff\n" in texts.hosts


def test_on_the_node_the_nodes_files_hold() -> None:
    texts = write(mode=Mode.HOST, extra_hosts=(ExtraHost(name="db", address="10.9.9.9"),))
    assert texts.hosts == "127.0.0.1 localhost\n10.0.0.5 node\n10.9.9.9\tdb\n"
    assert texts.hostname == "node\n"
    assert "nameserver 127.0.0.53\n" in texts.resolv_conf


def test_without_a_network_the_node_is_reached_at_the_default_one() -> None:
    texts = write(mode=Mode.NONE, extra_hosts=(ExtraHost(name="node", address="host-gateway"),))
    assert texts.hosts.endswith("172.17.0.1\tnode\n")


def test_name_servers_on_the_loopback_are_left_out() -> None:
    assert write().resolv_conf == "nameserver 10.0.0.1\nsearch example.org\noptions edns0\n"


def test_without_any_other_the_fallback_is_asked() -> None:
    lonely = replace(NODE, resolv_conf="nameserver 127.0.0.1\nnameserver ::1\n")
    assert namefiles.resolv_conf(DnsConfig(), lonely, keep_loopback=False) == "nameserver 8.8.8.8\n"


def test_what_the_sandbox_asks_for_goes_first() -> None:
    asked = DnsConfig(servers=("9.9.9.9",), search=("."), options=("ndots:2",))
    assert namefiles.resolv_conf(asked, NODE, keep_loopback=False) == "nameserver 9.9.9.9\noptions ndots:2\n"


@unhurried
@given(st.text())
def test_any_resolv_conf_of_the_node_gives_one(text: str) -> None:
    made = namefiles.resolv_conf(DnsConfig(), replace(NODE, resolv_conf=text), keep_loopback=False)
    assert all(line.split()[0] in {"nameserver", "search", "options"} for line in made.splitlines())


def test_the_last_search_line_counts() -> None:
    node = replace(NODE, resolv_conf="domain a\nsearch b c\n")
    assert "search b c\n" in namefiles.resolv_conf(DnsConfig(), node, keep_loopback=False)


LINES = st.lists(st.text("abc \t", min_size=1), unique=True)


@unhurried
@given(LINES, LINES, LINES)
def test_amending_hosts_keeps_what_others_wrote(
    lines: list[str], removed: list[str], added: list[str]
) -> None:
    text = "".join(f"{line}\n" for line in lines)
    after = namefiles.amend_hosts(text, removed, added).splitlines()
    assert [line for line in lines if line not in removed] == after[: len(set(lines) - set(removed))]
    assert set(added) <= set(after)
    assert not set(removed) - set(added) & set(after) - set(lines)
    again = namefiles.amend_hosts("".join(f"{line}\n" for line in after), [], added)
    assert again.splitlines() == after


@pytest.mark.parametrize("name", ["my_host", "_x_", "a", "1.b-c"])
def test_names_that_people_give(name: str) -> None:
    check_hostname(name, "alias")


@pytest.mark.parametrize("text", ["", "127.0.0.1 localhost"])
def test_a_hosts_file_ends_with_a_line_end(text: str) -> None:
    assert namefiles.amend_hosts(text, [], ["10.0.0.1\tx"]).endswith("\n10.0.0.1\tx\n") == bool(text)
