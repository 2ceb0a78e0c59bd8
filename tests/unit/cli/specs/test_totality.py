"""Whatever is typed, an option is read or refused with a message: nothing else ever comes out of a parser."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cli.commands.logs import parse_tail
from cli.commands.network import create as network_create
from cli.commands.run import run
from cli.commands.service_create import create as service_create
from cli.commands.service_update import update as service_update
from cli.specs import (
    container,
    isolation,
    limits,
    mounts,
    network,
    networking,
    ports,
    service,
    service_fields,
    times,
    values,
)
from cli.specs import service_update as updates
from cli.specs.options import Whole
from cli.target import parse_host
from services.kit import errors
from tests.unit.cli.specs.commands import service_spec

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PARSERS: dict[str, Callable[[str], Any]] = {
    "--mount": mounts.parse_mount,
    "--volume": mounts.parse_volume,
    "--tmpfs": mounts.parse_tmpfs,
    "--publish": ports.parse_container,
    "service --publish": ports.parse_service,
    "--expose": networking.parse_expose,
    "--network": networking.parse_attachment,
    "--add-host": networking.parse_extra_host,
    "--device": isolation.parse_device,
    "--ulimit": limits.parse_ulimit,
    "--memory": lambda text: limits.size(text, "--memory"),
    "--cpus": lambda text: values.nano_cpus(text, "--cpus"),
    "--restart": container.parse_restart,
    "--since": lambda text: times.parse(text, "--since", NOW),
    "--tail": parse_tail,
    "--health-interval": lambda text: values.positive_milliseconds(text, "--health-interval"),
    "whole": lambda text: values.whole(text, "x"),
    "octal": lambda text: values.whole(text, "x", base=8),
    "csv": lambda text: values.csv_fields(text, "x"),
    "--subnet": lambda text: network.subnet(text, "--subnet"),
    "--secret": lambda text: service_fields.file_reference(text, "--secret", "/run/secrets/"),
    "service --network": service_fields.network,
    "--placement-pref": service_fields.preference,
    "--generic-resource": lambda text: service_fields.generic((text,)),
    "--entrypoint": lambda text: service_fields.words(text, "--entrypoint"),
    "--host": lambda text: parse_host(text, None),
}
SPECIAL = (
    *"""
    type=bind,src=/a,dst=/b,ro name=x,ip=1.2.3.4 127.0.0.1:80:80/tcp [::1]:1-2:3-4 99999999999999999999 1e999999999 0.5
    -1 1h2m 2026-01-02T03:04:05.123456789Z 0000-00-00 9999999999999 nan inf a=b=c a,b " ' \\ \0 é １２ ² ٣ spread=
    tmpfs-mode=7777777777777777 gw-priority=9999999999 unix:///x tcp://a,b:1 tcp://[::1]:2 /dev/a:/b:rwm
    on-failure:99999999999999999999
    """.split(),  # noqa: SIM905 (words are easier to read)
    "x" * 500,
)
TEXT = st.one_of(
    st.sampled_from(SPECIAL),
    st.text(alphabet="0123456789abcdefhmsrwxkgtp:/=,.-_[]\"' ", max_size=40),
    st.text(max_size=30),
    st.builds("".join, st.lists(st.sampled_from(SPECIAL), max_size=3)),
)


@pytest.mark.parametrize("option", PARSERS)
@given(text=TEXT)
@example(text="")
def test_every_parser_is_total(option: str, text: str) -> None:
    with contextlib.suppress(errors.Invalid):
        PARSERS[option](text)


def strange(command: click.Command) -> st.SearchStrategy[dict[str, Any]]:
    """Strategy for what a command gets, with some options set to anything that click lets through."""
    options = [param for param in command.params if isinstance(param, click.Option) and param.name]
    defaults = command.make_context("x", ["name"], resilient_parsing=True).params

    def value(option: click.Option) -> st.SearchStrategy[Any]:
        if option.is_flag:
            return st.booleans()
        if isinstance(option.type, click.Choice):
            return st.sampled_from(list(option.type.choices))
        if isinstance(option.type, Whole):
            return st.integers(option.type.least, option.type.most)
        if isinstance(option.type, click.types.FloatParamType | click.FloatRange):
            return st.floats(0, 1)
        if option.type is click.INT:
            return st.integers(-(1 << 70), 1 << 70)
        text = TEXT.filter(lambda text: not text.endswith("_file"))
        return st.lists(text, max_size=3).map(tuple) if option.multiple else text

    chosen = st.sets(st.sampled_from(range(len(options))), max_size=6)
    return chosen.flatmap(
        lambda indexes: st.fixed_dictionaries({str(options[i].name): value(options[i]) for i in indexes}).map(
            lambda given: {**defaults, **given, "env_file": (), "label_file": ()}
        )
    )


@given(strange(run))
def test_run_makes_a_specification_or_says_what_is_wrong(options: dict[str, Any]) -> None:
    with contextlib.suppress(errors.Invalid):
        container.build("img", ("cmd",), options).SerializeToString()


@given(strange(service_create))
def test_service_create_makes_a_specification_or_says_what_is_wrong(options: dict[str, Any]) -> None:
    with contextlib.suppress(errors.Invalid):
        service.build("img", ("cmd",), options).SerializeToString()


@given(strange(service_update))
def test_service_update_changes_a_specification_or_says_what_is_wrong(options: dict[str, Any]) -> None:
    with contextlib.suppress(errors.Invalid):
        spec = service_spec("-p 80:80 -e A=1 --mount dst=/x --constraint node.role==manager img")
        updates.change(spec, options)
        spec.SerializeToString()


@given(strange(network_create))
def test_network_create_makes_a_specification_or_says_what_is_wrong(options: dict[str, Any]) -> None:
    with contextlib.suppress(errors.Invalid):
        build = network.build_swarm if network.is_swarm(options) else network.build
        build("name", options).SerializeToString()
