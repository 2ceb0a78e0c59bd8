"""Keeping kernel and files as the records say: at the start, and from time to time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.kit import log, metrics
from services.kit.seams import Clock
from services.netd.core import namefiles, networks
from services.netd.core.namefiles import NodeNames
from services.netd.core.networks import Settings
from services.netd.files import Files
from services.netd.ledger import Ledger
from services.netd.model.network import PREDEFINED
from services.netd.networks import own_links
from services.netd.reconcile import Reconciler, Report, log_failures

_log = log.get(__name__)

_mended = metrics.counter("netd_mended", "Operations that a periodic pass had to perform.")


class Upkeep:
    """Recovers at the start, and mends what somebody else has changed.

    Args:
        ledger: What is recorded.
        reconciler: Makes the kernel match.
        files: The sandboxes' name files.
        node_names: Reads what the node itself has for names.
        settings: What the default network is made with.
    """

    def __init__(
        self,
        ledger: Ledger,
        reconciler: Reconciler,
        files: Files,
        node_names: Callable[[], NodeNames],
        settings: Settings,
    ) -> None:
        self._ledger = ledger
        self._reconciler = reconciler
        self._files = files
        self._node_names = node_names
        self._settings = settings

    async def start(self) -> None:
        """Read the records, make the predefined networks if they are missing, and make everything match.

        What the kernel refuses now is logged and tried again with every periodic pass: one broken sandbox must not
        keep the others from being served.

        Raises:
            errors.BeeyardError: The records cannot be read, or the default network cannot be made.
        """
        await self._ledger.load()
        state, chance = self._ledger.state, self._ledger.chance()
        missing = networks.plan_predefined(
            state,
            settings=self._settings,
            host=await self._reconciler.survey(own_links(state)),
            network_ids=[chance.new_id() for _ in PREDEFINED],
            now=chance.now,
        )
        await self._ledger.record(*missing)
        report = await self._reconciler.everything(self._ledger.state)
        self._ensure_files()
        log_failures(report)
        for obstacle in await self.obstacles():
            _log.warning("obstacle", what=obstacle)
        _log.info(
            "netd_recovered",
            networks=len(self._ledger.state.networks),
            sandboxes=len(self._ledger.state.sandboxes),
            operations=len(report.operations),
            failures=len(report.failures),
        )

    async def repair(self) -> Report:
        """Compare the kernel with the records now, and mend what differs."""
        async with self._ledger.at_rest():
            report = await self._reconciler.everything(self._ledger.state)
            self._ensure_files()
        if report.operations:
            _mended.inc(len(report.operations))
            kinds = sorted({type(operation).__name__ for operation in report.operations})
            _log.info("kernel_mended", operations=len(report.operations), kinds=",".join(kinds))
        log_failures(report)
        return report

    async def repair_forever(self, clock: Clock, interval_s: float) -> None:
        """Repair from time to time."""
        while True:
            await clock.sleep(interval_s)
            await self.repair()

    async def obstacles(self) -> Sequence[str]:
        """Return what of others on this node is in the way of the containers' packets, as sentences."""
        return await self._reconciler.obstacles()

    def _ensure_files(self) -> None:
        """Write the files that are missing, remove those of sandboxes that are gone."""
        state = self._ledger.state
        for sandbox_id in self._files.sandboxes() - state.sandboxes.keys():
            self._files.remove(sandbox_id)
        node = self._node_names()
        for sandbox in state.sandboxes.values():
            try:
                self._files.ensure(sandbox.id, namefiles.write(state, sandbox, node))
            except OSError as error:
                _log.error("files_not_written", sandbox=sandbox.id, error=str(error))
