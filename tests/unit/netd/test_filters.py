"""Docker's filters of networks."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.kit import errors
from services.netd.core import filters, networks, sandboxes
from services.netd.core.state import State, apply
from services.netd.model.endpoint import EndpointSpec
from services.netd.model.network import NetworkSpec
from services.netd.model.sandbox import SandboxSpec
from tests.unit.netd.strategies import NODE_PORTS, NOW, NOWHERE, SETTINGS, base_state, new_ids


@pytest.fixture
def state() -> State:
    state = base_state()
    for name, labels in (("web", {"env": "prod", "tier": ""}), ("web2", {"env": "test"})):
        change = networks.plan_create(
            state,
            NetworkSpec(name=name, labels=labels),
            settings=SETTINGS,
            host=NOWHERE,
            network_id=(name + "0" * 64)[:64],
            now=NOW,
        )
        state = apply(state, change)
    used = sandboxes.plan_create(
        state,
        SandboxSpec(id="s", endpoints=(EndpointSpec(network="web"),)),
        node=NODE_PORTS,
        chance=new_ids(),
    )
    assert used is not None
    return apply(state, used)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({}, "bridge host none web web2"),
        ({"name": ["we"]}, "web web2"),
        ({"name": ["web2", "host"]}, "host web2"),
        ({"id": ["web2"]}, "web2"),
        ({"driver": ["bridge"]}, "bridge web web2"),
        ({"driver": ["null", "host"]}, "host none"),
        ({"type": ["custom"]}, "web web2"),
        ({"type": ["builtin"]}, "bridge host none"),
        ({"scope": ["local"]}, "bridge host none web web2"),
        ({"scope": ["swarm"]}, ""),
        ({"dangling": ["true"]}, "web2"),
        ({"dangling": ["false"]}, "bridge host none web"),
        ({"label": ["env"]}, "web web2"),
        ({"label": ["env=prod"]}, "web"),
        ({"label": ["env", "tier"]}, "web"),
        ({"label!": ["tier"]}, "bridge host none web2"),
        ({"label": ["env"], "name": ["2"]}, "web2"),
        ({"until": ["1h"]}, "bridge host none web web2"),
        ({"until": ["3h"]}, ""),
        ({"until": ["2026-01-01"]}, ""),
        ({"until": ["2026-01-02T00:00:00Z"]}, "bridge host none web web2"),
        ({"until": ["1767225601"]}, "bridge host none web web2"),
    ],
)
def test_filters(state: State, wanted: dict[str, list[str]], names: str) -> None:
    now = NOW + timedelta(hours=2)
    chosen = [
        network.name for network in state.networks.values() if filters.fits(state, network, wanted, now)
    ]
    assert " ".join(sorted(chosen)) == names


@pytest.mark.parametrize(
    "wanted",
    [
        {"dangling": ["maybe"]},
        {"type": ["other"]},
        {"until": ["yesterday"]},
        {"until": ["1x"]},
        {"unknown": ["1"]},
    ],
)
def test_values_that_are_none(state: State, wanted: dict[str, list[str]]) -> None:
    with pytest.raises(errors.Invalid):
        for network in state.networks.values():
            filters.fits(state, network, wanted, NOW)


def test_keys_that_do_not_exist() -> None:
    with pytest.raises(errors.Invalid, match="dangling"):
        filters.check({"colour": ["red"]}, filters.LIST_KEYS)
    with pytest.raises(errors.Invalid):
        filters.check({"dangling": ["true"]}, filters.PRUNE_KEYS)
