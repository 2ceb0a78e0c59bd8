"""swarmctl container …: looking at containers and ending them; those that run something have modules of their own."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import filter_pb2
from cli import api, clock, complete, locate, outage
from cli.command import (
    command,
    filter_option,
    for_each,
    for_each_at_once,
    format_option,
    inspect_format_option,
    no_trunc_option,
    parse_filters,
    quiet_option,
    with_session,
)
from cli.errors import invalid
from cli.format import output
from cli.specs.options import Whole
from services.kit import errors, units

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cli.session import Session
    from cli.transport.call import Call

CALL_TIMEOUT_S = 120.0
PRUNE_TIMEOUT_S = 600.0
_CONTAINERS = click.argument(
    "containers", metavar="CONTAINER...", nargs=-1, required=True, shell_complete=complete.containers
)


def filters(given: Sequence[str]) -> Mapping[str, filter_pb2.StringList]:
    """Filters as containerd takes them."""
    return {key: filter_pb2.StringList(values=values) for key, values in parse_filters(given).items()}


@command()
@click.option(
    "-a", "--all", "everything", is_flag=True, help="Show all containers (default shows just running)"
)
@filter_option
@format_option
@click.option(
    "-n",
    "--last",
    type=Whole(most=(1 << 32) - 1),
    metavar="int",
    default=-1,
    help="Show n last created containers (all states)",
)
@click.option("-l", "--latest", is_flag=True, help="Show the latest created container (all states)")
@no_trunc_option
@quiet_option
@click.option("-s", "--size", is_flag=True, help="Display total file sizes")
@with_session
def ls(session: Session, style: str, last: int, **given: Any) -> None:
    """List containers."""
    size = given["size"] or ".Size" in style
    newest = last if last > 0 else 1 if given["latest"] else 0
    request = pb.ListContainersRequest(
        all=given["everything"], last=newest, filters=filters(given["filters"]), size=size
    )
    found = locate.pages(session, request)
    if given["quiet"]:
        if style:
            print("WARNING: --format is ignored, as --quiet is given too", file=sys.stderr)
        output.print_lines(container.id if given["no_trunc"] else container.id[:12] for container in found)
        return
    from cli.views import container as view

    now = clock.now()
    output.print_rows(
        [view.row(container, now, full=given["no_trunc"]) for container in found],
        style=style,
        default=view.WITH_SIZE if given["size"] else view.DEFAULT,
        headers=view.HEADERS,
    )


@command()
@inspect_format_option
@click.option("-s", "--size", is_flag=True, help="Display total file sizes")
@_CONTAINERS
@with_session
def inspect(session: Session, style: str, containers: tuple[str, ...], *, size: bool) -> int:
    """Display detailed information on one or more containers."""
    from cli.views import container_inspect as view

    found: list[dict[str, Any]] = []

    def get(name: str) -> None:
        found.append(view.inspect(locate.get(session, name, size=size, root_layers=True), size=size))

    code = for_each(containers, get)
    output.print_inspect(found, style)
    return code


def _grace_ms(seconds: int | None) -> int | None:
    return None if seconds is None else seconds * 1000


_SIGNAL = click.option("-s", "--signal", default="", metavar="string", help="Signal to send to the container")
_TIMEOUT = click.option(
    "-t",
    "--timeout",
    type=Whole(-(1 << 31), 1 << 31),
    metavar="int",
    help="Seconds to wait before killing the container",
)


@command(aliases={"--time": "--timeout"})
@_SIGNAL
@_TIMEOUT
@_CONTAINERS
@with_session
def stop(session: Session, containers: tuple[str, ...], signal: str, timeout: int | None) -> int:
    """Stop one or more running containers."""

    def begin(name: str) -> Call[pb.StopContainerRequest, pb.StopContainerResponse]:
        request = pb.StopContainerRequest(container=name, signal=signal, grace_ms=_grace_ms(timeout))
        return session.start(api.Containers.StopContainer, request)

    return for_each_at_once(containers, begin)


@command(aliases={"--time": "--timeout"})
@_SIGNAL
@_TIMEOUT
@_CONTAINERS
@with_session
def restart(session: Session, containers: tuple[str, ...], signal: str, timeout: int | None) -> int:
    """Restart one or more containers."""

    def begin(name: str) -> Call[pb.RestartContainerRequest, pb.RestartContainerResponse]:
        request = pb.RestartContainerRequest(container=name, signal=signal, grace_ms=_grace_ms(timeout))
        return session.start(api.Containers.RestartContainer, request)

    return for_each_at_once(containers, begin)


@command()
@_SIGNAL
@_CONTAINERS
@with_session
def kill(session: Session, containers: tuple[str, ...], signal: str) -> int:
    """Kill one or more running containers."""

    def begin(name: str) -> Call[pb.KillContainerRequest, pb.KillContainerResponse]:
        request = pb.KillContainerRequest(container=name, signal=signal)
        return session.start(api.Containers.KillContainer, request, timeout_s=CALL_TIMEOUT_S)

    return for_each_at_once(containers, begin)


@command()
@_CONTAINERS
@with_session
def pause(session: Session, containers: tuple[str, ...]) -> int:
    """Pause all processes within one or more containers."""

    def begin(name: str) -> Call[pb.PauseContainerRequest, pb.PauseContainerResponse]:
        request = pb.PauseContainerRequest(container=name)
        return session.start(api.Containers.PauseContainer, request, timeout_s=CALL_TIMEOUT_S)

    return for_each_at_once(containers, begin)


@command()
@_CONTAINERS
@with_session
def unpause(session: Session, containers: tuple[str, ...]) -> int:
    """Unpause all processes within one or more containers."""

    def begin(name: str) -> Call[pb.UnpauseContainerRequest, pb.UnpauseContainerResponse]:
        request = pb.UnpauseContainerRequest(container=name)
        return session.start(api.Containers.UnpauseContainer, request, timeout_s=CALL_TIMEOUT_S)

    return for_each_at_once(containers, begin)


@command()
@click.argument("container", metavar="CONTAINER", shell_complete=complete.containers)
@with_session
def healthcheck(session: Session, container: str) -> int:
    """Run the health check of a container now, and exit with 0 if it passes, else with 1.

    Prints what the check wrote. The result counts as any other.
    """
    result = session.call(api.Containers.CheckHealth, pb.CheckHealthRequest(container=container)).result
    if result.output:
        click.echo(result.output, nl=not result.output.endswith("\n"))
    return int(result.exit_code != 0)


@command()
@click.option("-f", "--force", is_flag=True, help="Force the removal of a running container (uses SIGKILL)")
@click.option("-v", "--volumes", is_flag=True, help="Remove anonymous volumes associated with the container")
@_CONTAINERS
@with_session
def rm(session: Session, containers: tuple[str, ...], *, force: bool, volumes: bool) -> int:
    """Remove one or more containers."""

    def begin(name: str) -> Call[pb.RemoveContainerRequest, pb.RemoveContainerResponse]:
        request = pb.RemoveContainerRequest(container=name, force=force, volumes=volumes)
        return session.start(api.Containers.RemoveContainer, request, timeout_s=CALL_TIMEOUT_S)

    return for_each_at_once(containers, begin, forgive=(errors.NotFound,) if force else ())


@command()
@_CONTAINERS
@with_session
def wait(session: Session, containers: tuple[str, ...]) -> int:
    """Block until one or more containers stop, then print their exit codes."""

    def begin(name: str) -> Call[pb.WaitContainerRequest, pb.WaitContainerResponse]:
        return session.start(api.Containers.WaitContainer, pb.WaitContainerRequest(container=name))

    calls: dict[str, list[Call[pb.WaitContainerRequest, pb.WaitContainerResponse]]] = {}
    for name in containers:
        calls.setdefault(name, []).append(begin(name))

    def end(name: str) -> str:
        call, known = calls[name].pop(0), name
        while True:
            try:
                for response in call:
                    if response.WhichOneof("event") == "exit":
                        return str(response.exit.exit_code)
                    known = response.waiting.container or known
            except errors.BeeyardError as exc:
                if not outage.is_outage(exc):
                    raise
                call = outage.retry(partial(begin, known), exc)
            else:
                raise errors.Internal(f"the wait for {name} ended without an exit code", reason="STREAM_CUT")

    return for_each(containers, end)


@command()
@click.argument("container", metavar="CONTAINER", shell_complete=complete.containers)
@click.argument("new_name", metavar="NEW_NAME")
@with_session
def rename(session: Session, container: str, new_name: str) -> None:
    """Rename a container."""
    if not new_name.strip():
        raise invalid("neither old nor new names may be empty")
    request = pb.RenameContainerRequest(container=container, new_name=new_name)
    session.call(api.Containers.RenameContainer, request, timeout_s=CALL_TIMEOUT_S)


@command()
@click.argument("container", metavar="CONTAINER", shell_complete=complete.containers)
@click.argument("private_port", metavar="[PRIVATE_PORT[/PROTO]]", default="")
@with_session
def port(session: Session, container: str, private_port: str) -> None:
    """List port mappings or a specific mapping for the container."""
    from cli.specs import ports as specs
    from cli.views import ports

    found = ports.each(locate.get(session, container).status.network.ports)
    if not private_port:
        output.print_lines(
            f"{inside} -> {ports.host(address)}:{outside}" for inside, address, outside in found
        )
        return
    number, _, protocol = specs.parse_exposed(private_port, "port")
    wanted = f"{number}/{protocol}"
    mapped = [f"{ports.host(address)}:{outside}" for inside, address, outside in found if inside == wanted]
    if not mapped:
        raise errors.NotFound(f"no public port {wanted!r} published for {container}", reason="PORT_NOT_FOUND")
    output.print_lines(mapped)


@command()
@click.option("--filter", "given", multiple=True, metavar="filter", help='Provide filters (e.g. "until=1h")')
@click.option("-f", "--force", is_flag=True, help="Do not prompt for confirmation")
@with_session
def prune(session: Session, given: tuple[str, ...], *, force: bool) -> None:
    """Remove all stopped containers."""
    request = pb.PruneContainersRequest(filters=filters(given))
    if not force:
        from cli.prompt import confirm

        confirm("This will remove all stopped containers.", "container prune")
    done = session.call(api.Containers.PruneContainers, request, timeout_s=PRUNE_TIMEOUT_S)
    if done.deleted:
        output.print_lines(["Deleted Containers:", *done.deleted, ""])
    print(f"Total reclaimed space: {units.render_bytes(done.reclaimed_bytes)}")
