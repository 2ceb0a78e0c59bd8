"""swarmctl version and info: what the daemons say of themselves. One that is down hides no other."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.command import command, inspect_format_option, with_session
from cli.errors import render_error
from cli.session import DAEMONS
from cli.version import VERSION
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from beeyard.system.v1 import system_pb2 as pb
    from cli.session import Session
    from cli.transport.call import Call

READ_TIMEOUT_S = 10.0
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
Response = TypeVar("Response")


def client_version(session: Session) -> dict[str, Any]:
    """Describe this program."""
    machine = os.uname().machine
    return {
        "Version": VERSION,
        "PythonVersion": ".".join(map(str, sys.version_info[:3])),
        "Os": "linux",
        "Arch": _ARCHITECTURES.get(machine, machine),
        "Context": session.target.context,
    }


def ask_all(
    begin: Callable[[str], Call[Any, Response]], daemons: tuple[str, ...] = DAEMONS
) -> tuple[list[Response], list[errors.BeeyardError]]:
    """Ask daemons the same at once; return the answers, and why others gave none."""
    calls: list[Call[Any, Response]] = []
    failures: list[errors.BeeyardError] = []
    answers: list[Response] = []
    for daemon in daemons:
        try:
            calls.append(begin(daemon))
        except errors.BeeyardError as exc:
            failures.append(exc)
    for call in calls:
        try:
            answers.append(call.result())
        except errors.BeeyardError as exc:
            failures.append(exc)
    return answers, failures


def complain(failures: list[errors.BeeyardError]) -> int:
    """Print why daemons did not answer; return the exit code."""
    for text in dict.fromkeys(map(render_error, failures)):
        print(text, file=sys.stderr)
    return 1 if failures else 0


@command()
@inspect_format_option
@click.option("--client", is_flag=True, help="Show the client alone, without asking a daemon")
@with_session
def version(session: Session, style: str, *, client: bool) -> int:
    """Show the version information."""
    shown = client_version(session)
    answers: list[pb.GetVersionResponse] = []
    failures: list[errors.BeeyardError] = []
    if not client:
        from beeyard.system.v1 import system_pb2
        from cli import api

        request = system_pb2.GetVersionRequest()
        answers, failures = ask_all(
            lambda daemon: session.start(
                api.System.GetVersion, request, timeout_s=READ_TIMEOUT_S, daemon=daemon
            )
        )
    if client and not style:
        print(_client_only(shown))
        return 0
    from cli.format import output
    from cli.views import system as view

    components = [view.component(answer) for answer in answers]
    if style:
        server: dict[str, Any] | None = None
        if components:
            details = components[0]["Details"]
            server = {
                "Version": components[0]["Version"],
                "Os": details["Os"],
                "Arch": details["Arch"],
                "KernelVersion": details["KernelVersion"],
                "Components": components,
            }
        output.print_object({"Client": shown, "Server": server}, style)
    else:
        print(view.versions(shown, components))
    return complain(failures)


def _client_only(shown: dict[str, Any]) -> str:
    return "\n".join(["Client:", *(f" {name}: {value}" for name, value in shown.items())])


@command()
@inspect_format_option
@with_session
def info(session: Session, style: str) -> int:
    """Display system-wide information."""
    from beeyard.swarm.v1 import control_pb2 as control
    from beeyard.system.v1 import system_pb2
    from cli import api
    from cli.format import output
    from cli.views import system as view

    request = system_pb2.GetInfoRequest()
    answers, failures = ask_all(
        lambda daemon: session.start(api.System.GetInfo, request, timeout_s=READ_TIMEOUT_S, daemon=daemon)
    )
    place = None
    if any(answer.daemon == "swarmd" for answer in answers):
        try:
            state = session.call(
                api.Cluster.GetLocalState, control.GetLocalStateRequest(), timeout_s=READ_TIMEOUT_S
            )
            place = view.swarm(state)
        except errors.BeeyardError as exc:
            failures.append(exc)
    shown = client_version(session)
    if style:
        daemons = {answer.daemon: view.facts(answer) for answer in answers}
        versions, _ = ask_all(
            lambda daemon: session.start(
                api.System.GetVersion,
                system_pb2.GetVersionRequest(),
                timeout_s=READ_TIMEOUT_S,
                daemon=daemon,
            ),
            tuple(answer.daemon for answer in answers[:1]),
        )
        host = view.host(answers, versions[0] if versions else None)
        output.print_object({**host, "ClientInfo": shown, "Swarm": place, "Daemons": daemons}, style)
    else:
        print(view.information(shown, answers, place))
    for answer in answers:
        for warning in answer.warnings:
            print(f"WARNING: {answer.daemon}: {warning}", file=sys.stderr)
    return complain(failures)
