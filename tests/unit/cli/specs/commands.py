"""Command lines, parsed by the commands themselves as far as a specification."""

from __future__ import annotations

import shlex
from typing import Any

import click

from beeyard.container.v1 import spec_pb2
from beeyard.swarm.v1 import objects_pb2
from cli.commands.network import create as network_create
from cli.commands.run import run
from cli.commands.service_create import create as service_create
from cli.commands.service_update import update as service_update
from cli.specs import container, service
from cli.specs import service_update as updates


def given(command: click.Command, line: str) -> dict[str, Any]:
    """Parse a command line, and return what the command would get."""
    return dict(command.make_context("x", shlex.split(line)).params)


def run_spec(line: str) -> spec_pb2.ContainerSpec:
    """Return what `run` would make."""
    options = given(run, line)
    return container.build(options["image"], options["command"], options)


def service_spec(line: str) -> objects_pb2.ServiceSpec:
    """Return what `service create` would make."""
    options = given(service_create, line)
    return service.build(options["image"], options["command"], options)


def updated(line: str, update: str) -> objects_pb2.ServiceSpec:
    """Return what `service update` makes of what `service create` made."""
    spec = service_spec(line)
    updates.change(spec, given(service_update, f"{update} name"))
    return spec


def network_options(line: str) -> dict[str, Any]:
    """Return what `network create` gets."""
    return given(network_create, f"{line} name")
