"""The settings of imaged: /etc/beeyard/imaged.toml."""

from __future__ import annotations

import dataclasses
from typing import Literal

from services.imaged.layers.limits import Limits
from services.imaged.model import platform as platforms
from services.imaged.model.platform import Platform
from services.kit import errors
from services.kit.config import DaemonConfig

GC_INTERVAL_S_MIN = 1.0
WORKERS_MAX = 64


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImagedConfig(DaemonConfig):
    """What can be set."""

    snapshotter: Literal["overlay", "vfs"] = "overlay"
    """How file systems are stacked: by the kernel's overlayfs, or by copying (vfs), which works everywhere."""
    platform: str = ""
    """The platform whose images are chosen, "linux/arm64" for instance; empty is the machine's own."""
    unpack_workers: int = 2
    """How many layers are unpacked at the same time, each by a process of its own."""
    layer_bytes_max: int = 1 << 40
    """The most bytes that one layer may unpack to."""
    layer_entries_max: int = 10_000_000
    """The most files that one layer may hold."""
    purge_delay_s: float = 20.0
    """How long removed files stay on a disk that has room: removing them late keeps unpacking quick."""
    gc_interval_s: float = 600.0
    """How often content that nothing refers to is looked for."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.platform:
            try:
                platforms.parse(self.platform)
            except errors.Invalid as error:
                raise _invalid("platform", error.message) from error
        if not 1 <= self.unpack_workers <= WORKERS_MAX:
            raise _invalid("unpack_workers", f"must be 1 to {WORKERS_MAX}")
        if self.layer_bytes_max < 1:
            raise _invalid("layer_bytes_max", "must be positive")
        if self.layer_entries_max < 1:
            raise _invalid("layer_entries_max", "must be positive")
        if self.purge_delay_s < 0:
            raise _invalid("purge_delay_s", "must not be negative")
        if self.gc_interval_s < GC_INTERVAL_S_MIN:
            raise _invalid("gc_interval_s", f"must be at least {GC_INTERVAL_S_MIN:g}")

    @property
    def limits(self) -> Limits:
        """What one layer may ask of the node."""
        return Limits(unpacked_bytes_max=self.layer_bytes_max, entries_max=self.layer_entries_max)

    def node_platform(self, machine: str) -> Platform:
        """Return the platform of the node, whose machine is `machine` by uname."""
        return platforms.parse(self.platform) if self.platform else platforms.normalise("linux", machine)


def _invalid(key: str, why: str) -> errors.Invalid:
    return errors.Invalid(f"{key} {why}", metadata={"key": key})
