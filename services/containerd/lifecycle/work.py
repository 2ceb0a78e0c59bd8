"""The port to the work that the automaton orders, and to what else the engine asks of its neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.containerd.model.image import ImageConfig
    from services.containerd.model.status import ProbeResult, Record, Run


class Work(Protocol):
    """Acquiring, holding and giving up what a container needs.

    Every method may be called again after a crash in its middle, and then completes what was begun.
    """

    async def prepare(self, record: Record) -> None:
        """Make the volumes, the writable layer and the directory of a container."""
        ...

    async def bring_up(self, record: Record, *, checkpoint: str) -> Run:
        """Acquire a run, up to the runtime's create; or if a checkpoint's directory is given, its restore.

        Raises:
            BringUpError: Why not, and with which code `docker run` would end.
        """
        ...

    async def ignite(self, record: Record, run: Run) -> None:
        """Let the init execute the program."""
        ...

    def signal(self, run: Run, name: str) -> None:
        """Send a signal to the init; one that is gone is fine."""
        ...

    async def freeze(self, record: Record, *, frozen: bool) -> None:
        """Freeze or thaw all processes."""
        ...

    async def probe(self, record: Record, tell: Callable[..., None]) -> ProbeResult:
        """Run the health check once; `tell` publishes an event about the container. Cancelled, it leaves nothing."""
        ...

    async def checkpoint(self, record: Record, directory: str, *, leave_running: bool) -> None:
        """Write the state of its processes into a new directory; unless they are to run on, they end."""
        ...

    async def clean_up(self, record: Record) -> None:
        """Take down whatever is left of a run. What can be taken down is, even if another part resists."""
        ...

    async def remove(self, record: Record, *, volumes: bool) -> None:
        """Remove the writable layer, the logs and the directory, and with `volumes` its anonymous volumes."""
        ...


class BringUpError(Exception):
    """A start failed; `exit_code` is 125, 126 or 127 as with `docker run`."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


class Images(Protocol):
    """What creating a container asks of the image store."""

    async def config(self, reference: str, platform: str) -> ImageConfig:
        """Return the configuration of an image of this node."""
        ...
