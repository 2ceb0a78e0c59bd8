"""Whether this node can checkpoint: found out by asking CRIU, when somebody first wants to know.

CRIU has to know the kernel that it runs on, the runtime has to be built with it: neither can be taken for granted, and
the error says which is missing.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from services.containerd.checkpoint import program
from services.containerd.checkpoint.words import criu_reason
from services.containerd.runtime import oci_cli
from services.containerd.runtime.flavour import Kind
from services.kit import errors, log

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from services.containerd.runtime.flavour import Flavour
    from services.containerd.runtime.spawn import Spawner
    from services.kit.seams import Clock

_log = log.get(__name__)

CHECK_TIMEOUT_S: Final = 30.0
ASK_AGAIN_S: Final = 10.0
"""How long a no holds: somebody may be installing what is missing. A yes holds as long as the daemon."""
_SEARCH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found out about one runtime."""

    reason: str = ""
    """Why not; empty if it can."""
    criu_version: str = ""


class Support:
    """Asks CRIU and the runtimes.

    Args:
        flavours: The runtimes that work here; the first is the node's choice.
        spawners: Start programs.
        clock: Says how old an answer is.
        programs: Where the runtimes find CRIU, see `program`.
        criu: Path of CRIU; empty looks in the usual places.
    """

    def __init__(
        self,
        flavours: Mapping[str, Flavour],
        spawners: Mapping[bool, Spawner],
        clock: Clock,
        programs: Path,
        *,
        criu: str = "",
    ) -> None:
        self._flavours = flavours
        self._spawners = spawners
        self._clock = clock
        self._programs = programs
        self._criu = criu
        self._known: dict[str, tuple[Verdict, float]] = {}

    async def verdict(self, runtime: str) -> Verdict:
        """Return whether containers of a runtime can be checkpointed; empty is the node's choice."""
        runtime = runtime or next(iter(self._flavours))
        known = self._known.get(runtime)
        now = self._clock.monotonic()
        if known is not None and (not known[0].reason or now - known[1] < ASK_AGAIN_S):
            return known[0]
        found = await self._find_out(runtime)
        self._known[runtime] = (found, now)
        _log.info("checkpoint_support", runtime=runtime, reason=found.reason, criu=found.criu_version)
        return found

    async def require(self, runtime: str) -> None:
        """Return if containers of a runtime can be checkpointed and restored.

        Raises:
            errors.Unsupported: CHECKPOINT_UNSUPPORTED; says what is missing.
        """
        found = await self.verdict(runtime)
        if found.reason:
            raise errors.Unsupported(
                f"checkpoints are not possible on this node: {found.reason}", reason="CHECKPOINT_UNSUPPORTED"
            )

    async def _find_out(self, runtime: str) -> Verdict:
        flavour = self._flavours.get(runtime)
        if flavour is None:
            return Verdict(reason=f"the runtime {runtime} does not work here")
        spawner = self._spawners[flavour.private_namespace]
        criu = shutil.which(self._criu or "criu", path=_SEARCH)
        if criu is None:
            missing = f"there is no program {self._criu}" if self._criu else "CRIU is not installed"
            return Verdict(reason=f"{missing}: install the package criu")
        await asyncio.to_thread(program.offer, self._programs, criu)
        try:
            _, said = await spawner.run([criu, "--version"], timeout_s=CHECK_TIMEOUT_S)
            version = next(iter(said.splitlines()), "").rpartition(" ")[2]
            code, said = await spawner.run([criu, "check"], timeout_s=CHECK_TIMEOUT_S)
            if code != 0:
                why = criu_reason(said)
                return Verdict(
                    reason=f"CRIU {version} does not work with this kernel (`criu check`: {why})",
                    criu_version=version,
                )
            return Verdict(reason=await self._lacks(flavour, spawner), criu_version=version)
        except errors.BeeyardError as exc:
            return Verdict(reason=exc.message)

    async def _lacks(self, flavour: Flavour, spawner: Spawner) -> str:
        """Return why a runtime cannot use CRIU; empty if it can."""
        if flavour.kind is Kind.CRUN:
            _, said = await spawner.run(oci_cli.version(flavour), timeout_s=CHECK_TIMEOUT_S)
            if "+CRIU" not in said:
                return f"the runtime {flavour.name} is built without CRIU: use `--runtime runc` for such containers"
            return ""
        code, _ = await spawner.run([flavour.path, "checkpoint", "--help"], timeout_s=CHECK_TIMEOUT_S)
        return "" if code == 0 else f"the runtime {flavour.name} knows no checkpoints"
