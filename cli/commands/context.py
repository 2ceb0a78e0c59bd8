"""swarmctl context …: named targets, from a directory of sockets to the managers of a distant swarm."""

from __future__ import annotations

import base64
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import contexts, target
from cli.command import command, for_each, format_option, inspect_format_option, quiet_option, with_session
from cli.format import output
from cli.specs import values
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cli.session import Session

DEFAULT = "{{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}"
OVERRIDDEN = (
    "Warning: BEEYARD_HOST is set and overrides the active context: give --context, or unset BEEYARD_HOST"
)
HEADERS: Mapping[str, str] = {
    "Name": "NAME",
    "Current": "",
    "Description": "DESCRIPTION",
    "DockerEndpoint": "ENDPOINT",
    "Endpoint": "ENDPOINT",
    "Error": "ERROR",
}
EXPORT_BYTES_MAX = 4 << 20
_PEM_FIELDS = ("ca", "certificate", "key")


def _target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--key", default="", metavar="file", help="Key of the client certificate, PEM"),
        click.option("--cert", default="", metavar="file", help="Client certificate for managers, PEM"),
        click.option("--ca", default="", metavar="file", help="Root certificate of the swarm, PEM"),
        click.option(
            "--docker",
            default="",
            metavar="stringToString",
            help="Docker's notation: host=…,ca=…,cert=…,key=…",
        ),
        click.option("--host", default="", metavar="string", help="unix:///dir or tcp://manager:2377[,…]"),
        click.option("--description", default=None, metavar="string", help="Description of the context"),
    ):
        function = option(function)
    return function


def _given(docker: str, host: str, ca: str, cert: str, key: str) -> tuple[str, contexts.Pem | None]:
    """Read the target from both notations."""
    if docker:
        fields = dict(values.csv_fields(docker, "--docker"))
        if unknown := set(fields) - {"host", "ca", "cert", "key"}:
            raise values.invalid(f"--docker: unexpected field {min(unknown)!r}")
        host, ca = host or fields.get("host") or "", ca or fields.get("ca") or ""
        cert, key = cert or fields.get("cert") or "", key or fields.get("key") or ""
    return host, contexts.read_pem(ca, cert, key)


@command()
@_target_options
@click.option("--from", "source", default="", metavar="string", help="Create context from a named context")
@click.option("--issue", is_flag=True, help="Take managers and a new certificate from the swarm of this node")
@click.option("--expiry", default="720h", metavar="duration", help="Life of the new certificate (720h)")
@click.argument("name", metavar="CONTEXT")
@with_session
def create(session: Session, name: str, source: str, **given: Any) -> None:
    """Create a context."""
    directory = target.config_directory()
    host, pem = _given(given["docker"], given["host"], given["ca"], given["cert"], given["key"])
    base = contexts.load(directory, source) if source else None
    if given["issue"]:
        from cli.commands import issuing

        managers, pem = issuing.issue(session, name, values.milliseconds(given["expiry"]))
        host = host or managers
    if base is not None and pem is None and base.certificate:
        pem = contexts.read_pem(base.ca, base.certificate, base.key)
    host = host or (base.host if base is not None else "")
    if not host:
        raise values.invalid("give --host, --from or --issue: where is the context to lead?")
    description = given["description"]
    if description is None:
        description = base.description if base is not None else ""
    contexts.save(directory, contexts.Context(name=name, host=host, description=description), pem)
    print(name)
    print(f"Successfully created context {name!r}", file=sys.stderr)


@command()
@_target_options
@click.argument("name", metavar="CONTEXT")
def update(name: str, **given: Any) -> None:
    """Update a context."""
    directory = target.config_directory()
    if name == target.DEFAULT_CONTEXT:
        raise values.invalid("the context default cannot be updated")
    old = contexts.load(directory, name)
    host, pem = _given(given["docker"], given["host"], given["ca"], given["cert"], given["key"])
    description = old.description if given["description"] is None else given["description"]
    changed = replace(old, host=host or old.host, description=description)
    contexts.save(directory, changed, pem, replace=True)
    print(name)
    print(f"Successfully updated context {name!r}", file=sys.stderr)


@command()
@format_option
@quiet_option
def ls(style: str, *, quiet: bool) -> None:
    """List contexts."""
    directory = target.config_directory()
    overriding = os.environ.get("BEEYARD_HOST", "")
    chosen = target.DEFAULT_CONTEXT if overriding else os.environ.get("BEEYARD_CONTEXT", "")
    chosen = chosen or target.current_context(directory)
    rows = []
    for name in contexts.names(directory):
        row = {"Name": name, "Current": name == chosen, "Description": "", "Error": ""}
        try:
            context = contexts.load(directory, name)
            host = overriding if overriding and name == target.DEFAULT_CONTEXT else context.host
            row |= {"Description": context.description, "DockerEndpoint": host, "Endpoint": host}
        except errors.BeeyardError as exc:
            row |= {"DockerEndpoint": "", "Endpoint": "", "Error": exc.message}
        rows.append(row)
    output.print_rows(
        rows, style=style, default=DEFAULT, headers=HEADERS, quiet_field="Name" if quiet else ""
    )
    if overriding:
        print(OVERRIDDEN, file=sys.stderr)


@command()
@inspect_format_option
@click.argument("names", metavar="[CONTEXT...]", nargs=-1)
def inspect(style: str, names: tuple[str, ...]) -> int:
    """Display detailed information on one or more contexts."""
    directory = target.config_directory()
    found: list[dict[str, Any]] = []

    def look(name: str) -> None:
        context = contexts.load(directory, name)
        files = [
            os.fspath(Path(path).name) for path in (context.ca, context.certificate, context.key) if path
        ]
        found.append(
            {
                "Name": name,
                "Metadata": {"Description": context.description},
                "Endpoints": {"docker": {"Host": context.host, "SkipTLSVerify": False}},
                "TLSMaterial": {"docker": files} if files else {},
                "Storage": {
                    "MetadataPath": f"{directory}/contexts/{name}.json",
                    "TLSPath": os.fspath(Path(context.certificate).parent)
                    if context.certificate
                    else "<none>",
                },
            }
        )

    code = for_each(names or (target.current_context(directory),), look)
    output.print_inspect(found, style)
    return code


@command()
@click.option("-f", "--force", is_flag=True, help="Force the removal of a context in use")
@click.argument("names", metavar="CONTEXT...", nargs=-1, required=True)
def rm(names: tuple[str, ...], *, force: bool) -> int:
    """Remove one or more contexts."""

    def remove(name: str) -> str:
        contexts.remove(target.config_directory(), name, force=force)
        return name

    return for_each(names, remove)


@command()
def show() -> None:
    """Print the name of the current context."""
    print(os.environ.get("BEEYARD_CONTEXT") or target.current_context(target.config_directory()))


@command()
@click.argument("name", metavar="CONTEXT")
def use(name: str) -> None:
    """Set the current context."""
    contexts.use(target.config_directory(), name)
    print(name)
    print(f"Current context is now {name!r}", file=sys.stderr)
    if os.environ.get("BEEYARD_HOST"):
        print("Warning: BEEYARD_HOST overrides the context: unset it to use this one", file=sys.stderr)


@command()
@click.argument("name", metavar="CONTEXT")
@click.argument("file_name", metavar="[FILE|-]", default="")
def export(name: str, file_name: str) -> None:
    """Export a context, its key included, to a file or a pipe."""
    context = contexts.load(target.config_directory(), name)
    pem = contexts.read_pem(context.ca, context.certificate, context.key) if context.certificate else None
    bundle: dict[str, Any] = {"name": name, "host": context.host, "description": context.description}
    if pem is not None:
        bundle["pem"] = {field: base64.b64encode(getattr(pem, field)).decode() for field in _PEM_FIELDS}
    text = json.dumps(bundle, indent=2) + "\n"
    if file_name == "-":
        sys.stdout.write(text)
        return
    path = Path(file_name or f"{name}.swarmcontext")
    try:
        with os.fdopen(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w"
        ) as file:
            file.write(text)
    except OSError as exc:
        raise values.invalid(f"{path}: {exc.strerror or exc}") from None
    print(f"Written file {str(path)!r}", file=sys.stderr)


@command("import")
@click.argument("name", metavar="CONTEXT")
@click.argument("source", metavar="FILE|-")
def import_(name: str, source: str) -> None:
    """Import a context from a file or a pipe."""
    try:
        with sys.stdin.buffer if source == "-" else Path(source).open("rb") as stream:
            bundle = json.loads(stream.read(EXPORT_BYTES_MAX))
        pem = None
        if "pem" in bundle:
            decoded = {field: base64.b64decode(bundle["pem"][field], validate=True) for field in _PEM_FIELDS}
            pem = contexts.Pem(**decoded)
        context = contexts.Context(
            name=name, host=str(bundle["host"]), description=str(bundle["description"])
        )
    except OSError as exc:
        raise values.invalid(f"{source}: {exc.strerror or exc}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise values.invalid(f"{source} is no exported context") from None
    contexts.save(target.config_directory(), context, pem)
    print(name)
    print(f"Successfully imported context {name!r}", file=sys.stderr)
