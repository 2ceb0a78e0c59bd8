"""The settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.kit import config, errors
from services.netd.config import NetdConfig


def load(tmp_path: Path, text: str) -> NetdConfig:
    path = tmp_path / "netd.toml"
    path.write_text(text)
    return config.load(NetdConfig, path)


def test_the_defaults_are_dockers() -> None:
    settings = NetdConfig()
    assert str(settings.networks.pool[0]) == "172.17.0.0/16"
    assert settings.networks.prefix == 16
    assert (settings.ephemeral.first, settings.ephemeral.last) == (32768, 60999)


def test_what_is_set_holds(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        'bridge_subnet_pool = ["10.8.0.0/13"]\nbridge_subnet_prefix = 24\nbridge_subnet = "10.8.1.0/24"\n'
        'ephemeral_ports = "40000-40100"\n',
    )
    assert str(settings.networks.default_subnet) == "10.8.1.0/24"
    assert settings.networks.prefix == 24
    assert len(settings.ephemeral) == 101


@pytest.mark.parametrize(
    "line",
    [
        'bridge_subnet_pool = ["10.0.0.1/8"]',
        'bridge_subnet_pool = ["nonsense"]',
        "bridge_subnet_pool = []",
        "bridge_subnet_prefix = 31",
        'bridge_subnet = "fd00::/64"',
        "bridge_mtu = 12",
        'ephemeral_ports = "many"',
        'ephemeral_ports = "2-1"',
        'ephemeral_ports = "1-65536"',
        'dns_fallback = ["dns.example.org"]',
        "repair_interval_s = 0.0",
        "bridge_subnet_pol = []",
    ],
)
def test_a_mistake_is_named_by_its_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(errors.Invalid, match=r"netd\.toml:2:"):
        load(tmp_path, f"# settings\n{line}\n")
