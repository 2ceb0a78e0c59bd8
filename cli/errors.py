"""From an error to what a person sees and the exit code that a script gets."""

from __future__ import annotations

from services.kit import errors

EXIT_FAILED = 1
EXIT_USAGE = 125
"""Of run and create: the engine's fault, not the container's."""


UNREACHABLE = frozenset(
    {
        "DAEMON_UNREACHABLE",
        "MANAGER_UNREACHABLE",
        "SOCKET_PERMISSION_DENIED",
        "CONNECTION_LOST",
        "HOST_INVALID",
    }
)
"""Reasons that are about the way to the daemon, not about the object that was asked for."""


class ExitWith(Exception):
    """End with this code and print nothing more: the code is the command's answer (a container's, for instance)."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def render_error(error: errors.BeeyardError) -> str:
    """One line that says what is wrong; the servers' messages already say what to do."""
    text = f"Error: {error.message}"
    if isinstance(error, errors.Internal) and (request := error.metadata.get("request_id")):
        text += f" (request {request}: the daemon's log has more)"
    return text


def exit_code(error: errors.BeeyardError, *, runs_container: bool) -> int:
    """The exit code of an error, as docker's: 125, 126 or 127 for run, create and exec, else 1."""
    if not runs_container:
        return EXIT_FAILED
    given = error.metadata.get("exit_code", "")
    return int(given) if given in ("125", "126", "127") else EXIT_USAGE
