"""Where swarmctl is aimed: a directory of sockets on this host, or managers of a swarm over mTLS.

In this order: `--host`, `--context`, `BEEYARD_HOST`, `BEEYARD_CONTEXT`, the context that `context use` chose, and
last unix:///run/beeyard.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_HOST = "unix:///run/beeyard"
DEFAULT_PORT = 2377
DEFAULT_CONTEXT = "default"
ENDPOINTS_MAX = 16
_CONTEXT_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.+-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Files of a client's certificate, in PEM."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a command talks to: exactly one of the two is set."""

    directory: Path | None = None
    """Directory of the daemons' sockets."""
    managers: tuple[str, ...] = ()
    """host:port of managers, tried in turn."""
    credentials: Credentials | None = None
    """For managers."""

    @property
    def url(self) -> str:
        """As `--host` takes it."""
        if self.directory is not None:
            return f"unix://{self.directory}"
        return "tcp://" + ",".join(self.managers)


def parse_host(host: str, credentials: Credentials | None) -> Target:
    """Read a `--host` value.

    Raises:
        errors.Invalid: HOST_INVALID, with what is allowed.
    """
    scheme, separator, rest = host.partition("://")
    if separator and scheme == "unix" and rest.startswith("/"):
        return Target(directory=Path(rest))
    if separator and scheme == "tcp" and rest:
        managers = tuple(_endpoint(part, host) for part in rest.rstrip("/").split(","))
        if len(managers) > ENDPOINTS_MAX:
            raise errors.Invalid(
                f"host {host!r} names more than {ENDPOINTS_MAX} managers", reason="HOST_INVALID"
            )
        return Target(managers=managers, credentials=credentials)
    raise errors.Invalid(
        f"host {host!r}: use unix:///directory/of/sockets or tcp://manager:{DEFAULT_PORT}[,manager:port…]",
        reason="HOST_INVALID",
    )


def _endpoint(text: str, host: str) -> str:
    name, _, port = text.partition(":") if not text.startswith("[") else text.rpartition("]:")
    if text.startswith("["):
        name = f"{name}]" if port or name else text
    if not name or (port and not (port.isdigit() and 0 < int(port) < 65536)):
        raise errors.Invalid(f"host {host!r}: {text!r} is not name:port", reason="HOST_INVALID")
    return f"{name}:{port or DEFAULT_PORT}"


# ------------------------------------------------------------------------------------------------ contexts


def config_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Where contexts and the client's settings are: BEEYARD_CONFIG, or ~/.config/beeyard."""
    chosen = environ.get("BEEYARD_CONFIG")
    if chosen:
        return Path(chosen)
    base = environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path(environ.get("HOME", "/root")) / ".config") / "beeyard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A named target."""

    name: str
    host: str
    description: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""

    @property
    def credentials(self) -> Credentials | None:
        """Its client certificate, if it has one."""
        if not self.certificate:
            return None
        return Credentials(ca=Path(self.ca), certificate=Path(self.certificate), key=Path(self.key))


def context_file(directory: Path, name: str) -> Path:
    """File of a context.

    Raises:
        errors.Invalid: CONTEXT_NAME_INVALID.
    """
    if not _CONTEXT_NAME.fullmatch(name):
        raise errors.Invalid(
            f"context name {name!r}: use letters, digits and _ . + -, beginning with a letter or digit",
            reason="CONTEXT_NAME_INVALID",
        )
    return directory / "contexts" / f"{name}.json"


def load_context(directory: Path, name: str) -> Context:
    """Read a context.

    Raises:
        errors.NotFound: CONTEXT_NOT_FOUND.
        errors.Invalid: The file is damaged.
    """
    if name == DEFAULT_CONTEXT:
        return Context(name=name, host=DEFAULT_HOST, description="The daemons of this host")
    path = context_file(directory, name)
    try:
        return Context(**{**json.loads(path.read_text()), "name": name})
    except FileNotFoundError:
        raise errors.NotFound(
            f"context {name!r} does not exist: see `swarmctl context ls`", reason="CONTEXT_NOT_FOUND"
        ) from None
    except (ValueError, TypeError) as exc:
        raise errors.Invalid(
            f"context {name!r}: {path} is damaged ({exc})", reason="CONTEXT_INVALID"
        ) from exc


def current_context(directory: Path) -> str:
    """Name that `context use` chose."""
    try:
        return (directory / "current-context").read_text().strip() or DEFAULT_CONTEXT
    except OSError:
        return DEFAULT_CONTEXT


def resolve(*, host: str, context: str, environ: Mapping[str, str] = os.environ) -> Target:
    """Find the target from flags, environment and contexts; the module's docstring gives the order.

    Raises:
        errors.Invalid: Both flags are given, or a value is malformed.
        errors.NotFound: The context does not exist.
    """
    if host and context:
        raise errors.Invalid("--host and --context exclude each other: give one", reason="HOST_INVALID")
    directory = config_directory(environ)
    credentials = _environment_credentials(environ)
    if host:
        return parse_host(host, credentials)
    if not context and environ.get("BEEYARD_HOST"):
        return parse_host(environ["BEEYARD_HOST"], credentials)
    chosen = load_context(directory, context or environ.get("BEEYARD_CONTEXT") or current_context(directory))
    return parse_host(chosen.host, chosen.credentials or credentials)


def _environment_credentials(environ: Mapping[str, str]) -> Credentials | None:
    """BEEYARD_CERT_PATH is a directory with ca.pem, cert.pem and key.pem, as DOCKER_CERT_PATH is."""
    path = environ.get("BEEYARD_CERT_PATH")
    if not path:
        return None
    base = Path(path)
    return Credentials(ca=base / "ca.pem", certificate=base / "cert.pem", key=base / "key.pem")
