"""Where swarmctl is aimed: a directory of sockets on this host, or managers of a swarm over mTLS.

In this order: `--host`, `--context`, `BEEYARD_HOST`, `BEEYARD_CONTEXT`, the context that `context use` chose, and
last unix:///run/beeyard.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_HOST = "unix:///run/beeyard"
DEFAULT_PORT = 2377
DEFAULT_CONTEXT = "default"
ENDPOINTS_MAX = 16
_ENDPOINT = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.%a-z]{2,60}\])(?::([0-9]{1,5}))?", re.ASCII)


class Credentials(NamedTuple):
    """Paths of a client's certificate, in PEM."""

    ca: str
    certificate: str
    key: str


class Target(NamedTuple):
    """What a command talks to: exactly one of the first two is set."""

    directory: str = ""
    """Directory of the daemons' sockets."""
    managers: tuple[str, ...] = ()
    """host:port of managers, tried in turn."""
    credentials: Credentials | None = None
    """For managers."""
    context: str = "default"
    """Name of the context that it is from."""

    @property
    def url(self) -> str:
        """As `--host` takes it."""
        if self.directory:
            return f"unix://{self.directory}"
        return "tcp://" + ",".join(self.managers)


def parse_host(host: str, credentials: Credentials | None) -> Target:
    """Read a `--host` value.

    Raises:
        errors.Invalid: HOST_INVALID, with what is allowed.
    """
    scheme, separator, rest = host.partition("://")
    if separator and scheme == "unix" and rest.startswith("/"):
        return Target(directory=rest.rstrip("/") or "/")
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
    """Read "name", "name:port", "[address]" or "[address]:port"; return it with the port."""
    match = _ENDPOINT.fullmatch(text)
    if match is None or (match[2] and not 0 < int(match[2]) < 65536):
        raise errors.Invalid(f"host {host!r}: {text!r} is not name:port", reason="HOST_INVALID")
    return f"{match[1]}:{match[2] or DEFAULT_PORT}"


def config_directory(environ: Mapping[str, str] = os.environ) -> str:
    """Where contexts and the client's settings are: BEEYARD_CONFIG, or ~/.config/beeyard. An absolute path."""
    base = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME') or ''}/.config"
    directory = environ.get("BEEYARD_CONFIG") or f"{base}/beeyard"
    return directory if directory.startswith("/") else f"{os.getcwd()}/{directory}"  # noqa: PTH109


def current_context(directory: str) -> str:
    """Name that `context use` chose."""
    try:
        with open(f"{directory}/current-context", encoding="utf-8") as file:  # noqa: PTH123
            return file.read().strip() or DEFAULT_CONTEXT
    except (OSError, ValueError):
        return DEFAULT_CONTEXT


def resolve(*, host: str, context: str, environ: Mapping[str, str] = os.environ) -> Target:
    """Find the target from flags, environment and contexts; the module's docstring gives the order.

    Raises:
        errors.Invalid: Both flags are given, or a value is malformed.
        errors.NotFound: The context does not exist.
    """
    if host and context:
        raise errors.Invalid("--host and --context exclude each other: give one", reason="HOST_INVALID")
    credentials = _environment_credentials(environ)
    if host:
        return parse_host(host, credentials)
    if not context and environ.get("BEEYARD_HOST"):
        return parse_host(environ["BEEYARD_HOST"], credentials)
    directory = config_directory(environ)
    name = context or environ.get("BEEYARD_CONTEXT") or current_context(directory)
    if name == DEFAULT_CONTEXT:
        return parse_host(DEFAULT_HOST, credentials)
    from cli import contexts

    chosen = contexts.load(directory, name)
    return parse_host(chosen.host, chosen.credentials or credentials)._replace(context=chosen.name)


def _environment_credentials(environ: Mapping[str, str]) -> Credentials | None:
    """BEEYARD_CERT_PATH is a directory with ca.pem, cert.pem and key.pem, as DOCKER_CERT_PATH is."""
    path = environ.get("BEEYARD_CERT_PATH")
    if not path:
        return None
    return Credentials(ca=f"{path}/ca.pem", certificate=f"{path}/cert.pem", key=f"{path}/key.pem")
