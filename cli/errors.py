"""From an error to what a person sees and the exit code that a script gets."""

from __future__ import annotations

from services.kit import errors

EXIT_FAILED = 1
EXIT_ENGINE = 125
"""Of run, create and exec: the engine's fault or the command line's, not the container's."""
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

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


def invalid(message: str) -> errors.Invalid:
    """Return the error of a malformed option or argument."""
    return errors.Invalid(message, reason="OPTION_INVALID")


class ExitWith(Exception):
    """End with this code and print nothing more: the code is the command's answer (a container's, for instance)."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class ContainerFailed(Exception):
    """A command that runs a container failed on the way: its exit code says how far it came."""

    def __init__(self, error: errors.BeeyardError, otherwise: int) -> None:
        super().__init__(error)
        self.error = error
        self._otherwise = otherwise

    @property
    def code(self) -> int:
        """The exit code: 126 or 127 if the process could not be started."""
        given = self.error.metadata.get("exit_code", "")
        return int(given) if given in ("126", "127") else self._otherwise


def render_error(error: errors.BeeyardError) -> str:
    """One line that says what is wrong; the servers' messages already say what to do."""
    return f"Error: {error.message}"
