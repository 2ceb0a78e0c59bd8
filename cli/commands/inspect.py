"""swarmctl inspect: any object, of whatever kind it is."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import click

from cli import locate
from cli.command import command, for_each, inspect_format_option, with_session
from cli.errors import UNREACHABLE, invalid
from cli.format import output
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.session import Session

_NOT_HERE = frozenset(
    {"DAEMON_UNREACHABLE", "SOCKET_PERMISSION_DENIED", "NOT_IN_SWARM", "NOT_A_MANAGER", "UNSUPPORTED"}
)
"""Why a daemon that could know the object does not say: the others are asked all the same."""


def _container(session: Session, name: str, *, size: bool) -> dict[str, Any]:
    view = importlib.import_module("cli.views.container_inspect")
    shown: dict[str, Any] = view.inspect(locate.get(session, name, size=size, root_layers=True), size=size)
    return shown


def _image(session: Session, name: str) -> dict[str, Any]:
    from cli.commands import image
    from cli.views import image as view

    return view.inspect(image.get(session, name))


def _network(session: Session, name: str) -> dict[str, Any]:
    from cli.commands import network

    return network.show(session, name)


def _volume(session: Session, name: str) -> dict[str, Any]:
    from cli.commands import volume
    from cli.views import volume as view

    return view.inspect(volume.get(session, name))


def _service(session: Session, name: str) -> dict[str, Any]:
    from cli.commands import service_change
    from cli.views import service as view

    return view.inspect(service_change.get(session, name, insert_defaults=True))


def _task(session: Session, name: str) -> dict[str, Any]:
    from beeyard.swarm.v1 import control_pb2 as pb
    from cli import api, swarm_lists
    from cli.views import task as view

    request = pb.GetTaskRequest(task=name)
    return view.inspect(session.call(api.Tasks.GetTask, request, timeout_s=swarm_lists.READ_TIMEOUT_S).task)


def _node(session: Session, name: str) -> dict[str, Any]:
    from cli.commands import node
    from cli.views import node as view

    return view.inspect(node.get(session, name))


def _secret(session: Session, name: str) -> dict[str, Any]:
    from cli.commands import secret
    from cli.views import stored as view

    return view.inspect(secret.get(session, name))


def _config(session: Session, name: str) -> dict[str, Any]:
    from cli.commands import config
    from cli.views import stored as view

    return view.inspect(config.get(session, name))


KINDS: dict[str, Callable[[Session, str], dict[str, Any]]] = {
    "image": _image,
    "network": _network,
    "volume": _volume,
    "service": _service,
    "task": _task,
    "node": _node,
    "secret": _secret,
    "config": _config,
}
"""What is asked after containers, in this order."""


@command()
@inspect_format_option
@click.option("-s", "--size", is_flag=True, help="Display total file sizes if the type is container")
@click.option(
    "--type", "kind", type=click.Choice(["container", *KINDS]), help="Only inspect objects of this type"
)
@click.argument("names", metavar="NAME|ID...", nargs=-1, required=True)
@with_session
def inspect(session: Session, style: str, names: tuple[str, ...], kind: str | None, *, size: bool) -> int:
    """Return low-level information on objects: containers, images, networks, services, tasks, nodes, …"""
    found: list[dict[str, Any]] = []

    def look(name: str) -> None:
        if not name:
            raise invalid("the name of what is to be inspected is empty")
        if kind is None:
            found.append(find(session, name, size=size))
        elif kind == "container":
            found.append(_container(session, name, size=size))
        else:
            found.append(KINDS[kind](session, name))

    code = for_each(names, look)
    output.print_inspect(found, style)
    return code


def find(session: Session, name: str, *, size: bool) -> dict[str, Any]:
    """Look for an object among all kinds.

    Raises:
        errors.NotFound: No kind has it; the message names the daemons that could not be asked.
        errors.BeeyardError: No daemon could be asked.
    """
    lookups: list[Callable[[Session, str], dict[str, Any]]] = [
        lambda session, name: _container(session, name, size=size),
        *KINDS.values(),
    ]
    unreachable: dict[str, errors.BeeyardError] = {}
    asked = 0
    for lookup in lookups:
        try:
            return lookup(session, name)
        except (errors.NotFound, errors.Invalid):  # a name that this kind cannot have
            asked += 1
        except errors.BeeyardError as exc:
            if exc.reason not in _NOT_HERE:
                raise
            if exc.reason in UNREACHABLE:
                unreachable[exc.message] = exc
    if unreachable and not asked:
        raise next(iter(unreachable.values()))
    silent = "".join(f"; {message}" for message in unreachable)
    raise errors.NotFound(f"no such object: {name}{silent}", reason="NOT_FOUND")
