"""Reckoning with what nodes have and tasks reserve. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.swarmd.scheduler.core.nodes import Resources


class Room:
    """What is left of a node's resources. Goes below zero where more is taken than there is."""

    __slots__ = ("generic", "memory_bytes", "nano_cpus")

    def __init__(self, total: Resources) -> None:
        self.nano_cpus = total.nano_cpus
        self.memory_bytes = total.memory_bytes
        self.generic = dict(total.generic)

    def fits(self, wanted: Resources) -> bool:
        """Say whether so much is left."""
        if wanted.nano_cpus > 0 and wanted.nano_cpus > self.nano_cpus:
            return False
        if wanted.memory_bytes > 0 and wanted.memory_bytes > self.memory_bytes:
            return False
        return all(count <= self.generic.get(kind, 0) for kind, count in wanted.generic.items())

    def take(self, wanted: Resources) -> None:
        """Take so much."""
        self._move(wanted, 1)

    def give_back(self, wanted: Resources) -> None:
        """Return so much."""
        self._move(wanted, -1)

    def _move(self, wanted: Resources, sign: int) -> None:
        self.nano_cpus -= sign * wanted.nano_cpus
        self.memory_bytes -= sign * wanted.memory_bytes
        for kind, count in wanted.generic.items():
            self.generic[kind] = self.generic.get(kind, 0) - sign * count
